/** Opens a device in an address space of its own, through each backend that is compared. */

import { UnsupportedError } from "../../core/errors.js";
import { closeAll } from "../../core/lifetime/close-all.js";
import type { Resource } from "../../core/lifetime/resource.js";
import { DmaSpace } from "../../dma/space.js";
import type { Ioas } from "../../iommufd/ioas.js";
import { IoasMapper } from "../../iommufd/ioas-mapper.js";
import { Iommufd } from "../../iommufd/iommufd.js";
import { isNoiommu } from "../../vfio/cdev.js";
import { VfioDevice } from "../../vfio/device.js";
import { VfioContainer } from "../../vfio-legacy/container.js";
import { ContainerMapper } from "../../vfio-legacy/container-mapper.js";
import { VfioGroup } from "../../vfio-legacy/group.js";
import { type BareCalls, bareContainer, bareIoas } from "./bare.js";
import type { ComparedBackend } from "./report.js";

/** An open address space with the device in it. */
export interface AddressSpace {
  readonly device: VfioDevice;
  readonly space: DmaSpace;
  /** The same kernel object without the library. */
  readonly bare: BareCalls;
  /** The kernel object: this one for iommufd and noiommu, the container for the others. */
  readonly ioas: Ioas | undefined;
  readonly container: VfioContainer | undefined;
  /** Removes every mapping in one call. @throws UnsupportedError if there is no such call */
  unmapAll(): void;
  /** Puts another device into this address space. Closing the result takes it out. */
  attach(bdf: string): { close(): void };
  /** Closes everything. */
  close(): void;
}

/** Resources that are closed together, newest first. */
class Opened {
  private readonly resources: Resource[] = [];

  add<R extends Resource>(resource: R): R {
    this.resources.unshift(resource);
    return resource;
  }

  readonly close = (): void => closeAll(this.resources.splice(0), "closing what was measured");
}

function opening<T>(steps: (opened: Opened) => T): T {
  const opened = new Opened();
  try {
    return steps(opened);
  } catch (error) {
    opened.close();
    throw error;
  }
}

/** @throws UnsupportedError, SysError, ArgumentError if the backend can't be used here; nothing stays open then */
export function openAddressSpace(backend: ComparedBackend, bdf: string): AddressSpace {
  switch (backend) {
    case "iommufd":
    case "noiommu":
      return openIommufd(bdf, backend === "noiommu");
    case "type1":
    case "iommufd-compat":
      return openContainer(bdf, backend === "iommufd-compat");
  }
}

function openIommufd(bdf: string, noiommu: boolean): AddressSpace {
  return opening((opened) => {
    const iommufd = opened.add(Iommufd.open());
    if (isNoiommu(bdf) !== noiommu) {
      throw new UnsupportedError(
        noiommu ? `${bdf} has an IOMMU, so no-IOMMU mode doesn't apply` : `${bdf} has no IOMMU`,
      );
    }
    const ioas = opened.add(iommufd.allocIoas());
    const attached = (name: string): VfioDevice => {
      const device = VfioDevice.openCdev(name);
      try {
        device.bind(iommufd);
        device.attach(ioas);
        return device;
      } catch (error) {
        device.close();
        throw error;
      }
    };
    const device = opened.add(attached(bdf));
    return {
      device,
      space: opened.add(new DmaSpace(new IoasMapper(ioas))),
      bare: bareIoas(ioas),
      ioas,
      container: undefined,
      unmapAll: () => void ioas.unmapAll(),
      attach: attached,
      close: opened.close,
    };
  });
}

function openContainer(bdf: string, compat: boolean): AddressSpace {
  return opening((opened) => {
    const container = opened.add(
      compat ? VfioContainer.ofIommufd(opened.add(Iommufd.open())) : VfioContainer.open(),
    );
    const join = (name: string): VfioGroup => {
      const group = VfioGroup.openFor(name);
      try {
        group.setContainer(container);
        return group;
      } catch (error) {
        group.close();
        throw error;
      }
    };
    const group = opened.add(join(bdf));
    container.setIommu("type1v2");
    const device = opened.add(group.openDevice(bdf));
    return {
      device,
      space: opened.add(new DmaSpace(new ContainerMapper(container))),
      bare: bareContainer(container),
      ioas: undefined,
      container,
      unmapAll: () => void container.unmapAll(),
      attach: join,
      close: opened.close,
    };
  });
}

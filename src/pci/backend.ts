/** The ways to reach a PCI function. Drivers get a DeviceIo and a DmaSpace and never know which way it was. */
import { DmaSpace } from "../dma/space.js";
import { IoasMapper } from "../iommufd/ioas-mapper.js";
import { Iommufd } from "../iommufd/iommufd.js";
import { ArgumentError, UnsupportedError } from "../sys/errors.js";
import { closeAll, type Resource } from "../sys/resource.js";
import { isNoiommu } from "../vfio/cdev.js";
import { VfioDevice } from "../vfio/device.js";
import type { DeviceIo } from "../vfio/device-io.js";
import { VfioContainer } from "../vfio-legacy/container.js";
import { ContainerMapper } from "../vfio-legacy/container-mapper.js";
import { VfioGroup } from "../vfio-legacy/group.js";
import { VFIO_TYPE1v2_IOMMU } from "../vfio-legacy/uapi.js";

/** Backends, in the order they are tried. */
export const backendNames = ["iommufd", "type1"] as const;
export type BackendName = (typeof backendNames)[number];

/** An opened function: its two interfaces, and everything that was opened for them, in closing order. */
export interface OpenedBackend {
  readonly io: DeviceIo;
  readonly space: DmaSpace;
  /** The device first, so that it can't DMA any more when its mappings go. */
  readonly resources: readonly Resource[];
}

const openers: Readonly<Record<BackendName, (bdf: string) => OpenedBackend>> = {
  iommufd: openIommufd,
  type1: openType1,
};

/** What {@link openBackend} decided, and why. */
export interface BackendChoice extends OpenedBackend {
  readonly name: BackendName;
  /** One sentence for people. */
  readonly reason: string;
}

/**
 * Opens a function through the backend asked for, or else the first that works.
 * @throws the backend's own error where one was asked for; UnsupportedError with every backend's reason
 */
export function openBackend(bdf: string, wanted?: BackendName): BackendChoice {
  if (wanted !== undefined) {
    const open = openers[wanted];
    if (open === undefined) {
      throw new ArgumentError(
        `backend must be one of ${backendNames.join(", ")}, got ${JSON.stringify(wanted)}`,
      );
    }
    return { ...open(bdf), name: wanted, reason: `${wanted} was asked for` };
  }
  const failures: { name: BackendName; error: unknown }[] = [];
  for (const name of backendNames) {
    try {
      const opened = openers[name](bdf);
      const because = failures.map((failure) => `${failure.name} can't be used: ${messageOf(failure.error)}`);
      return {
        ...opened,
        name,
        reason: because.length > 0 ? because.join("; ") : `${name} works and comes first`,
      };
    } catch (error) {
      failures.push({ name, error });
    }
  }
  const reasons = failures.map(({ name, error }) => `${name}: ${messageOf(error)}`).join("; ");
  throw new UnsupportedError(`${bdf} can't be opened through any backend. ${reasons}`, {
    cause: new AggregateError(
      failures.map(({ error }) => error),
      reasons,
    ),
  });
}

/** Closes what was opened so far when a later step fails. */
function opening<T>(steps: (opened: <R extends Resource>(resource: R) => R) => T): T {
  const resources: Resource[] = [];
  try {
    return steps((resource) => {
      resources.unshift(resource);
      return resource;
    });
  } catch (error) {
    closeAll(resources, "undoing a failed open");
    throw error;
  }
}

function openIommufd(bdf: string): OpenedBackend {
  return opening((opened) => {
    const iommufd = opened(Iommufd.open());
    // The kernel would attach it to an IOAS all the same; the device would take its addresses for physical ones.
    if (isNoiommu(bdf)) throw new UnsupportedError(`${bdf} has no IOMMU that could translate for it`);
    const ioas = opened(iommufd.allocIoas());
    const device = opened(VfioDevice.openCdev(bdf));
    device.bind(iommufd);
    device.attach(ioas);
    const space = opened(new DmaSpace(new IoasMapper(ioas)));
    return { io: device, space, resources: [device, space, ioas, iommufd] };
  });
}

function openType1(bdf: string): OpenedBackend {
  return opening((opened) => {
    const container = opened(VfioContainer.open());
    const group = opened(VfioGroup.openFor(bdf));
    group.setContainer(container);
    container.setIommu(container.checkExtension(VFIO_TYPE1v2_IOMMU) ? "type1v2" : "type1");
    const device = opened(group.openDevice(bdf));
    const space = opened(new DmaSpace(new ContainerMapper(container)));
    return { io: device, space, resources: [device, space, group, container] };
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

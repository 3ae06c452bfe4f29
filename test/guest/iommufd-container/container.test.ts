/** A kernel whose /dev/vfio/vfio is iommufd's (CONFIG_IOMMUFD_VFIO_CONTAINER), and which has no type1 at all. */
import { existsSync, readlinkSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { VfioContainer, VfioGroup } from "../../../src/doors/vfio.js";
import {
  bindToVfio,
  MappedMemory,
  PciDevice,
  UnsupportedError,
  type VfioBinding,
} from "../../../src/index.js";
import { CONTAINER_PATH } from "../../../src/vfio-legacy/container.js";
import { VFIO_UPDATE_VADDR } from "../../../src/vfio-legacy/uapi.js";
import { sysError } from "../../support/errors.js";
import { nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { hasContainerOfIommufd } from "../../support/vfio-modes.js";

const PAGE = 4096;

expectNothingLeft();

let binding: VfioBinding;
beforeAll(() => {
  binding = bindToVfio(nvmeBdf());
});
afterAll(() => binding.close());

/** A container with the nvme's group and an IOMMU in it. */
function openContainer(container = VfioContainer.open()): { container: VfioContainer } & Disposable {
  const group = VfioGroup.openFor(nvmeBdf());
  group.setContainer(container);
  container.setIommu("type1v2");
  const close = (): void => {
    container.close();
    group.close();
  };
  return { container, [Symbol.dispose]: close };
}

describe("/dev/vfio/vfio that iommufd provides", () => {
  test("is the kernel's only one", () => {
    expect(hasContainerOfIommufd).toBe(true);
    expect(existsSync("/sys/module/vfio_iommu_type1")).toBe(false);
    using container = VfioContainer.open();
    expect(readlinkSync(`/proc/self/fd/${container.fd}`)).toBe(CONTAINER_PATH);
    expect(Iommufd.isIommufd(container.fd)).toBe(true);
  });

  test("counts pinned memory by process, as type1 does, while /dev/iommu counts it by user", () => {
    using old = Iommufd.open(CONTAINER_PATH);
    using iommufd = Iommufd.open();
    expect([old.rlimitMode, iommufd.rlimitMode]).toEqual(["process", "user"]);
  });

  test("maps and unmaps as a container does", () => {
    using opened = openContainer();
    const { container } = opened;
    using memory = MappedMemory.anonymous(4 * PAGE);
    container.map(memory, 0x10_0000n, "read-write");
    expect(() => container.map(memory, 0x10_0000n, "read-write")).toThrow(
      sysError("VFIO_IOMMU_MAP_DMA", "EEXIST"),
    );
    expect(container.unmap(0x10_0000n, 4 * PAGE)).toBe(4 * PAGE);
    expect(container.info()).toMatchObject({ migration: undefined, dmaAvailable: 0xffff_ffff });
  });

  test("refuses what it lacks: dirty pages and new virtual addresses", () => {
    using opened = openContainer();
    const { container } = opened;
    expect(container.checkExtension(VFIO_UPDATE_VADDR)).toBe(false);
    expect(() => container.invalidateVaddrs()).toThrow(UnsupportedError);
    expect(() => container.startDirtyTracking()).toThrow(UnsupportedError);
  });

  test("is an IOAS that accepts the requests of both interfaces", () => {
    using iommufd = Iommufd.open(CONTAINER_PATH);
    using opened = openContainer(VfioContainer.ofIommufd(iommufd));
    const id = iommufd.vfioIoasId;
    if (id === undefined) throw new Error("the kernel made no IOAS for the group");
    const ioas = iommufd.ioas(id);
    using memory = MappedMemory.anonymous(PAGE);
    const at = ioas.map(memory);
    ioas.close();
    expect(opened.container.unmap(at, PAGE)).toBe(PAGE);
  });

  test("serves PciDevice as the type1 backend", () => {
    using device = PciDevice.open(nvmeBdf(), { backend: "type1" });
    expect(device.backend).toBe("type1");
    using buffer = device.dma.alloc(PAGE);
    expect(buffer.iova % BigInt(PAGE)).toBe(0n);
  });
});

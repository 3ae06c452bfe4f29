/** The five modes of the kernel's VFIO self-tests: each opens an address space and the devices in it. */
import { existsSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { IoasMapper, Iommufd } from "../../src/doors/iommufd.js";
import {
  ContainerMapper,
  type IommuType,
  VfioContainer,
  VfioDevice,
  VfioGroup,
} from "../../src/doors/vfio.js";
import type { DmaAccess, DmaMapper, IovaRange } from "../../src/index.js";

/** Named as in the self-tests (tools/testing/selftests/vfio/lib/iommu.c). */
const usualModes = [
  "vfio_type1_iommu",
  "vfio_type1v2_iommu",
  "iommufd_compat_type1",
  "iommufd_compat_type1v2",
  "iommufd",
] as const;

/** The modes of a kernel whose /dev/vfio/vfio is iommufd's. */
const modesWithoutType1 = [
  "iommufd_container_type1",
  "iommufd_container_type1v2",
  "iommufd_compat_type1",
  "iommufd_compat_type1v2",
  "iommufd",
] as const;
export type VfioMode = (typeof usualModes)[number] | (typeof modesWithoutType1)[number];

/** Read from the kernel: a container of the wrong kind must not be taken for another kind. */
export const hasContainerOfIommufd: boolean =
  existsSync("/proc/config.gz") &&
  gunzipSync(readFileSync("/proc/config.gz")).includes("\nCONFIG_IOMMUFD_VFIO_CONTAINER=y\n");

export const vfioModes: readonly VfioMode[] = hasContainerOfIommufd ? modesWithoutType1 : usualModes;

export interface MemoryRange {
  readonly address: number;
  readonly sizeBytes: number;
}

/** A device, and its group if it was opened through one. */
export interface ModeDevice extends Disposable {
  readonly device: VfioDevice;
  close(): void;
}

/** An address space of any mode. It closes everything in it. */
export interface VfioModeSpace extends Disposable {
  readonly mode: VfioMode;
  /** The requests that map and unmap, as errors name them. */
  readonly mapCall: string;
  readonly unmapCall: string;
  open(bdf: string, token?: string): ModeDevice;
  /** The members below are usable once a device is open. */
  iovaRanges(): readonly IovaRange[];
  map(memory: MemoryRange, at: bigint, access?: DmaAccess): void;
  /** @returns the number of bytes unmapped */
  unmap(at: bigint, sizeBytes: number): number;
  unmapAll(): bigint;
  mapper(): DmaMapper;
  /** If the mode has one. */
  readonly container?: VfioContainer;
  close(): void;
  closeAsync(): Promise<void>;
}

/** Whether page tables have small pages only, as version 1 of type1 promises. */
export function isVersion1(mode: VfioMode): boolean {
  return mode.endsWith("_type1") || mode === "vfio_type1_iommu";
}

/** Whether memory of a BAR can be mapped by its virtual address. iommufd has dma-bufs instead. */
export function mapsBars(mode: VfioMode): boolean {
  return mode === "vfio_type1_iommu" || mode === "vfio_type1v2_iommu";
}

export function openMode(mode: VfioMode): VfioModeSpace {
  if (mode === "iommufd") return openNative();
  const iommufd = mode.startsWith("iommufd_compat") ? Iommufd.open() : undefined;
  return openContainer(mode, isVersion1(mode) ? "type1" : "type1v2", iommufd);
}

function openNative(): VfioModeSpace {
  const iommufd = Iommufd.open();
  const ioas = iommufd.allocIoas();
  const close = (): void => iommufd.close();
  return {
    mode: "iommufd",
    mapCall: "IOMMU_IOAS_MAP",
    unmapCall: "IOMMU_IOAS_UNMAP",
    open: (bdf, token) => {
      const device = VfioDevice.openCdev(bdf);
      try {
        device.bind(iommufd, token === undefined ? {} : { token });
        device.attach(ioas);
      } catch (error) {
        device.close();
        throw error;
      }
      return modeDevice(device, () => device.close());
    },
    iovaRanges: () => ioas.iovaRanges().ranges,
    map: (memory, at, access) => {
      ioas.map(memory, { iova: at, access });
    },
    unmap: (at, sizeBytes) => ioas.unmap(at, sizeBytes),
    unmapAll: () => ioas.unmapAll(),
    mapper: () => new IoasMapper(ioas),
    close,
    closeAsync: () => iommufd.closeAsync(),
    [Symbol.dispose]: close,
  };
}

function openContainer(mode: VfioMode, type: IommuType, iommufd: Iommufd | undefined): VfioModeSpace {
  const container = iommufd === undefined ? VfioContainer.open() : VfioContainer.ofIommufd(iommufd);
  const groups: VfioGroup[] = [];
  const close = (): void => {
    container.close();
    for (const group of groups) group.close();
    iommufd?.close();
  };
  return {
    mode,
    mapCall: "VFIO_IOMMU_MAP_DMA",
    unmapCall: "VFIO_IOMMU_UNMAP_DMA",
    open: (bdf, token) => {
      const group = VfioGroup.openFor(bdf);
      groups.push(group);
      try {
        group.setContainer(container);
        if (container.iommuType === undefined) container.setIommu(type);
        const device = group.openDevice(bdf, token === undefined ? {} : { token });
        return modeDevice(device, () => {
          device.close();
          group.close();
        });
      } catch (error) {
        group.close();
        throw error;
      }
    },
    iovaRanges: () => container.info().iovaRanges,
    map: (memory, at, access = "read-write") => container.map(memory, at, access),
    unmap: (at, sizeBytes) => container.unmap(at, sizeBytes),
    unmapAll: () => container.unmapAll(),
    mapper: () => new ContainerMapper(container),
    container,
    close,
    closeAsync: async () => {
      await container.closeAsync();
      for (const group of groups) await group.closeAsync();
      await iommufd?.closeAsync();
    },
    [Symbol.dispose]: close,
  };
}

function modeDevice(device: VfioDevice, close: () => void): ModeDevice {
  return { device, close, [Symbol.dispose]: close };
}

/** The two modes without an IOMMU. */
export const noiommuWays = ["group", "character device"] as const;

/** Opens devices in this mode. There is no address space. */
export function openNoiommu(
  way: (typeof noiommuWays)[number],
): Disposable & { open(bdf: string): ModeDevice } {
  if (way === "character device") return openNative();
  const container = VfioContainer.open();
  const groups: VfioGroup[] = [];
  return {
    open: (bdf) => {
      const group = VfioGroup.openFor(bdf);
      groups.push(group);
      group.setContainer(container);
      if (container.iommuType === undefined) container.setIommu("noiommu");
      const device = group.openDevice(bdf);
      return modeDevice(device, () => {
        device.close();
        group.close();
      });
    },
    [Symbol.dispose]: () => {
      container.close();
      for (const group of groups) group.close();
    },
  };
}

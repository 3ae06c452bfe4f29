/** The vfio-user protocol 0.x (libvfio-user, docs/vfio-user.rst and include/vfio-user.h): numbers and structs. */
import { struct, u32, u64 } from "../../core/struct.js";

export const Command = {
  version: 1,
  dmaMap: 2,
  dmaUnmap: 3,
  deviceGetInfo: 4,
  deviceGetRegionInfo: 5,
  deviceGetRegionIoFds: 6,
  deviceGetIrqInfo: 7,
  deviceSetIrqs: 8,
  regionRead: 9,
  regionWrite: 10,
  dmaRead: 11,
  dmaWrite: 12,
  deviceReset: 13,
  regionWriteMulti: 15,
  deviceFeature: 16,
  migDataRead: 17,
  migDataWrite: 18,
} as const;

/** Name of a command for messages. */
export function commandName(number: number): string {
  const name = Object.entries(Command).find(([, value]) => value === number)?.[0];
  return name === undefined
    ? `command ${number}`
    : `VFIO_USER_${name.replace(/[A-Z]/g, "_$&").toUpperCase()}`;
}

export const HEADER_BYTES = 16;
/** Header flags: type in bits 3:0. */
export const TYPE_REPLY = 1;
export const FLAG_NO_REPLY = 1 << 4;
export const FLAG_ERROR = 1 << 5;

export const MAJOR = 0;
export const MINOR = 1;

/** VFIO_USER_DMA_MAP. */
export const dmaMap = struct("vfio_user_dma_map", {
  argsz: u32,
  flags: u32,
  offset: u64,
  addr: u64,
  size: u64,
});
export const DMA_READ = 1 << 0;
export const DMA_WRITE = 1 << 1;

/** VFIO_USER_DMA_UNMAP. */
export const dmaUnmap = struct("vfio_user_dma_unmap", { argsz: u32, flags: u32, addr: u64, size: u64 });
/** {@link unmapBitmap} follows, and in the answer after it the bitmap. libvfio-user's, as the next; today's text has neither. */
export const UNMAP_DIRTY_BITMAP = 1 << 0;
/** Address and size are 0. */
export const UNMAP_ALL = 1 << 1;
export const unmapBitmap = struct("vfio_user_bitmap", { pgsize: u64, size: u64 });

export const deviceInfo = struct("vfio_user_device_info", {
  argsz: u32,
  flags: u32,
  num_regions: u32,
  num_irqs: u32,
});

/** Header of VFIO_USER_REGION_READ, WRITE and their replies; data follows. */
export const regionAccess = struct("vfio_user_region_access", { offset: u64, region: u32, count: u32 });

/** Header of VFIO_USER_DMA_READ, WRITE and their replies; data follows. */
export const dmaAccess = struct("vfio_user_dma_region_access", { addr: u64, count: u64 });

/** VFIO_USER_DEVICE_GET_REGION_IO_FDS; sub-regions follow. */
export const regionIoFds = struct("vfio_user_region_io_fds", {
  argsz: u32,
  flags: u32,
  index: u32,
  count: u32,
});

/**
 * A sub-region that an eventfd stands for, as the specification has it. libvfio-user's is 8 bytes longer, with a place in
 * shadow memory before the value: the length of an entry tells which it is.
 */
export const subRegion = struct("vfio_user_sub_region_ioeventfd", {
  gpa_offset: u64,
  size: u64,
  fd_index: u32,
  type: u32,
  flags: u32,
  padding: u32,
  datamatch: u64,
});
export const shadowSubRegion = struct("vfio_user_sub_region_ioeventfd", {
  gpa_offset: u64,
  size: u64,
  fd_index: u32,
  type: u32,
  flags: u32,
  shadow_mem_fd_index: u32,
  shadow_offset: u64,
  datamatch: u64,
});
export const IO_FD_TYPE_IOEVENTFD = 0;
/** KVM_IOEVENTFD_FLAG_DATAMATCH (linux/kvm.h). */
export const IOEVENTFD_DATAMATCH = 1 << 0;

/** One write of VFIO_USER_REGION_WRITE_MULTI: at most 8 bytes. */
export const WRITE_MULTI_MAX = 14;
export const WRITE_MULTI_DATA_BYTES = 8;
export const writeMulti = struct("vfio_user_write_multi_entry", { offset: u64, region: u32, count: u32 });

/** Before the ranges of VFIO_DEVICE_FEATURE_DMA_LOGGING_START, which follow here. */
export const loggingControl = struct("vfio_user_device_feature_dma_logging_control", {
  page_size: u64,
  num_ranges: u32,
  reserved: u32,
});

/** Before the bitmap of VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT. */
export const loggingReport = struct("vfio_user_device_feature_dma_logging_report", {
  iova: u64,
  length: u64,
  page_size: u64,
});

/** VFIO_USER_MIG_DATA_READ and WRITE; data follows. */
export const migrationData = struct("vfio_user_mig_data", { argsz: u32, size: u32 });

/** Regions of a vfio-pci device: six BARs, ROM, configuration space, VGA. */
export const PCI_REGIONS = 9;
export const CONFIG_REGION = 7;
/** INTx, MSI, MSI-X, ERR, REQ. */
export const PCI_IRQS = 5;

/** include/uapi/linux/vfio.h: VFIO_DEVICE_FEATURE and its features. */

import { bytes, s32, struct, u32, u64 } from "../core/struct.js";
import { ioctlRequest } from "../sys/ioctl.js";

const VFIO_TYPE = ";";
const VFIO_BASE = 100;

export const VFIO_DEVICE_FEATURE = ioctlRequest("VFIO_DEVICE_FEATURE", VFIO_TYPE, VFIO_BASE + 17, "5.7");
/** A request on a migration data descriptor. */
export const VFIO_MIG_GET_PRECOPY_INFO = ioctlRequest(
  "VFIO_MIG_GET_PRECOPY_INFO",
  VFIO_TYPE,
  VFIO_BASE + 21,
  "6.2",
);

export const VFIO_DEVICE_FEATURE_MASK = 0xffff;
export const VFIO_DEVICE_FEATURE_GET = 1 << 16;
export const VFIO_DEVICE_FEATURE_SET = 1 << 17;
export const VFIO_DEVICE_FEATURE_PROBE = 1 << 18;

export const VFIO_DEVICE_FEATURE_PCI_VF_TOKEN = 0;
export const VFIO_DEVICE_FEATURE_MIGRATION = 1;
export const VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE = 2;
export const VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY = 3;
export const VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP = 4;
export const VFIO_DEVICE_FEATURE_LOW_POWER_EXIT = 5;
export const VFIO_DEVICE_FEATURE_DMA_LOGGING_START = 6;
export const VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP = 7;
export const VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT = 8;
export const VFIO_DEVICE_FEATURE_MIG_DATA_SIZE = 9;
export const VFIO_DEVICE_FEATURE_BUS_MASTER = 10;
export const VFIO_DEVICE_FEATURE_DMA_BUF = 11;
export const VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 = 12;

export const VFIO_MIGRATION_STOP_COPY = 1 << 0;
export const VFIO_MIGRATION_P2P = 1 << 1;
export const VFIO_MIGRATION_PRE_COPY = 1 << 2;

/** Flag of vfio_precopy_info: the initial state has restarted. */
export const VFIO_PRECOPY_INFO_REINIT = 1 << 0;

/** enum vfio_device_mig_state */
export const VFIO_DEVICE_STATE_ERROR = 0;
export const VFIO_DEVICE_STATE_STOP = 1;
export const VFIO_DEVICE_STATE_RUNNING = 2;
export const VFIO_DEVICE_STATE_STOP_COPY = 3;
export const VFIO_DEVICE_STATE_RESUMING = 4;
export const VFIO_DEVICE_STATE_RUNNING_P2P = 5;
export const VFIO_DEVICE_STATE_PRE_COPY = 6;
export const VFIO_DEVICE_STATE_PRE_COPY_P2P = 7;

export const VFIO_DEVICE_FEATURE_CLEAR_MASTER = 0;
export const VFIO_DEVICE_FEATURE_SET_MASTER = 1;

export const vfio_device_feature = struct("vfio_device_feature", { argsz: u32, flags: u32 });

export const vfio_device_feature_migration = struct("vfio_device_feature_migration", { flags: u64 });

export const vfio_device_feature_mig_state = struct("vfio_device_feature_mig_state", {
  device_state: u32,
  data_fd: s32,
});

export const vfio_precopy_info = struct("vfio_precopy_info", {
  argsz: u32,
  flags: u32,
  initial_bytes: u64,
  dirty_bytes: u64,
});

export const vfio_device_low_power_entry_with_wakeup = struct("vfio_device_low_power_entry_with_wakeup", {
  wakeup_eventfd: s32,
  reserved: u32,
});

export const vfio_device_feature_dma_logging_control = struct("vfio_device_feature_dma_logging_control", {
  page_size: u64,
  num_ranges: u32,
  __reserved: u32,
  ranges: u64,
});

export const vfio_device_feature_dma_logging_range = struct("vfio_device_feature_dma_logging_range", {
  iova: u64,
  length: u64,
});

export const vfio_device_feature_dma_logging_report = struct("vfio_device_feature_dma_logging_report", {
  iova: u64,
  length: u64,
  page_size: u64,
  bitmap: u64,
});

export const vfio_device_feature_mig_data_size = struct("vfio_device_feature_mig_data_size", {
  stop_copy_length: u64,
});

export const vfio_device_feature_bus_master = struct("vfio_device_feature_bus_master", { op: u32 });

export const vfio_region_dma_range = struct("vfio_region_dma_range", { offset: u64, length: u64 });

export const vfio_device_feature_dma_buf = struct("vfio_device_feature_dma_buf", {
  region_index: u32,
  open_flags: u32,
  flags: u32,
  nr_ranges: u32,
});

/** The 16 bytes of a UUID. The header has no struct for them. */
export const uuidBytes = bytes(16);

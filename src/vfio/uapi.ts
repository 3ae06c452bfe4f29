/**
 * include/uapi/linux/vfio.h, the requests on a device descriptor, under the kernel's own names. Request numbers mean
 * other things on group and container descriptors: those are in src/vfio-legacy/uapi.ts.
 */
import { ioctlRequest } from "../sys/ioctl.js";
import { s32, struct, u16, u32, u64 } from "../sys/struct.js";

const VFIO_TYPE = ";";
const VFIO_BASE = 100;

export const VFIO_DEVICE_GET_INFO = ioctlRequest("VFIO_DEVICE_GET_INFO", VFIO_TYPE, VFIO_BASE + 7);
export const VFIO_DEVICE_GET_REGION_INFO = ioctlRequest(
  "VFIO_DEVICE_GET_REGION_INFO",
  VFIO_TYPE,
  VFIO_BASE + 8,
);
export const VFIO_DEVICE_GET_IRQ_INFO = ioctlRequest("VFIO_DEVICE_GET_IRQ_INFO", VFIO_TYPE, VFIO_BASE + 9);
export const VFIO_DEVICE_SET_IRQS = ioctlRequest("VFIO_DEVICE_SET_IRQS", VFIO_TYPE, VFIO_BASE + 10);
export const VFIO_DEVICE_RESET = ioctlRequest("VFIO_DEVICE_RESET", VFIO_TYPE, VFIO_BASE + 11);
export const VFIO_DEVICE_BIND_IOMMUFD = ioctlRequest("VFIO_DEVICE_BIND_IOMMUFD", VFIO_TYPE, VFIO_BASE + 18);
export const VFIO_DEVICE_ATTACH_IOMMUFD_PT = ioctlRequest(
  "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
  VFIO_TYPE,
  VFIO_BASE + 19,
);
export const VFIO_DEVICE_DETACH_IOMMUFD_PT = ioctlRequest(
  "VFIO_DEVICE_DETACH_IOMMUFD_PT",
  VFIO_TYPE,
  VFIO_BASE + 20,
);

export const VFIO_DEVICE_FLAGS_RESET = 1 << 0;
export const VFIO_DEVICE_FLAGS_PCI = 1 << 1;

export const VFIO_REGION_INFO_FLAG_READ = 1 << 0;
export const VFIO_REGION_INFO_FLAG_WRITE = 1 << 1;
export const VFIO_REGION_INFO_FLAG_MMAP = 1 << 2;
export const VFIO_REGION_INFO_FLAG_CAPS = 1 << 3;

export const VFIO_REGION_INFO_CAP_SPARSE_MMAP = 1;
export const VFIO_REGION_INFO_CAP_TYPE = 2;
export const VFIO_REGION_INFO_CAP_MSIX_MAPPABLE = 3;

export const VFIO_PCI_ROM_REGION_INDEX = 6;
export const VFIO_PCI_CONFIG_REGION_INDEX = 7;
export const VFIO_PCI_VGA_REGION_INDEX = 8;

export const VFIO_IRQ_INFO_EVENTFD = 1 << 0;
export const VFIO_IRQ_INFO_MASKABLE = 1 << 1;
export const VFIO_IRQ_INFO_AUTOMASKED = 1 << 2;
export const VFIO_IRQ_INFO_NORESIZE = 1 << 3;

export const VFIO_PCI_INTX_IRQ_INDEX = 0;
export const VFIO_PCI_MSI_IRQ_INDEX = 1;
export const VFIO_PCI_MSIX_IRQ_INDEX = 2;
export const VFIO_PCI_ERR_IRQ_INDEX = 3;
export const VFIO_PCI_REQ_IRQ_INDEX = 4;

export const VFIO_IRQ_SET_DATA_NONE = 1 << 0;
export const VFIO_IRQ_SET_DATA_BOOL = 1 << 1;
export const VFIO_IRQ_SET_DATA_EVENTFD = 1 << 2;
export const VFIO_IRQ_SET_ACTION_MASK = 1 << 3;
export const VFIO_IRQ_SET_ACTION_UNMASK = 1 << 4;
export const VFIO_IRQ_SET_ACTION_TRIGGER = 1 << 5;

export const vfio_info_cap_header = struct("vfio_info_cap_header", { id: u16, version: u16, next: u32 });

export const vfio_device_info = struct("vfio_device_info", {
  argsz: u32,
  flags: u32,
  num_regions: u32,
  num_irqs: u32,
  cap_offset: u32,
  pad: u32,
});

export const vfio_region_info = struct("vfio_region_info", {
  argsz: u32,
  flags: u32,
  index: u32,
  cap_offset: u32,
  size: u64,
  offset: u64,
});

export const vfio_region_sparse_mmap_area = struct("vfio_region_sparse_mmap_area", {
  offset: u64,
  size: u64,
});

export const vfio_region_info_cap_sparse_mmap = struct("vfio_region_info_cap_sparse_mmap", {
  header: vfio_info_cap_header,
  nr_areas: u32,
  reserved: u32,
});

export const vfio_region_info_cap_type = struct("vfio_region_info_cap_type", {
  header: vfio_info_cap_header,
  type: u32,
  subtype: u32,
});

export const vfio_irq_info = struct("vfio_irq_info", { argsz: u32, flags: u32, index: u32, count: u32 });

export const vfio_irq_set = struct("vfio_irq_set", {
  argsz: u32,
  flags: u32,
  index: u32,
  start: u32,
  count: u32,
});

export const vfio_device_bind_iommufd = struct("vfio_device_bind_iommufd", {
  argsz: u32,
  flags: u32,
  iommufd: s32,
  out_devid: u32,
  token_uuid_ptr: u64,
});

export const vfio_device_attach_iommufd_pt = struct("vfio_device_attach_iommufd_pt", {
  argsz: u32,
  flags: u32,
  pt_id: u32,
  pasid: u32,
});

export const vfio_device_detach_iommufd_pt = struct("vfio_device_detach_iommufd_pt", {
  argsz: u32,
  flags: u32,
  pasid: u32,
});

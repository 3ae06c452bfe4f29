/**
 * include/uapi/linux/vfio.h, the requests on a device descriptor, under the kernel's own names. Request numbers mean
 * other things on group and container descriptors: those are in src/vfio-legacy/uapi.ts.
 */

import { s32, struct, u8, u16, u32, u64 } from "../core/struct.js";
import { ioctlRequest } from "../sys/ioctl.js";

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
export const VFIO_DEVICE_GET_PCI_HOT_RESET_INFO = ioctlRequest(
  "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO",
  VFIO_TYPE,
  VFIO_BASE + 12,
);
export const VFIO_DEVICE_PCI_HOT_RESET = ioctlRequest("VFIO_DEVICE_PCI_HOT_RESET", VFIO_TYPE, VFIO_BASE + 13);
export const VFIO_DEVICE_QUERY_GFX_PLANE = ioctlRequest(
  "VFIO_DEVICE_QUERY_GFX_PLANE",
  VFIO_TYPE,
  VFIO_BASE + 14,
);
export const VFIO_DEVICE_GET_GFX_DMABUF = ioctlRequest(
  "VFIO_DEVICE_GET_GFX_DMABUF",
  VFIO_TYPE,
  VFIO_BASE + 15,
);
export const VFIO_DEVICE_IOEVENTFD = ioctlRequest("VFIO_DEVICE_IOEVENTFD", VFIO_TYPE, VFIO_BASE + 16);
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
export const VFIO_DEVICE_FLAGS_CAPS = 1 << 7;

export const VFIO_REGION_INFO_FLAG_READ = 1 << 0;
export const VFIO_REGION_INFO_FLAG_WRITE = 1 << 1;
export const VFIO_REGION_INFO_FLAG_MMAP = 1 << 2;
export const VFIO_REGION_INFO_FLAG_CAPS = 1 << 3;

export const VFIO_REGION_INFO_CAP_SPARSE_MMAP = 1;
export const VFIO_REGION_INFO_CAP_TYPE = 2;
export const VFIO_REGION_INFO_CAP_MSIX_MAPPABLE = 3;

/** Region index of BAR 0 (linux/vfio.h). */
export const VFIO_PCI_BAR0_REGION_INDEX = 0;
/** Region index of BAR 1, empty if BAR 0 has 64 bits (linux/vfio.h). */
export const VFIO_PCI_BAR1_REGION_INDEX = 1;
/** Region index of BAR 2 (linux/vfio.h). */
export const VFIO_PCI_BAR2_REGION_INDEX = 2;
/** Region index of BAR 3, empty if BAR 2 has 64 bits (linux/vfio.h). */
export const VFIO_PCI_BAR3_REGION_INDEX = 3;
/** Region index of BAR 4 (linux/vfio.h). */
export const VFIO_PCI_BAR4_REGION_INDEX = 4;
/** Region index of BAR 5, empty if BAR 4 has 64 bits (linux/vfio.h). */
export const VFIO_PCI_BAR5_REGION_INDEX = 5;
/** Region index of the expansion ROM, which can only be read (linux/vfio.h). */
export const VFIO_PCI_ROM_REGION_INDEX = 6;
/** Region index of the configuration space (linux/vfio.h). */
export const VFIO_PCI_CONFIG_REGION_INDEX = 7;
/**
 * Region index of the legacy VGA ranges: memory 0xa0000-0xbffff and I/O ports, at their own addresses (linux/vfio.h).
 */
export const VFIO_PCI_VGA_REGION_INDEX = 8;
/** First index of device-specific regions. */
export const VFIO_PCI_NUM_REGIONS = 9;

export const VFIO_IRQ_INFO_EVENTFD = 1 << 0;
export const VFIO_IRQ_INFO_MASKABLE = 1 << 1;
export const VFIO_IRQ_INFO_AUTOMASKED = 1 << 2;
export const VFIO_IRQ_INFO_NORESIZE = 1 << 3;

/** Interrupt index of the INTx line (linux/vfio.h). */
export const VFIO_PCI_INTX_IRQ_INDEX = 0;
/** Interrupt index of MSI (linux/vfio.h). */
export const VFIO_PCI_MSI_IRQ_INDEX = 1;
/** Interrupt index of MSI-X (linux/vfio.h). */
export const VFIO_PCI_MSIX_IRQ_INDEX = 2;
/** Interrupt index that reports uncorrectable PCIe errors (linux/vfio.h). */
export const VFIO_PCI_ERR_IRQ_INDEX = 3;
/** Interrupt index by which the host asks for the device back (linux/vfio.h). */
export const VFIO_PCI_REQ_IRQ_INDEX = 4;
export const VFIO_PCI_NUM_IRQS = 5;

export const VFIO_IRQ_SET_DATA_NONE = 1 << 0;
export const VFIO_IRQ_SET_DATA_BOOL = 1 << 1;
export const VFIO_IRQ_SET_DATA_EVENTFD = 1 << 2;
export const VFIO_IRQ_SET_ACTION_MASK = 1 << 3;
export const VFIO_IRQ_SET_ACTION_UNMASK = 1 << 4;
export const VFIO_IRQ_SET_ACTION_TRIGGER = 1 << 5;
export const VFIO_IRQ_SET_DATA_TYPE_MASK = 0x7;
export const VFIO_IRQ_SET_ACTION_TYPE_MASK = 0x38;

export const VFIO_DEVICE_BIND_FLAG_TOKEN = 1 << 0;
export const VFIO_DEVICE_ATTACH_PASID = 1 << 0;
export const VFIO_DEVICE_DETACH_PASID = 1 << 0;

export const VFIO_PCI_DEVID_OWNED = 0;
export const VFIO_PCI_DEVID_NOT_OWNED = -1;
export const VFIO_PCI_HOT_RESET_FLAG_DEV_ID = 1 << 0;
export const VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED = 1 << 1;

export const VFIO_GFX_PLANE_TYPE_PROBE = 1 << 0;
export const VFIO_GFX_PLANE_TYPE_DMABUF = 1 << 1;
export const VFIO_GFX_PLANE_TYPE_REGION = 1 << 2;

export const VFIO_DEVICE_IOEVENTFD_8 = 1 << 0;
export const VFIO_DEVICE_IOEVENTFD_16 = 1 << 1;
export const VFIO_DEVICE_IOEVENTFD_32 = 1 << 2;
export const VFIO_DEVICE_IOEVENTFD_64 = 1 << 3;
export const VFIO_DEVICE_IOEVENTFD_SIZE_MASK = 0xf;

export const VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP = 5;
export const VFIO_PCI_ATOMIC_COMP32 = 1 << 0;
export const VFIO_PCI_ATOMIC_COMP64 = 1 << 1;
export const VFIO_PCI_ATOMIC_COMP128 = 1 << 2;

/** Set in a region's type if the low bits are a PCI vendor id (linux/vfio.h). */
export const VFIO_REGION_TYPE_PCI_VENDOR_TYPE = 0x8000_0000;
/** The bits of a region's type that hold the PCI vendor id (linux/vfio.h). */
export const VFIO_REGION_TYPE_PCI_VENDOR_MASK = 0xffff;
/** Region type of a virtual display (linux/vfio.h). */
export const VFIO_REGION_TYPE_GFX = 1;
/** Region subtype of VFIO_REGION_TYPE_GFX: the EDID of a virtual display (linux/vfio.h). */
export const VFIO_REGION_SUBTYPE_GFX_EDID = 1;
/** Region subtype of Intel's graphics, with type VFIO_REGION_TYPE_PCI_VENDOR_TYPE | 0x8086. */
export const VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION = 1;
/** Region subtype of Intel's graphics: a copy of the host bridge's configuration space, read-only (linux/vfio.h). */
export const VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG = 2;
/** Region subtype of Intel's graphics: a copy of the LPC bridge's configuration space, read-only (linux/vfio.h). */
export const VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG = 3;

export const VFIO_DEVICE_GFX_LINK_STATE_UP = 1;
export const VFIO_DEVICE_GFX_LINK_STATE_DOWN = 2;

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

export const vfio_device_info_cap_pci_atomic_comp = struct("vfio_device_info_cap_pci_atomic_comp", {
  header: vfio_info_cap_header,
  flags: u32,
  reserved: u32,
});

export const vfio_region_gfx_edid = struct("vfio_region_gfx_edid", {
  edid_offset: u32,
  edid_max_size: u32,
  edid_size: u32,
  max_xres: u32,
  max_yres: u32,
  link_state: u32,
});

/** The kernel's union of group_id and devid is one word; here it has the first member's name. */
export const vfio_pci_dependent_device = struct("vfio_pci_dependent_device", {
  group_id: u32,
  segment: u16,
  bus: u8,
  devfn: u8,
});

export const vfio_pci_hot_reset_info = struct("vfio_pci_hot_reset_info", {
  argsz: u32,
  flags: u32,
  count: u32,
});

export const vfio_pci_hot_reset = struct("vfio_pci_hot_reset", { argsz: u32, flags: u32, count: u32 });

/** The kernel's union of region_index and dmabuf_id is one word; here it has the first member's name. */
export const vfio_device_gfx_plane_info = struct("vfio_device_gfx_plane_info", {
  argsz: u32,
  flags: u32,
  drm_plane_type: u32,
  drm_format: u32,
  drm_format_mod: u64,
  width: u32,
  height: u32,
  stride: u32,
  size: u32,
  x_pos: u32,
  y_pos: u32,
  x_hot: u32,
  y_hot: u32,
  region_index: u32,
  reserved: u32,
});

export const vfio_device_ioeventfd = struct("vfio_device_ioeventfd", {
  argsz: u32,
  flags: u32,
  offset: u64,
  data: u64,
  fd: s32,
  reserved: u32,
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

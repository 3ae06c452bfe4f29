/** Names of linux/iommufd.h and linux/vfio.h that this library deliberately doesn't declare, with reasons. */
export interface NotApplicable {
  readonly names: RegExp;
  readonly reason: string;
}

export const notApplicable: readonly NotApplicable[] = [
  {
    names: /^VFIO_(TYPE|BASE|H)$|^IOMMUFD_(TYPE|CMD_BASE)$/,
    reason: "part of the request numbers, or an include guard",
  },
  {
    names: /SPAPR|^VFIO_IOMMU_(ENABLE|DISABLE)$/,
    reason: "IOMMUs of PowerPC servers (sPAPR TCE): no such machine here",
  },
  { names: /^VFIO_EEH/, reason: "error handling of PowerPC servers (EEH)" },
  { names: /^VFIO_CCW_|_CCW(_|$)/, reason: "channel devices of IBM Z (CCW), no PCI" },
  { names: /^VFIO_AP_|_AP(_STRING)?$/, reason: "crypto adapters of IBM Z (AP), no PCI" },
  { names: /ZPCI/, reason: "PCI of IBM Z (zPCI), whose instructions no other machine has" },
  { names: /_(PLATFORM|AMBA)(_STRING)?$/, reason: "devices of a device tree, no PCI" },
  { names: /_FSL_MC$/, reason: "NXP's Layerscape bus (FSL-MC), no PCI" },
  { names: /_CDX$/, reason: "AMD's Versal bus (CDX), no PCI" },
  { names: /NVLINK2/, reason: "NVLink 2 of POWER9: the kernel has removed it and keeps the names" },
  {
    names: /_MIGRATION_DEPRECATED$|^VFIO_DEVICE_STATE_(V1_|MASK$|VALID$|IS_ERROR$|SET_ERROR$)/,
    reason: "version 1 of migration: the kernel has removed it and keeps the names",
  },
  {
    names: /^VFIO_DEVICE_API_PCI_STRING$/,
    reason: "content of a file in sysfs, which no request takes or gives",
  },
  { names: /^UDMABUF_CREATE_LIST$/, reason: "one dma-buf of several memfds: memory of this library has one" },
  { names: /^VFIO_DEVICE_STATE_NR$/, reason: "a count of the states for the kernel's own tables" },
];

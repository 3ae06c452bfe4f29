/** Entries of src/core/hints.ts that no test provokes, by "REQUEST ERRNO", with the reason. */
export const unprovoked: Readonly<Record<string, string>> = {
  "VFIO_DEVICE_BIND_IOMMUFD ENODEV": "vfio-pci takes no device without a group, and so makes no node for it",
  "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO EPERM": "takes a bus with devices of which only one has a group",
  "VFIO_DEVICE_PCI_HOT_RESET EBUSY": "takes two resets in the same moment",
  "VFIO_GROUP_SET_CONTAINER EBUSY": "takes another owner in the moment between opening the group and this",
  "VFIO_GROUP_SET_CONTAINER EPERM": "takes devices with and without an IOMMU in one machine",
  "VFIO_GROUP_GET_DEVICE_FD EBUSY": "takes another owner in the moment between opening the group and this",
};

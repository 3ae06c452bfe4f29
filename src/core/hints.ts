/** For a request that a function of an IOMMU group fails because this process has another one. */
const JOIN_FIRST =
  ". If this process has a function of the group open, open this one with { dma: first.dma } of that";

/**
 * What an errno of a request means, and what to do about it. The kernel uses a dozen numbers for a hundred reasons. Source:
 * Linux 7.3, drivers/iommu/iommufd and drivers/vfio. docs/errors.md is generated from this table, and a test provokes each
 * entry.
 */
const hints: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  IOMMU_DESTROY: {
    EBUSY: "an attached device or another object uses it",
    ENOENT: "it was destroyed by its id",
  },
  IOMMU_IOAS_IOVA_RANGES: { ENOENT: "it was destroyed by its id" },
  IOMMU_IOAS_ALLOW_IOVAS: {
    EINVAL: "a range ends before it starts, or two overlap",
    EADDRINUSE: "a range contains reserved addresses: see iovaRanges()",
  },
  IOMMU_IOAS_MAP: {
    EINVAL: "length, address or iova is not a multiple of the alignment, or a fixed iova is reserved",
    EEXIST: "a fixed iova is mapped already",
    ENOSPC: "no free I/O virtual addresses",
    EFAULT:
      "part of the memory is not mapped or can't be pinned; map a BAR through its dma-buf with mapFile()",
    ENOMEM: "out of memory, or the memlock limit (ulimit -l) is reached",
    EOVERFLOW: "the range ends beyond the last address",
    ENOENT: "the address space was destroyed by its id",
  },
  IOMMU_IOAS_MAP_FILE: {
    EINVAL:
      "the file is no memfd, tmpfs file or dma-buf, or it is too short, or an argument is not a multiple of the alignment",
    EEXIST: "a fixed iova is mapped already",
    EBADF: "the descriptor is not open",
    ENODEV: "the exporter has revoked the dma-buf",
    EOPNOTSUPP: "only dma-bufs of one range that vfio-pci exported can be mapped",
    ENOMEM: "out of memory, or the memlock limit (ulimit -l) is reached",
    EOVERFLOW: "the range ends beyond the last address",
    ENOSPC: "no free I/O virtual addresses",
  },
  IOMMU_IOAS_COPY: {
    EINVAL: "length or iova is not a multiple of the alignment, or a fixed iova is reserved",
    ENOENT: "part of the source range is not mapped",
    EPERM: "the source is mapped for reading only",
    EEXIST: "a fixed iova is mapped already",
    ENOSPC: "no free I/O virtual addresses",
    EOVERFLOW: "the range ends beyond the last address",
    EFAULT: "part of the memory can't be pinned any more",
  },
  IOMMU_IOAS_UNMAP: {
    ENOENT: "nothing is mapped there, or a mapping reaches beyond the range; mappings can't be cut",
    EBUSY: "a hardware queue lies in it, or it is being mapped",
    EOVERFLOW: "the range ends beyond the last address",
  },
  IOMMU_OPTION: {
    EOPNOTSUPP: "this kernel has no such option",
    EPERM: "setting it needs CAP_SYS_RESOURCE",
    EBUSY: "it can only be set before any object exists",
    EINVAL: "the option has no such value, or devices and mappings exist already",
    EADDRINUSE: "a mapping is not page aligned",
    ENOENT: "there is no such address space",
  },
  IOMMU_VFIO_IOAS: { ENOENT: "the address space was destroyed by its id" },
  IOMMU_HWPT_ALLOC: {
    EOPNOTSUPP: "this IOMMU lacks an option in the request: see hwInfo()",
    EINVAL: "the parent is no nest parent, or the data has a wrong type or length for this IOMMU",
    ENOENT: "the device is not attached yet, or an object was destroyed by its id",
    EADDRINUSE: "an address that is mapped or allowed is beyond what this IOMMU translates",
    EFAULT: "mapped memory can't be pinned any more",
    ENOMEM: "out of memory, or the memlock limit (ulimit -l) is reached",
  },
  IOMMU_GET_HW_INFO: {
    EOPNOTSUPP: "this IOMMU has no information of that type",
    ENOENT: "the device is not bound any more",
  },
  IOMMU_HWPT_SET_DIRTY_TRACKING: {
    EOPNOTSUPP: "the page table was made without dirtyTracking",
    ENOENT: "it was destroyed by its id",
  },
  IOMMU_HWPT_GET_DIRTY_BITMAP: {
    EOPNOTSUPP: "the page table was made without dirtyTracking",
    EINVAL: "iova or length is not a multiple of the given page size, or that size is too small",
    EOVERFLOW: "the range ends beyond the last address",
    ENOENT: "it was destroyed by its id",
  },
  IOMMU_HWPT_INVALIDATE: {
    EINVAL: "this IOMMU has no entries of that type or length",
    EOPNOTSUPP: "this IOMMU has no such request, or an entry has an unknown flag",
    ENOENT: "it was destroyed by its id",
  },
  IOMMU_FAULT_QUEUE_ALLOC: { EMFILE: "too many open descriptors (ulimit -n)" },
  IOMMU_VIOMMU_ALLOC: {
    EOPNOTSUPP: "this IOMMU has no virtual IOMMU of that type",
    EINVAL: "the page table is no nest parent, or it belongs to another IOMMU than the device",
    ENOENT: "an object was destroyed by its id",
  },
  IOMMU_VDEVICE_ALLOC: {
    EEXIST: "the device is part of a virtual IOMMU already, or the virtual id is taken",
    ENOENT: "the virtual IOMMU was destroyed by its id",
  },
  IOMMU_VEVENTQ_ALLOC: {
    EOPNOTSUPP: "this virtual IOMMU has no events of that type",
    EEXIST: "there is one of that type already",
    EMFILE: "too many open descriptors (ulimit -n)",
    ENOENT: "the virtual IOMMU was destroyed by its id",
  },
  IOMMU_HW_QUEUE_ALLOC: {
    EOPNOTSUPP: "this virtual IOMMU has no queues of that type",
    EINVAL: "this virtual IOMMU has no queue of that index",
    ENOENT: "nothing is mapped there in the nest parent",
    EIO: "queues must be made in the order of their indexes: the one before is missing",
    EEXIST: "there is one of that index already",
    EOVERFLOW: "the queue ends beyond the last address",
    EFAULT: "its memory is not contiguous",
  },
  IOMMU_IOAS_CHANGE_PROCESS: {
    EINVAL: "memory other than memfds is mapped; only memfds can change their process",
    ENOMEM: "the memlock limit (ulimit -l) of the new process is reached",
  },
  IOMMU_IOAS_NOIOMMU_GET_PA: {
    EPERM: "physical addresses need CAP_SYS_RAWIO",
    EOPNOTSUPP: "the device has an IOMMU, or this kernel has no CONFIG_VFIO_NOIOMMU",
    ENOENT: "nothing is mapped there",
  },
  VFIO_DEVICE_BIND_IOMMUFD: {
    EPERM:
      "the platform can't isolate this device's interrupts, or its IOMMU group has another owner; " +
      `interrupt remapping is needed (or iommufd.allow_unsafe_interrupts=1)${JOIN_FIRST}`,
    EBUSY: `its group is open through /dev/vfio/GROUP, or has another owner${JOIN_FIRST}`,
    ENODEV: "the device has no IOMMU group: check that the IOMMU is on",
    EINVAL: "the device is open through another descriptor, or has no token",
    EACCES: "a virtual function needs the token of its physical function (vfToken)",
    EBADF: "the iommufd's descriptor is not open",
    EBADFD: "the descriptor is no iommufd",
  },
  VFIO_DEVICE_ATTACH_IOMMUFD_PT: {
    EADDRINUSE: "a mapping lies at addresses that this device can't use",
    EFAULT: "mapped memory can't be pinned any more",
    ENOMEM: "out of memory, or the memlock limit (ulimit -l) is reached",
    EBUSY: "the PASID is attached already, or the device is being reset",
    EINVAL: "this page table doesn't fit the device, or a PASID needs page tables made for PASIDs",
    ENOENT: "the page table was destroyed by its id",
    EOPNOTSUPP: "this device has no PASIDs",
    ENODEV: "the page table has a fault queue, but the device or the IOMMU lacks page requests (ATS and PRI)",
  },
  VFIO_DEVICE_SET_IRQS: {
    EINVAL: "the device has no such vector, or another kind of interrupt is on, or this one is off",
    ENOTTY: "this kind of interrupt has no such action",
    EBADF: "a descriptor is not open",
    EBUSY: "an eventfd for unmasking is set already",
  },
  VFIO_DEVICE_FEATURE: {
    EINVAL: "the feature doesn't allow this use, or not in the device's state",
    ENODEV: "the region is no BAR whose memory can be shared",
    E2BIG: "too many ranges",
    EOVERFLOW: "a range ends beyond the last address",
  },
  VFIO_DEVICE_IOEVENTFD: {
    EINVAL: "registers of this region can't be written that way, or the descriptor is no eventfd",
    EEXIST: "there is one for this register and value already",
    ENOSPC: "a device can have 1000 at most",
  },
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: { EPERM: "a device that is reset together with this one has no group" },
  VFIO_DEVICE_PCI_HOT_RESET: {
    EINVAL: "this process must own every device that is reset together with this one: see hotResetInfo()",
    EBUSY: "another reset is under way",
    EBADF: "a group's descriptor is not open",
  },
  VFIO_DEVICE_QUERY_GFX_PLANE: { EINVAL: "the display has no such plane, or offers it only in another way" },
  VFIO_DEVICE_GET_GFX_DMABUF: { ENOENT: "the display has no such plane" },
  VFIO_MIG_GET_PRECOPY_INFO: { EINVAL: "the device is not in PRE_COPY" },
  VFIO_GROUP_SET_CONTAINER: {
    EINVAL: "the group is in a container already, or its IOMMU doesn't fit this container",
    EPERM:
      "a device of the group has another owner, or groups with and without an IOMMU would share a container",
    EBUSY: "the group has another owner",
    EBADF: "the container's descriptor is not open",
    EBADFD: "the descriptor is neither a container nor an iommufd",
  },
  VFIO_GROUP_UNSET_CONTAINER: { EBUSY: "devices of the group are open" },
  VFIO_GROUP_GET_DEVICE_FD: {
    ENODEV: "the group has no such device, or its container has no IOMMU yet",
    EPERM:
      "the platform can't isolate the device's interrupts: interrupt remapping is needed (or " +
      "iommufd.allow_unsafe_interrupts=1)",
    EINVAL: "the group is in no container, or the device takes no token",
    EACCES: "a virtual function needs the token of its physical function (vfToken)",
    EBUSY: "the device is open through its character device",
  },
  VFIO_SET_IOMMU: {
    EINVAL: "the container has no group yet, or its IOMMU is set already",
    ENODEV: "this kernel has no such IOMMU driver, or a group in the container can't use it",
    EPERM:
      "the platform can't isolate the group's interrupts: interrupt remapping is needed (or " +
      "vfio_iommu_type1.allow_unsafe_interrupts=1); a container without IOMMU needs CAP_SYS_RAWIO",
  },
  VFIO_IOMMU_GET_INFO: { ENOTTY: "a container without IOMMU has no address space" },
  VFIO_IOMMU_MAP_DMA: {
    EINVAL: "length, address or iova is not a multiple of the page size, or the iova is reserved",
    EEXIST: "the iova is mapped already",
    ENOSPC: "vfio_iommu_type1.dma_entry_limit mappings exist",
    EFAULT: "part of the memory is not mapped or can't be pinned",
    ENOMEM: "out of memory, or the memlock limit (ulimit -l) is reached",
    EOVERFLOW: "the range ends beyond the last address",
    ENOENT: "no mapping there has an invalidated virtual address",
    ENOTTY: "a container without IOMMU has no address space",
  },
  VFIO_IOMMU_UNMAP_DMA: {
    EINVAL: "a mapping reaches beyond the range and can't be cut, or dirty pages are not tracked",
    ENOENT: "nothing is mapped there, or a mapping reaches beyond the range and can't be cut",
    EOVERFLOW: "the range ends beyond the last address",
  },
  UDMABUF_CREATE: {
    EINVAL:
      "the size is above size_limit_mb in /sys/module/udmabuf/parameters, or the file isn't sealed against shrinking " +
      "or is sealed against writing",
  },
  VFIO_IOMMU_DIRTY_PAGES: { EINVAL: "dirty pages are not tracked, or not in pages of this size" },
};

/** What an errno of a request means; undefined where there is nothing to say. */
export function hintOf(request: string, errno: string): string | undefined {
  return hints[request]?.[errno];
}

/** Every entry, for the documentation. */
export function allHints(): { request: string; errno: string; hint: string }[] {
  return Object.entries(hints).flatMap(([request, byErrno]) =>
    Object.entries(byErrno).map(([errno, hint]) => ({ request, errno, hint })),
  );
}

/** What to do about a device node that the user may not open. */
export const NODE_PERMISSION =
  "give this user read and write permission on it: sudo npx iova permissions --user NAME BDF";

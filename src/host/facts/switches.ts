/** Switches of kernel modules that give protection away, and the ids that vfio-pci claims. */
import type { HostRoot } from "./root.js";

/** Parameters of loaded modules; undefined where the module isn't loaded or lacks it. */
export interface SwitchFacts {
  /** iommufd accepts devices whose interrupts aren't isolated. */
  readonly iommufdUnsafeInterrupts: boolean | undefined;
  /** type1 accepts them. */
  readonly type1UnsafeInterrupts: boolean | undefined;
  /** Devices without an IOMMU can be opened, and reach all memory. */
  readonly noiommu: boolean | undefined;
  /** vfio-pci's `ids`, as they were when it was loaded. */
  readonly vfioPciIds: readonly string[];
}

export function readSwitches(root: HostRoot): SwitchFacts {
  const flag = (module: string, name: string): boolean | undefined => {
    const text = root.text(`/sys/module/${module}/parameters/${name}`);
    return text === undefined ? undefined : /^[Y1]$/i.test(text);
  };
  return {
    iommufdUnsafeInterrupts: flag("iommufd", "allow_unsafe_interrupts"),
    type1UnsafeInterrupts: flag("vfio_iommu_type1", "allow_unsafe_interrupts"),
    noiommu: flag("vfio", "enable_unsafe_noiommu_mode"),
    vfioPciIds: (root.text("/sys/module/vfio_pci/parameters/ids") ?? "")
      .split(",")
      .filter((id) => id !== "" && id !== "(null)"),
  };
}

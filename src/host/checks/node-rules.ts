/** Rules of udev that give VFIO's nodes to a user or a group: `doctor()` advises them, and `iova permissions` writes them. */

/** A file of rules. */
export interface RuleFile {
  readonly path: string;
  readonly content: string;
}

/** Whose a device's nodes become. */
export interface NodeOwner {
  readonly kind: "user" | "group";
  /** Name or number. */
  readonly nameInRules: string;
}

const RULES = "/etc/udev/rules.d/91-iova";

/** The nodes that all devices share. /dev/vfio/vfio keeps the mode that kernel and udev give it: it gives access to nothing by itself. */
export function sharedRules(group: string): RuleFile {
  const lines = [
    `KERNEL=="iommu", SUBSYSTEM=="misc", GROUP="${group}", MODE="0660"`,
    `KERNEL=="vfio", SUBSYSTEM=="misc", GROUP="${group}", MODE="0666"`,
    "",
  ];
  return { path: `${RULES}-shared.rules`, content: lines.join("\n") };
}

/** The nodes of one device. */
export function deviceRules(bdf: string, { kind, nameInRules }: NodeOwner): RuleFile {
  const whom = `${kind === "user" ? "OWNER" : "GROUP"}="${nameInRules}", MODE="0660"`;
  const lines = [
    `SUBSYSTEM=="vfio-dev", KERNELS=="${bdf}", SUBSYSTEMS=="pci", ${whom}`,
    // Groups have no device above them, and other numbers after each start.
    `SUBSYSTEM=="vfio", TEST=="/sys/kernel/iommu_groups/%k/devices/${bdf}", ${whom}`,
    "",
  ];
  return { path: `${RULES}-device-${bdf.replaceAll(":", "-")}.rules`, content: lines.join("\n") };
}

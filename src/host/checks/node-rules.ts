/** Rules of udev that give VFIO's nodes to a user or a group: `doctor()` advises them, and `iova permissions` writes them. */
import type { Spelling } from "../names/spelling.js";

/** A file of rules. */
export interface RuleFile {
  readonly path: string;
  readonly content: string;
}

const RULES = "/etc/udev/rules.d/91-iova";
/** The node is there, for programs that the rule runs. */
const THERE = 'ACTION!="remove"';

/** The nodes that all devices share. /dev/vfio/vfio keeps the mode that kernel and udev give it: it gives access to nothing by itself. */
export function sharedRules({ inRules }: Spelling): RuleFile {
  const lines = [
    `${THERE}, KERNEL=="iommu", SUBSYSTEM=="misc", MODE="0660", ${inRules}`,
    `${THERE}, KERNEL=="vfio", SUBSYSTEM=="misc", MODE="0666", ${inRules}`,
    "",
  ];
  return { path: `${RULES}-shared.rules`, content: lines.join("\n") };
}

/** The nodes of one device. */
export function deviceRules(bdf: string, { inRules }: Spelling): RuleFile {
  const whom = `MODE="0660", ${inRules}`;
  const lines = [
    `${THERE}, SUBSYSTEM=="vfio-dev", KERNELS=="${bdf}", SUBSYSTEMS=="pci", ${whom}`,
    // Groups have no device above them, and other numbers after each start.
    `${THERE}, SUBSYSTEM=="vfio", TEST=="/sys/kernel/iommu_groups/%k/devices/${bdf}", ${whom}`,
    "",
  ];
  return { path: `${RULES}-device-${bdf.replaceAll(":", "-")}.rules`, content: lines.join("\n") };
}

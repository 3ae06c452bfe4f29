/** The IOMMU: units that the kernel drives, tables of the firmware that announce them, groups, interrupt remapping. */
import type { HostRoot } from "./root.js";

/** Who makes an IOMMU, by the name that the kernel gives the unit. */
export type IommuKind = "intel" | "amd" | "arm-smmu-v3" | "arm-smmu" | "virtio" | "other";

/** An IOMMU that a driver of the kernel has taken. */
export interface IommuUnit {
  /** Its name in /sys/class/iommu. */
  readonly name: string;
  readonly kind: IommuKind;
  /** How many devices are behind it. */
  readonly devices: number;
}

/** What the DMAR table says (Intel VT-d, 8.1). Only root can read it. */
export interface DmarTable {
  /** Bits of host addresses that DMA can use. */
  readonly addressBits: number;
  /** The platform can remap interrupts. */
  readonly interruptRemapping: boolean;
}

/** IOMMUs of a host. */
export interface IommuFacts {
  readonly units: readonly IommuUnit[];
  /** ACPI tables that announce an IOMMU (DMAR, IVRS, IORT, VIOT); undefined if the host has no ACPI tables to look at. */
  readonly tables: readonly string[] | undefined;
  /** Undefined if there is no DMAR table, or it can't be read. */
  readonly dmar: DmarTable | undefined;
  /** Nodes of the device tree that are IOMMUs, by their `compatible`. */
  readonly deviceTree: readonly string[];
  /** How many groups IOMMUs made. */
  readonly groups: number;
  /** How many groups have each kind of default domain: `DMA`, `DMA-FQ` (lazy), `identity` (passthrough). */
  readonly domainTypes: ReadonlyMap<string, number>;
  /** Whether interrupts are remapped, by the names of interrupt controllers; undefined if these don't tell. */
  readonly interruptRemapping: boolean | undefined;
}

const ACPI_TABLES = "/sys/firmware/acpi/tables";
const ANNOUNCING = ["DMAR", "IVRS", "IORT", "VIOT"];

/** A unit's kind by its name: `dmar0`, `ivhd0`, `smmu3.0x0000000009050000`, `smmu.0x...`. */
export function iommuKind(name: string): IommuKind {
  if (name.startsWith("dmar")) return "intel";
  if (name.startsWith("ivhd")) return "amd";
  if (name.startsWith("smmu3")) return "arm-smmu-v3";
  if (name.startsWith("smmu")) return "arm-smmu";
  return name.startsWith("virtio") ? "virtio" : "other";
}

/** Takes the head of a DMAR table apart; undefined if it is none. Never throws. */
export function parseDmar(bytes: Uint8Array): DmarTable | undefined {
  const signature = String.fromCharCode(...bytes.subarray(0, 4));
  const [width, flags] = bytes.subarray(36, 38);
  if (signature !== "DMAR" || width === undefined || flags === undefined) return undefined;
  return { addressBits: width + 1, interruptRemapping: (flags & 1) !== 0 };
}

/**
 * Whether /proc/interrupts has interrupts that an IOMMU remaps: their controllers' names begin with `IR-`. Undefined if it has
 * none of PCI devices on x86. Never throws.
 */
export function parseInterrupts(text: string): boolean | undefined {
  if (/\sIR-(?:PCI|IO)/.test(text)) return true;
  return /\s(?:PCI-MSI|IO-APIC)/.test(text) ? false : undefined;
}

export function readIommu(root: HostRoot): IommuFacts {
  const tables = root.names(ACPI_TABLES);
  const dmar = root.bytes(`${ACPI_TABLES}/DMAR`);
  // In no-IOMMU mode VFIO makes groups of its own.
  const groups = root
    .names("/sys/kernel/iommu_groups")
    .filter((group) => root.text(`/sys/kernel/iommu_groups/${group}/name`) !== "vfio-noiommu");
  const domainTypes = new Map<string, number>();
  for (const group of groups) {
    const type = root.text(`/sys/kernel/iommu_groups/${group}/type`);
    if (type !== undefined) domainTypes.set(type, (domainTypes.get(type) ?? 0) + 1);
  }
  return {
    units: root.names("/sys/class/iommu").map((name) => ({
      name,
      kind: iommuKind(name),
      devices: root.names(`/sys/class/iommu/${name}/devices`).length,
    })),
    tables: tables.length === 0 ? undefined : ANNOUNCING.filter((name) => tables.includes(name)),
    dmar: dmar === undefined ? undefined : parseDmar(dmar),
    deviceTree: deviceTreeIommus(root),
    groups: groups.length,
    domainTypes,
    interruptRemapping: parseInterrupts(root.text("/proc/interrupts") ?? ""),
  };
}

const MAX_DEPTH = 4;
const MAX_NODES = 5000;

/** Looks for IOMMUs in the device tree, whose nodes are named after what they are: `iommu@9050000`, `smmu@...`. */
function deviceTreeIommus(root: HostRoot): string[] {
  const found: string[] = [];
  let left = MAX_NODES;
  const visit = (folder: string, depth: number): void => {
    for (const name of root.names(folder)) {
      // A property has no unit address, and most buses have one.
      if (!name.includes("@") && !/^(?:soc|bus|smmu|iommu|firmware)/.test(name)) continue;
      if (left-- <= 0) return;
      const path = `${folder}/${name}`;
      const compatible = root.text(`${path}/compatible`) ?? "";
      if (/iommu|smmu/i.test(compatible)) found.push(compatible.split("\0", 1)[0] ?? "");
      if (depth < MAX_DEPTH) visit(path, depth + 1);
    }
  };
  visit("/sys/firmware/devicetree/base", 1);
  return found;
}

/** All declared capabilities by name, and the titles of those whose registers aren't declared. */
import { lazily } from "../../core/lazy.js";
import { aer, dpc } from "./aer.js";
import * as conventional from "./conventional.js";
import type { CapabilityDeclaration, CapabilityRegistersOf } from "./declare.js";
import * as identity from "./identity.js";
import { msi, msix } from "./msi.js";
import { pcie } from "./pcie.js";
import * as physical from "./physical.js";
import { dpa, l1ss, ltr, pm, powerBudget } from "./power.js";
import * as routing from "./routing.js";
import { doe, ide } from "./security.js";
import * as translation from "./translation.js";
import { mfvc, svc, vc, vc9 } from "./virtual-channel.js";

/** Capabilities in the first 256 bytes (PCI Code and ID Assignment Specification 1.16, 2). */
export const standard = { pm, msi, msix, pcie, ...conventional };

/** Capabilities from byte 256 on (PCI Code and ID Assignment Specification 1.16, 3). */
export const extended = {
  ...{ aer, dpc, vc, mfvc, vc9, svc, powerBudget, dpa, ltr, l1ss, doe, ide },
  ...identity,
  ...routing,
  ...translation,
  ...physical,
};

type Declarations = typeof standard & typeof extended;

/** Short name of a declared capability, such as `pm`, `msix`, `pcie`, `aer` or `sriov`. */
export type PciCapabilityName = keyof Declarations;
/** The registers of a capability by its name. Those that only some functions have can be undefined. */
export type PciCapabilityRegisters<N extends PciCapabilityName> = CapabilityRegistersOf<Declarations[N]>;

/** Titles of capabilities of which nothing else is known here. */
const titles: Readonly<Record<number, string>> = { 0: "Null" };
const extendedTitles: Readonly<Record<number, string>> = {
  0: "Null",
  12: "Configuration Access Correlation",
  17: "Multi-Root I/O Virtualization",
  20: "Reserved for AMD",
  32: "M-PCIe",
  45: "Shadow Functions",
  54: "MMIO Register Block Locator",
  55: "NOP Flit",
  56: "Scalable I/O Virtualization",
};

/** A capability as the id says; without a declaration if its registers are unknown. */
export interface KnownCapability {
  readonly name: PciCapabilityName | undefined;
  readonly title: string;
  readonly declaration: CapabilityDeclaration | undefined;
}

type ById = ReadonlyMap<number, KnownCapability>;

function byId<const D extends Readonly<Record<string, CapabilityDeclaration>>>(declarations: D): ById {
  // Object.entries() forgets the names.
  const entries = Object.entries(declarations) as [PciCapabilityName, CapabilityDeclaration][];
  return new Map(
    entries.map(([name, declaration]) => [declaration.id, { name, title: declaration.title, declaration }]),
  );
}

const known = lazily(() => byId(standard));
const knownExtended = lazily(() => byId(extended));

/** What an id means. */
export function knownCapability(id: number, isExtended: boolean): KnownCapability {
  const found = (isExtended ? knownExtended : known)().get(id);
  if (found !== undefined) return found;
  const title = (isExtended ? extendedTitles : titles)[id] ?? "Unknown";
  return { name: undefined, title, declaration: undefined };
}

/** The names of all declared capabilities. */
export const capabilityNames: readonly string[] = [...Object.keys(standard), ...Object.keys(extended)];

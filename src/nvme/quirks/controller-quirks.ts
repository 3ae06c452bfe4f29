/** The quirks of one controller: those of the table, changed by the option `quirks`. */
import { hexDigits } from "../../core/hex-digits.js";
import { type KnownController, knownControllers, sources } from "./known-controllers.js";
import { type NvmeQuirk, type NvmeQuirkChoice, type NvmeQuirkName, nvmeQuirks } from "./quirks.js";

/** Ids of a PCI function. */
export interface PciIds {
  readonly vendorId: number;
  readonly deviceId: number;
}

/** Strings of Identify Controller, without padding. */
export interface ControllerStrings {
  /** Model number. */
  readonly mn: string;
  /** Firmware revision. */
  readonly fr: string;
}

/** Rows of the table for all controllers with these ids, whatever their model and firmware are. */
export function findByIds({ vendorId, deviceId }: PciIds): KnownController[] {
  const ids = [`${hexDigits(vendorId, 4)}:${hexDigits(deviceId, 4)}`, `${hexDigits(vendorId, 4)}:*`];
  return knownControllers.filter(({ id }) => ids.includes(id));
}

/**
 * Rows of the table for a controller.
 * @param strings left out before Identify Controller is read: only rows that need neither model nor firmware match
 */
export function findKnown(pci: PciIds, strings?: ControllerStrings): KnownController[] {
  return findByIds(pci).filter(
    ({ model, firmware }) =>
      (model === undefined || model === strings?.mn) && (firmware === undefined || firmware === strings?.fr),
  );
}

/** Whether a PCI function is an NVMe controller by the table, whatever its class code says. */
export function isKnownNvme(ids: PciIds): boolean {
  return findKnown(ids).some(({ quirks }) => quirks.includes("class-code"));
}

/** The quirks of one controller. Those that depend on its model are known after Identify Controller. */
export class ControllerQuirks {
  private list: readonly NvmeQuirk[] = [];
  private names: ReadonlySet<NvmeQuirkName> = new Set();

  constructor(
    private readonly choice: NvmeQuirkChoice,
    private readonly ids: PciIds,
  ) {
    this.choose(undefined);
  }

  /** Adds the quirks that depend on model or firmware. */
  identified(strings: ControllerStrings): void {
    this.choose(strings);
  }

  /** Whether the controller has a quirk. */
  has(name: NvmeQuirkName): boolean {
    return this.names.has(name);
  }

  /** All of them. */
  get all(): readonly NvmeQuirk[] {
    return this.list;
  }

  private choose(strings: ControllerStrings | undefined): void {
    const { add, remove, usesTable } = changesOf(this.choice);
    const chosen = new Map<NvmeQuirkName, NvmeQuirk>();
    for (const { name: controller, quirks, source } of usesTable ? findKnown(this.ids, strings) : []) {
      for (const name of quirks) {
        chosen.set(name, { name, reason: nvmeQuirks[name], source: `${sources[source]}: ${controller}` });
      }
    }
    for (const name of add) chosen.set(name, { name, reason: nvmeQuirks[name], source: "option quirks" });
    for (const name of remove) chosen.delete(name);
    this.list = [...chosen.values()];
    this.names = new Set(chosen.keys());
  }
}

/** What a choice adds to the table's quirks, or removes from them. */
function changesOf(choice: NvmeQuirkChoice): {
  readonly add: readonly NvmeQuirkName[];
  readonly remove: readonly NvmeQuirkName[];
  readonly usesTable: boolean;
} {
  if (choice === "auto") return { add: [], remove: [], usesTable: true };
  if ("length" in choice) return { add: choice, remove: [], usesTable: false };
  return { add: choice.add ?? [], remove: choice.remove ?? [], usesTable: true };
}

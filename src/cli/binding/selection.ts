/** Which functions a command line means: by address, class, ids, and with their IOMMU groups. */
import { readFileSync } from "node:fs";
import { ArgumentError } from "../../core/errors.js";
import { headerRefusal } from "../../pci/bind.js";
import { listPciFunctions, type PciFunction, readPciFunction } from "../../pci/sysfs.js";
import { usageError } from "../command-line.js";
import type { CommandDescription } from "../described/description.js";

/** What was asked for. */
export interface WantedFunctions {
  readonly addresses: readonly string[];
  /** Hex digits of class, subclass and programming interface: two, four or six of them. */
  readonly classes: readonly string[];
  /** `vendor:device` in hex digits. */
  readonly ids: readonly string[];
  /** Also every other endpoint in the groups of those. */
  readonly group: boolean;
}

type Command = Pick<CommandDescription, "name">;

/**
 * The functions that are meant, each once, in address order.
 * @throws ConfigError; ArgumentError: there is no such function
 */
export function selectFunctions(command: Command, wanted: WantedFunctions): PciFunction[] {
  const { addresses, classes, ids, group } = wanted;
  if (addresses.length + classes.length + ids.length === 0)
    throw usageError(command, `${command.name} needs a BDF, --class or --id`);
  const all = listPciFunctions();
  const named = addresses.map((each) => readPciFunction(each).bdf);
  const tests = [
    ...classes.map((each) => ofClass(command, each)),
    ...ids.map((each) => ofIds(command, each)),
  ];
  const chosen = all.filter((fn) => named.includes(fn.bdf) || tests.some(({ fits }) => fits(fn)));
  for (const { option, fits } of tests)
    if (!all.some(fits)) throw new ArgumentError(`no function of this host fits ${option}; see iova list`);
  if (!group) return chosen;
  const groups = new Set(chosen.flatMap(({ iommuGroup }) => iommuGroup ?? []));
  const isMember = ({ iommuGroup }: PciFunction): boolean =>
    iommuGroup !== undefined && groups.has(iommuGroup);
  // Bridges stay: vfio-pci takes endpoints, and the kernel lets ports be in a group that user space has.
  return all.filter((fn) => chosen.some(({ bdf }) => bdf === fn.bdf) || (isMember(fn) && isEndpoint(fn.bdf)));
}

interface Fitting {
  readonly option: string;
  fits(fn: PciFunction): boolean;
}

function ofClass(command: Command, text: string): Fitting {
  const [, digits] = /^(?:0x)?((?:[0-9a-f]{2}){1,3})$/i.exec(text) ?? [];
  if (digits === undefined)
    throw usageError(
      command,
      `--class ${JSON.stringify(text)}: expected 2, 4 or 6 hex digits, such as 0108 (NVMe) or 020000 (Ethernet)`,
    );
  const shift = 24 - digits.length * 4;
  const code = Number.parseInt(digits, 16);
  return { option: `--class ${text}`, fits: ({ classCode }) => classCode >>> shift === code };
}

function ofIds(command: Command, text: string): Fitting {
  const [, vendor, device] = /^(?:0x)?([0-9a-f]{4}):(?:0x)?([0-9a-f]{4})$/i.exec(text) ?? [];
  if (vendor === undefined || device === undefined)
    throw usageError(
      command,
      `--id ${JSON.stringify(text)}: expected vendor:device in hex digits, such as 1b36:0010`,
    );
  const [vendorId, deviceId] = [Number.parseInt(vendor, 16), Number.parseInt(device, 16)];
  return { option: `--id ${text}`, fits: (fn) => fn.vendorId === vendorId && fn.deviceId === deviceId };
}

function isEndpoint(bdf: string): boolean {
  try {
    return headerRefusal(readFileSync(`/sys/bus/pci/devices/${bdf}/config`)) === undefined;
  } catch {
    // It has gone.
    return false;
  }
}

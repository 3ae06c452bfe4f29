/** `iova show`: a function's configuration space, decoded, and what sysfs says of it. */
import { hexDigits } from "../core/hex-digits.js";
import type { PciConfigDump } from "../pci/config-reader.js";
import { ConfigSnapshot } from "../pci/config-snapshot.js";
import { readPciDetails } from "../pci/details/details.js";
import { PciDevice } from "../pci/device.js";
import { type PciFunction, readPciFunction } from "../pci/sysfs.js";
import type { DumpedRegister } from "../registers/register.js";
import { isUuid } from "../vfio/uuid.js";
import { onlyOperand, parseCommandLine } from "./command-line.js";
import { showDescription } from "./described/show.js";
import { registerLine } from "./register-line.js";
import { factLines, idOf, regionLines, type Shown, vpdLines } from "./show-details.js";
import { isSocketTarget } from "./target.js";
import { print, printJson } from "./terminal.js";

/** @throws ConfigError, ArgumentError (no such function), SysError; of vfio-user and mediated devices as PciDevice.open() */
export function runShow(argv: readonly string[]): void {
  const { values, positionals } = parseCommandLine(showDescription, argv);
  const shown = read(onlyOperand(showDescription, positionals, "BDF"));
  if (values.json === true) printJson(shown);
  else print(textOf(shown).join("\n"));
}

function read(address: string): Shown {
  if (hasDetails(address)) {
    const fn = readPciFunction(address);
    return shownOf(fn, ConfigSnapshot.read(fn.bdf).dump());
  }
  using device = PciDevice.open(address);
  return shownOf(device.function, device.config.dump());
}

/** Sysfs has functions of the host's bus. */
function hasDetails(address: string): boolean {
  return !isSocketTarget(address) && !isUuid(address);
}

function shownOf(fn: PciFunction, dump: PciConfigDump): Shown {
  if (!hasDetails(fn.bdf)) return { ...fn, ...dump };
  const details = readPciDetails(fn.bdf);
  return { ...fn, ...details, ...dump, notes: [...dump.notes, ...details.notes] };
}

/** What `iova show` prints of an open device. */
export function deviceText(device: PciDevice): string {
  return textOf(shownOf(device.function, device.config.dump())).join("\n");
}

function textOf(shown: Shown): string[] {
  const { bdf, classCode, revision, kind, header, capabilities, notes } = shown;
  return [
    `${bdf}  ${hexDigits(classCode, 6)}  ${idOf(shown.vendorId, shown.deviceId)} (rev ${hexDigits(revision, 2)})`,
    ...factLines(shown),
    ...regionLines(shown),
    ...vpdLines(shown.vpd),
    `  header of a ${kind === "unknown" ? "function of unknown type" : kind}`,
    ...header.map(lineOf),
    ...capabilities.flatMap((each) => [
      `  [${hexDigits(each.offset, each.extended ? 3 : 2)}] ${each.title}` +
        `${each.name === undefined ? `, id 0x${hexDigits(each.id, 2)}` : ` (${each.name})`}` +
        `${each.extended ? `, version ${each.version}` : ""}`,
      ...each.registers.map(lineOf),
      ...(each.bytes === "" ? [] : [`    bytes: ${each.bytes}`]),
      ...each.notes.map((note) => `    note: ${note}`),
    ]),
    ...notes.map((note) => `  note: ${note}`),
  ];
}

function lineOf(register: DumpedRegister): string {
  return `    ${registerLine(register)}`;
}

/** `iova show`: a function's configuration space, decoded. */
import { hexDigits } from "../core/hex-digits.js";
import type { PciConfigDump } from "../pci/config-reader.js";
import { ConfigSnapshot } from "../pci/config-snapshot.js";
import { PciDevice } from "../pci/device.js";
import { type PciFunction, readPciFunction } from "../pci/sysfs.js";
import type { DumpedRegister } from "../registers/register.js";
import { isUuid } from "../vfio/uuid.js";
import { onlyOperand, parseCommandLine } from "./command-line.js";
import { showDescription } from "./described/show.js";
import { virtualizationOf } from "./list.js";
import { registerLine } from "./register-line.js";
import { print, printJsonText } from "./terminal.js";

/** What `iova show --json` prints. */
interface Shown extends PciFunction, PciConfigDump {}

/** @throws ConfigError, ArgumentError (no such function), SysError; of vfio-user and mediated devices as PciDevice.open() */
export function runShow(argv: readonly string[]): void {
  const { values, positionals } = parseCommandLine(showDescription, argv);
  const shown = read(onlyOperand(showDescription, positionals, "BDF"));
  if (values.json === true) printJsonText(JSON.stringify(shown, undefined, 2));
  else print(textOf(shown).join("\n"));
}

function read(address: string): Shown {
  if (!address.startsWith("vfio-user:") && !isUuid(address)) {
    const fn = readPciFunction(address);
    return { ...fn, ...ConfigSnapshot.read(fn.bdf).dump() };
  }
  using device = PciDevice.open(address);
  return ofDevice(device);
}

function ofDevice(device: PciDevice): Shown {
  return { ...device.function, ...device.config.dump() };
}

/** What `iova show` prints of an open device. */
export function deviceText(device: PciDevice): string {
  return textOf(ofDevice(device)).join("\n");
}

function textOf(shown: Shown): string[] {
  const { bdf, classCode, revision, driver, iommuGroup, numaNode, kind, header, capabilities, notes } = shown;
  const id = (vendor: number, device: number): string => `${hexDigits(vendor, 4)}:${hexDigits(device, 4)}`;
  const facts = [
    `subsystem ${id(shown.subsystemVendorId, shown.subsystemDeviceId)}`,
    driver === undefined ? "no driver" : `driver ${driver}`,
    ...(iommuGroup === undefined ? [] : [`IOMMU group ${iommuGroup}`]),
    ...(numaNode === undefined ? [] : [`NUMA node ${numaNode}`]),
    ...virtualizationOf(shown),
  ];
  return [
    `${bdf}  ${hexDigits(classCode, 6)}  ${id(shown.vendorId, shown.deviceId)} (rev ${hexDigits(revision, 2)})`,
    `  ${facts.join(", ")}`,
    ...shown.bars.map(
      ({ index, kind: space, sizeBytes, is64Bit, prefetchable }) =>
        `  BAR ${index}: ${space}, ${sizeBytes} bytes${is64Bit ? ", 64-bit" : ""}${prefetchable ? ", prefetchable" : ""}`,
    ),
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

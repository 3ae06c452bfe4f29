/** What sysfs says of a function, in lines of `iova show`. */
import { hexDigits } from "../core/hex-digits.js";
import type { PciConfigDump } from "../pci/config-reader.js";
import type { PciDetails } from "../pci/details/details.js";
import type { PciRegion } from "../pci/details/regions.js";
import type { PciVpd, PciVpdField } from "../pci/details/vpd.js";
import type { PciBarInfo, PciFunction } from "../pci/sysfs.js";
import { virtualizationOf } from "./list.js";

/** What `iova show --json` prints. Functions that sysfs doesn't have lack its details. */
export type Shown = PciFunction & PciConfigDump & Partial<PciDetails>;

/** Two IDs as `lspci -n` prints them. */
export function idOf(vendor: number, device: number): string {
  return `${hexDigits(vendor, 4)}:${hexDigits(device, 4)}`;
}

/** Who has the function, and where it is. */
export function factLines(shown: Shown): string[] {
  const { driver, iommuGroup, iommuGroupMembers = [], numaNode, irq, slot, label, modules = [] } = shown;
  const others = iommuGroupMembers.length === 0 ? "" : ` with ${iommuGroupMembers.join(" ")}`;
  const owners = [
    `subsystem ${idOf(shown.subsystemVendorId, shown.subsystemDeviceId)}`,
    driver === undefined ? "no driver" : `driver ${driver}`,
    ...(iommuGroup === undefined ? [] : [`IOMMU group ${iommuGroup}${others}`]),
    ...(numaNode === undefined ? [] : [`NUMA node ${numaNode}`]),
    ...virtualizationOf(shown),
  ];
  const places = [
    ...(irq === undefined ? [] : [`IRQ ${irq}`]),
    ...(slot === undefined ? [] : [`physical slot ${slot}`]),
    ...(label === undefined ? [] : [`called ${label} by the firmware`]),
    ...(modules.length === 0 ? [] : [`kernel modules ${modules.join(" ")}`]),
  ];
  return [owners, places].flatMap((line) => (line.length === 0 ? [] : [`  ${line.join(", ")}`]));
}

/** BARs, expansion ROM, windows of a bridge. Without sysfs the BARs' sizes only. */
export function regionLines(shown: Shown): string[] {
  const { regions, bars, rom, windows = [], virtualFunctionRegions = [] } = shown;
  return [
    ...(regions?.map(regionLine) ?? bars.map((bar) => barLine(bar, ""))),
    ...virtualFunctionRegions.map((region) => `${regionLine(region)}, of all virtual functions`),
    ...(rom === undefined
      ? []
      : [`expansion ROM${placeOf(rom.address)}, ${rom.sizeBytes} bytes${rom.isEnabled ? "" : ", disabled"}`]),
    ...windows.map(
      ({ kind, address, sizeBytes, is64Bit }) =>
        `window for ${kind === "prefetchable" ? "prefetchable memory" : kind}${placeOf(address)}, ${sizeBytes} bytes` +
        `${is64Bit ? ", 64-bit" : ""}`,
    ),
  ].map((line) => `  ${line}`);
}

function barLine(bar: PciBarInfo, place: string): string {
  return (
    `BAR ${bar.index}: ${bar.kind}${place}, ${bar.sizeBytes} bytes` +
    `${bar.is64Bit ? ", 64-bit" : ""}${bar.prefetchable ? ", prefetchable" : ""}`
  );
}

function regionLine(region: PciRegion): string {
  const { address, isEnabled, isVirtual } = region;
  return `${barLine(region, placeOf(address))}${isVirtual ? ", virtual" : ""}${isEnabled ? "" : ", disabled"}`;
}

function placeOf(address: string | undefined): string {
  return address === undefined ? " without an address" : ` at ${address}`;
}

/** Vital product data. */
export function vpdLines(vpd: PciVpd | undefined): string[] {
  if (vpd === undefined) return [];
  const { productName, checksum, freeBytes, notes } = vpd;
  const line = ({ keyword, title, text, bytes }: PciVpdField): string =>
    `${keyword} (${title}): ${text ?? `bytes ${bytes}`}`;
  return [
    `vital product data${productName === undefined ? "" : `: ${productName}`}`,
    ...vpd.readOnly.map((field) =>
      field.keyword === "RV" ? `  checksum ${checksum ?? "missing"}` : `  ${line(field)}`,
    ),
    ...vpd.readWrite.map((field) => `  ${line(field)}, writable`),
    ...(freeBytes === undefined ? [] : [`  ${freeBytes} bytes to write are free`]),
    ...notes.map((note) => `  note: ${note}`),
  ].map((each) => `  ${each}`);
}

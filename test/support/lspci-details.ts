/** What `lspci -vvv` prints of a function beside its configuration space, and the same lines made of what iova reads. */
import { execFileSync } from "node:child_process";
import { findProgram } from "../../guest/paths.js";
import type { PciDetails, PciFunction, PciRegion, PciVpd } from "../../src/doors/pci.js";

/** Lines that come from registers, which `compareWithLspci` compares. */
const REGISTERS = /^(?:Control|Status|Latency|Bus|Secondary status|BridgeCtl|BIST|Flags|Capabilities)\b/;

/** Runs lspci on one function. @param sysfs folder in place of /sys/bus/pci */
function lspci(bdf: string, sysfs?: string): string[] {
  const path = findProgram("lspci", "/usr/sbin:/sbin:/usr/bin:/bin") ?? "lspci";
  const tree = sysfs === undefined ? [] : ["-O", `sysfs.path=${sysfs}`];
  const text = execFileSync(path, ["-vvv", "-n", "-D", ...tree, "-s", bdf], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return text.split("\n");
}

/**
 * lspci's lines of a function. Left out are those of registers, closed windows, for which it prints what their registers hold,
 * and the widths of windows, which it takes from their addresses.
 */
export function lspciDetails(bdf: string): string[] {
  return lspci(bdf)
    .filter((line) => /^\t[^\t]/.test(line))
    .map((line) => line.trim().replace(/ \[(?:16|32|64)-bit\]$/, ""))
    .filter((line) => !REGISTERS.test(line) && !/behind bridge: .*\[disabled\]/.test(line));
}

/** The lines that lspci prints of a function's vital product data, in a tree of files in place of /sys/bus/pci. */
export function lspciVpd(bdf: string, sysfs: string): string[] {
  const lines = lspci(bdf, sysfs);
  const start = lines.findIndex((line) => line.endsWith("Vital Product Data"));
  const end = lines.findIndex((line, at) => at > start && !line.startsWith("\t\t"));
  // Titles of fields are lspci's own words.
  return lines.slice(start + 1, end).map((line) => line.trim().replace(/^(\[(?!R[VW])..\]) [^:]+: /, "$1 "));
}

/** 4096 as `4K`. */
function size(bytes: number): string {
  const units = ["", "K", "M", "G", "T"];
  let [value, unit] = [bytes, 0];
  for (; value % 1024 === 0 && unit < units.length - 1; unit++) value /= 1024;
  return `[size=${value}${units[unit]}]`;
}

const digits = (address: string, length: number): string => address.slice(2).padStart(length, "0");

function regionLine({
  index,
  kind,
  address,
  sizeBytes,
  is64Bit,
  prefetchable,
  isEnabled,
  isVirtual,
}: PciRegion): string {
  const place = address === undefined ? "<unassigned>" : digits(address, kind === "io" ? 4 : 8);
  const what =
    kind === "io"
      ? `I/O ports at ${place}`
      : `Memory at ${place} (${is64Bit ? "64" : "32"}-bit, ${prefetchable ? "" : "non-"}prefetchable)`;
  const state = isVirtual ? " [virtual]" : isEnabled ? "" : " [disabled]";
  return `Region ${index}: ${what}${state} ${size(sizeBytes)}`;
}

/** What lspci says of a bridge's window. */
function windowLine(kind: string, title: string, { windows }: PciDetails): string[] {
  const found = windows.find((each) => each.kind === kind);
  if (found === undefined) return [];
  const width = kind === "io" ? 4 : 8;
  const last = `0x${(BigInt(found.address) + BigInt(found.sizeBytes - 1)).toString(16)}`;
  return [
    `${title} behind bridge: ${digits(found.address, width)}-${digits(last, width)} ${size(found.sizeBytes)}`,
  ];
}

/** {@link lspciDetails}, made of what iova read. @param pin of the header */
export function expectedDetails(fn: PciFunction, details: PciDetails, pin: unknown): string[] {
  const { rom, slot, label, irq, modules } = details;
  const hex = (id: number): string => id.toString(16).padStart(4, "0");
  const subsystem = `${hex(fn.subsystemVendorId)}:${hex(fn.subsystemDeviceId)}`;
  const line = (name: string, value: unknown): string[] =>
    value === undefined ? [] : [`${name}: ${String(value)}`];
  return [
    ...line("Subsystem", fn.subsystemVendorId === 0 ? undefined : subsystem),
    ...line("DeviceName", label),
    ...line("Physical Slot", slot),
    ...(pin === "none" && irq === undefined
      ? []
      : [`Interrupt: pin ${pin === "none" ? "?" : String(pin)} routed to IRQ ${irq ?? 0}`]),
    ...line("NUMA node", fn.numaNode),
    ...line("IOMMU group", fn.iommuGroup),
    ...details.regions.map(regionLine),
    ...(rom === undefined
      ? []
      : [
          `Expansion ROM at ${rom.address === undefined ? "<unassigned>" : digits(rom.address, 8)}` +
            `${rom.isEnabled ? "" : " [disabled]"} ${size(rom.sizeBytes)}`,
        ]),
    ...windowLine("io", "I/O", details),
    ...windowLine("memory", "Memory", details),
    ...windowLine("prefetchable", "Prefetchable memory", details),
    ...line("Kernel driver in use", fn.driver),
    ...line("Kernel modules", modules.length === 0 ? undefined : modules.join(", ")),
  ];
}

/** The lines of lspci's that say what vital product data hold, made of what iova decoded. */
export function expectedVpd({ productName, readOnly, readWrite, checksum, freeBytes }: PciVpd): string[] {
  return [
    `Product Name: ${productName}`,
    "Read-only fields:",
    ...readOnly.map(({ keyword, text, bytes }) =>
      keyword === "RV"
        ? `[RV] Reserved: checksum ${checksum}, ${bytes.length / 2 - 1} byte(s) reserved`
        : `[${keyword}] ${text}`,
    ),
    "Read/write fields:",
    ...readWrite.map((field) => `[${field.keyword}] ${field.text}`),
    `[RW] Read-write area: ${freeBytes} byte(s) free`,
    "End",
  ];
}

/** Where a function's regions are, by the `resource` file of sysfs and the header: BARs, expansion ROM, windows of a bridge. */
import type { ConfigReader } from "../config-reader.js";
import { type PciBarInfo, type PciResource, parseResources } from "../sysfs.js";

const BARS = 6;
const ROM = 6;
/** Kernels with SR-IOV have six lines more, before the windows. */
const LINES_WITHOUT_VFS = 11;
const WINDOWS = ["io", "memory", "prefetchable"] as const;
const BAR_REGISTERS = 0x10;
// SR-IOV (PCIe 6.0, 9.3.3.3)
const SRIOV_CONTROL = 8;
const SRIOV_MEMORY_SPACE = 8;

/** A BAR, and where it is. */
export interface PciRegion extends PciBarInfo {
  /** Address on the bus of the CPU, or the number of the first port, in hexadecimal; undefined if it has none. */
  readonly address: string | undefined;
  /** Whether the function answers there: the command register allows it. Always true for a virtual function, which has no say. */
  readonly isEnabled: boolean;
  /** Whether the kernel knows its place from elsewhere, and its BAR reads 0: BARs of virtual functions, old IDE ports. */
  readonly isVirtual: boolean;
}

/** The expansion ROM. */
export interface PciRomInfo {
  /** In hexadecimal; undefined if it has none. */
  readonly address: string | undefined;
  /** Length in bytes. */
  readonly sizeBytes: number;
  /** Whether the function answers there: the ROM's register and the command register allow it. */
  readonly isEnabled: boolean;
}

/** Addresses that a bridge passes on to the buses behind it. */
export interface PciWindow {
  /** I/O ports, memory, or prefetchable memory. */
  readonly kind: (typeof WINDOWS)[number];
  /** First address or port, in hexadecimal. */
  readonly address: string;
  /** Length in bytes. */
  readonly sizeBytes: number;
  /** Whether it can be above 4 GiB. */
  readonly is64Bit: boolean;
}

/** All of them. */
export interface PciRegions {
  /** The BARs that the function implements. */
  readonly regions: readonly PciRegion[];
  /** Undefined without one. */
  readonly rom: PciRomInfo | undefined;
  /** Open windows of a bridge. */
  readonly windows: readonly PciWindow[];
  /** The BARs of all virtual functions together, of a physical function of SR-IOV. */
  readonly virtualFunctionRegions: readonly PciRegion[];
}

/**
 * @param resource text of the file
 * @param config at least the header
 * @param isVf whether it is a virtual function
 */
export function regionsOf(resource: string, config: ConfigReader, isVf: boolean): PciRegions {
  const lines = parseResources(resource.trim());
  const { header } = config;
  const command = header.command.decode();
  const regions = lines.slice(0, BARS).flatMap((found) => {
    if (found === undefined) return [];
    const { bar, start } = found;
    return [
      {
        ...bar,
        address: addressOf(start),
        isEnabled: isVf || (bar.kind === "io" ? command.ioSpace : command.memorySpace),
        isVirtual: start !== undefined && !hasAddress(bar, config),
      },
    ];
  });
  const hasVfs = lines.length > LINES_WITHOUT_VFS;
  const vfLines = hasVfs ? lines.slice(ROM + 1, ROM + 1 + BARS) : [];
  const windowLines = lines.slice(ROM + 1 + (hasVfs ? BARS : 0));
  return {
    regions,
    rom: romOf(lines[ROM], config, command.memorySpace),
    windows: header.kind === "bridge" ? WINDOWS.flatMap((kind, at) => windowOf(kind, windowLines[at])) : [],
    virtualFunctionRegions: vfLines.flatMap((found, index) =>
      found === undefined
        ? []
        : [
            {
              ...found.bar,
              index,
              address: addressOf(found.start),
              isEnabled: vfsAnswer(config),
              isVirtual: false,
            },
          ],
    ),
  };
}

/** Whether the BAR's register has an address. */
function hasAddress({ index, kind, is64Bit }: PciBarInfo, config: ConfigReader): boolean {
  const at = BAR_REGISTERS + 4 * index;
  if ((config.read32(at) & (kind === "io" ? ~3 : ~0xf)) !== 0) return true;
  return is64Bit && index < BARS - 1 && config.read32(at + 4) !== 0;
}

function vfsAnswer(config: ConfigReader): boolean {
  const at = config.extendedCapabilities().find(({ name }) => name === "sriov")?.offset;
  if (at === undefined || at + SRIOV_CONTROL + 2 > config.sizeBytes) return false;
  return (config.read16(at + SRIOV_CONTROL) & SRIOV_MEMORY_SPACE) !== 0;
}

function romOf(
  found: PciResource | undefined,
  { header }: ConfigReader,
  isOn: boolean,
): PciRomInfo | undefined {
  if (found === undefined) return undefined;
  const isEnabled =
    isOn && (header.kind === "device" || header.kind === "bridge") && header.rom.get("enable");
  return { address: addressOf(found.start), sizeBytes: found.bar.sizeBytes, isEnabled };
}

function windowOf(kind: PciWindow["kind"], found: PciResource | undefined): PciWindow[] {
  // Ports from 0 on are a window, too.
  if (found === undefined || found.bar.sizeBytes <= 1) return [];
  const { sizeBytes, is64Bit } = found.bar;
  return [{ kind, address: addressOf(found.start) ?? "0x0", sizeBytes, is64Bit }];
}

function addressOf(start: bigint | undefined): string | undefined {
  return start === undefined ? undefined : `0x${start.toString(16)}`;
}

/** What the kernel says of a function beside its configuration space: regions, interrupt, modules, neighbours, product data. */
import { release as kernelRelease } from "node:os";
import { join } from "node:path";
import { SysError } from "../../core/errors.js";
import { kernelBytes, kernelLinkName, kernelNames, kernelText } from "../../sys/kernel-files.js";
import { parseBdf } from "../address/bdf.js";
import { devicePath } from "../address/device-path.js";
import type { ConfigReader } from "../config-reader.js";
import { ConfigSnapshot } from "../config-snapshot.js";
import { claimingModules } from "../steps/modalias.js";
import { type PciRegions, regionsOf } from "./regions.js";
import { MAX_VPD_BYTES, type PciVpd, parseVpd } from "./vpd.js";

/** Larger files hold no aliases. */
const MAX_ALIAS_BYTES = 64 * 1024 * 1024;

/** What sysfs and the lists of modules say of a function. It can be made JSON. */
export interface PciDetails extends PciRegions {
  /** Number of the kernel's interrupt; undefined if there is none. */
  readonly irq: number | undefined;
  /** The other functions of its IOMMU group, which can only be given away together. */
  readonly iommuGroupMembers: readonly string[];
  /** Kernel modules, also built-in ones, that have an alias for the function. */
  readonly modules: readonly string[];
  /** Name of the slot that it is plugged into. */
  readonly slot: string | undefined;
  /** The firmware's name for it. */
  readonly label: string | undefined;
  /** Vital product data; undefined if the function has none, or they can't be read. */
  readonly vpd: PciVpd | undefined;
  /** What couldn't be read, and why. */
  readonly notes: readonly string[];
}

/** Where they are read. */
export interface DetailPaths {
  /** The function's folder in sysfs. */
  readonly device: string;
  /** /sys/bus/pci/slots */
  readonly slots: string;
  /** The running kernel's modules. */
  readonly modules: string;
}

/**
 * Reads what sysfs says of a function of this host, bound or not. No driver is disturbed. What can't be read is a note, not an
 * error: an ordinary user can read all but the product data.
 * @param bdf domain:bus:device.function
 * @throws ArgumentError (malformed, no such function), SysError (no header)
 */
export function readPciDetails(bdf: string): PciDetails {
  const device = devicePath(bdf);
  const modules = join("/lib/modules", kernelRelease());
  return detailsOf(parseBdf(bdf), ConfigSnapshot.read(bdf), {
    device,
    slots: "/sys/bus/pci/slots",
    modules,
  });
}

/**
 * Reads and decodes the vital product data of a function of this host, by sysfs.
 * @param bdf domain:bus:device.function
 * @returns undefined if it has none
 * @throws ArgumentError (malformed, no such function), SysError (EACCES: not root; EIO, ETIMEDOUT: the device doesn't give them)
 */
export function readVpd(bdf: string): PciVpd | undefined {
  return vpdIn(devicePath(bdf));
}

/** {@link readPciDetails} in any tree of files. */
export function detailsOf(bdf: string, config: ConfigReader, paths: DetailPaths): PciDetails {
  const notes: string[] = [];
  const tried = <T>(what: string, read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      const { message } = error.code === "EACCES" ? error.with({ hint: "run this as root" }) : error;
      notes.push(`${what} can't be read: ${message}`);
      return undefined;
    }
  };
  const text = (file: string, maxBytes: number): string =>
    Buffer.from(kernelBytes(file, maxBytes)).toString("latin1");
  const read = (file: string): string | undefined => kernelText(join(paths.device, file));
  const resource = tried("regions", () => text(join(paths.device, "resource"), 4096)) ?? "";
  const aliases = tried("the aliases of kernel modules", () =>
    text(join(paths.modules, "modules.alias"), MAX_ALIAS_BYTES),
  );
  const irq = Number(read("irq") ?? 0);
  return {
    ...regionsOf(resource, config, kernelLinkName(join(paths.device, "physfn")) !== undefined),
    irq: irq === 0 ? undefined : irq,
    iommuGroupMembers: (kernelNames(join(paths.device, "iommu_group/devices")) ?? []).filter(
      (name) => name !== bdf,
    ),
    modules: claimingModules(
      read("modalias") ?? "",
      aliases ?? "",
      kernelText(join(paths.modules, "modules.builtin.modinfo")) ?? "",
    ),
    slot: slotOf(bdf, paths.slots),
    label: read("label"),
    vpd: tried("vital product data", () => vpdIn(paths.device)),
    notes,
  };
}

function vpdIn(device: string): PciVpd | undefined {
  try {
    return parseVpd(kernelBytes(join(device, "vpd"), MAX_VPD_BYTES));
  } catch (error) {
    if (error instanceof SysError && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** A slot's address is that of a device, or of a bus that has one device. */
function slotOf(bdf: string, slots: string): string | undefined {
  return kernelNames(slots)?.find((name) => {
    const address = kernelText(join(slots, name, "address"));
    return bdf.startsWith(`${address}.`) || bdf.startsWith(`${address}:`);
  });
}

/** Lists the capabilities of a configuration space, and says where a list is damaged. */
import type { RegisterAccess } from "../../registers/access.js";
import { type PciCapability, pciCapabilities } from "../../vfio/pci-capabilities.js";
import { knownCapability, type PciCapabilityName, standard } from "./all.js";
import type { CapabilityContext } from "./declare.js";
import { portTypes } from "./pcie.js";

/** Where capabilities end that begin below it, and the extended ones begin. */
const CONVENTIONAL_BYTES = 0x100;
const HEADER_TYPE = 0x0e;
const MAX_LANES = 32;

/** A capability of a function. */
export interface PciCapabilityEntry extends PciCapability {
  /** Short name; undefined if this package doesn't know its registers. */
  readonly name: PciCapabilityName | undefined;
  /** The specification's name; `Unknown` for an id that this package doesn't know. */
  readonly title: string;
  /** Whether it is an extended capability, from byte 256 on. The two kinds number their ids separately. */
  readonly extended: boolean;
  /** Version of an extended capability; 0 for others. */
  readonly version: number;
}

/** Configuration space that is also read in bytes. */
interface ConfigBytes extends RegisterAccess {
  readBytes(offset: number, target: Uint8Array): void;
}

/** A list, and what is wrong with it. */
export interface CapabilityList {
  readonly entries: readonly PciCapabilityEntry[];
  readonly notes: readonly string[];
}

function entryOf(id: number, offset: number, extended: boolean, version: number): PciCapabilityEntry {
  const { name, title } = knownCapability(id, extended);
  return { id, offset, name, title, extended, version };
}

/** Capabilities below byte 256, in list order. */
export function listCapabilities(access: ConfigBytes): CapabilityList {
  const entries: PciCapabilityEntry[] = [];
  const walk = pciCapabilities(
    (at, target) => access.readBytes(at, target),
    Math.min(access.sizeBytes, CONVENTIONAL_BYTES),
  );
  for (;;) {
    const { done, value } = walk.next();
    if (done === true) return { entries, notes: value === undefined ? [] : [value] };
    entries.push(entryOf(value.id, value.offset, false, 0));
  }
}

/** Extended capabilities, in list order. */
export function listExtendedCapabilities(access: RegisterAccess): CapabilityList {
  const entries: PciCapabilityEntry[] = [];
  const seen = new Set<number>();
  const end = (note?: string): CapabilityList => ({
    entries,
    notes: note === undefined ? [] : [`the list of extended capabilities ${note}`],
  });
  if (access.sizeBytes <= CONVENTIONAL_BYTES) return end();
  for (let offset = CONVENTIONAL_BYTES; offset !== 0; ) {
    const place = `0x${offset.toString(16)}`;
    if (seen.has(offset)) return end(`leads back to ${place}`);
    if (offset < CONVENTIONAL_BYTES) return end(`leads to ${place}, where no extended capability can be`);
    if (offset + 4 > access.sizeBytes)
      return end(`leads to ${place}, beyond the ${access.sizeBytes} bytes that can be read`);
    seen.add(offset);
    const header = access.read32(offset);
    if (header === 0 || header === 0xffff_ffff)
      return end(offset === CONVENTIONAL_BYTES ? undefined : `leads to ${place}, where there is none`);
    entries.push(entryOf(header & 0xffff, offset, true, (header >>> 16) & 0xf));
    offset = (header >>> 20) & ~3;
  }
  return end();
}

/** What capabilities of one function depend on. */
export function contextOf(
  access: RegisterAccess,
  entries: readonly PciCapabilityEntry[],
): (entry: PciCapabilityEntry) => CapabilityContext {
  const isBridge = (access.read8(HEADER_TYPE) & 0x7f) === 1;
  const { portType, lanes } = linkOf(access, entries);
  return ({ offset, version, extended }) => {
    const end = extended ? access.sizeBytes : Math.min(access.sizeBytes, CONVENTIONAL_BYTES);
    const read32 = (at: number): number => (offset + at + 4 <= end ? access.read32(offset + at) : 0);
    return { version, isBridge, portType, lanes, roomBytes: end - offset, read32 };
  };
}

function linkOf(
  access: RegisterAccess,
  entries: readonly PciCapabilityEntry[],
): { portType: number | undefined; lanes: number } {
  const express = entries.find(({ name }) => name === "pcie");
  // The link's registers end 20 bytes from the start.
  if (express === undefined || express.offset + 20 > access.sizeBytes)
    return { portType: undefined, lanes: 0 };
  const portType =
    (access.read16(express.offset + standard.pcie.block.registers.capabilities.offset) >>> 4) & 0xf;
  const hasLink = portType !== portTypes.integratedEndpoint && portType !== portTypes.eventCollector;
  const width = (access.read32(express.offset + 0x0c) >>> 4) & 0x3f;
  return { portType, lanes: hasLink ? Math.min(width, MAX_LANES) : 0 };
}

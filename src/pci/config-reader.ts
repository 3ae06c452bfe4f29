/** Decodes a configuration space: of a device, or a snapshot. */
import { checkInteger, show } from "../core/check.js";
import { ArgumentError, UnsupportedError } from "../core/errors.js";
import type { RegisterAccess } from "../registers/access.js";
import type { DumpedRegister } from "../registers/register.js";
import {
  capabilityNames,
  knownCapability,
  type PciCapabilityName,
  type PciCapabilityRegisters,
} from "./capabilities/all.js";
import { type CapabilityContext, placeCapability } from "./capabilities/declare.js";
import {
  contextOf,
  listCapabilities,
  listExtendedCapabilities,
  type PciCapabilityEntry,
} from "./capabilities/list.js";
import { headerBlock, headerKind, headerOf, type PciHeader, type PciHeaderKind } from "./header.js";

/** A capability, decoded. */
export interface PciCapabilityDump extends PciCapabilityEntry {
  /** Offsets count from the start of configuration space. */
  readonly registers: readonly DumpedRegister[];
  /** What belongs to no declared register, as hexadecimal text without zeros at its end. */
  readonly bytes: string;
  /** What is wrong with it. */
  readonly notes: readonly string[];
}

/** A configuration space, decoded. It can be made JSON. */
export interface PciConfigDump {
  /** Form of the header. */
  readonly kind: PciHeaderKind;
  /** The header's registers. */
  readonly header: readonly DumpedRegister[];
  /** Standard ones, then extended ones, in list order. */
  readonly capabilities: readonly PciCapabilityDump[];
  /** What is missing, and where a list of capabilities is damaged. */
  readonly notes: readonly string[];
}

/** What a configuration space contains: header and capabilities, by name. */
export abstract class ConfigReader implements RegisterAccess {
  /** Names it in errors. */
  abstract readonly label: string;
  /** Length in bytes, or how much of it can be read. */
  abstract readonly sizeBytes: number;
  /** @throws ArgumentError outside the space or misaligned; of a device ClosedError, DeviceGoneError, SysError */
  abstract read8(offset: number): number;
  /** @param offset bytes, multiple of 2 @throws as {@link read8} */
  abstract read16(offset: number): number;
  /** @param offset bytes, multiple of 4 @throws as {@link read8} */
  abstract read32(offset: number): number;
  /** Copies bytes into `target`. @throws as {@link read8} */
  abstract readBytes(offset: number, target: Uint8Array): void;
  /** @throws as {@link read8}; StateError for what can't be written */
  abstract write8(offset: number, value: number): void;
  /** @param offset bytes, multiple of 2 @throws as {@link write8} */
  abstract write16(offset: number, value: number): void;
  /** @param offset bytes, multiple of 4 @throws as {@link write8} */
  abstract write32(offset: number, value: number): void;

  /** Configuration space has no 64-bit accesses. @throws UnsupportedError */
  readWhole64(offset: number): bigint {
    throw this.tooWide(offset);
  }

  /** Configuration space has no 64-bit accesses. @throws UnsupportedError */
  writeWhole64(offset: number): void {
    throw this.tooWide(offset);
  }

  /**
   * The header's registers by name: `config.header.command.get("busMaster")`. Each access reads the device.
   * @throws as {@link read8}
   */
  get header(): PciHeader {
    return headerOf(this);
  }

  /** The capabilities below byte 256, in list order. A damaged list ends where it is damaged. @throws as {@link read8} */
  capabilities(): PciCapabilityEntry[] {
    return [...listCapabilities(this).entries];
  }

  /** The extended capabilities of PCI Express; empty for a conventional configuration space. @throws as {@link read8} */
  extendedCapabilities(): PciCapabilityEntry[] {
    return [...listExtendedCapabilities(this).entries];
  }

  /**
   * The registers of a capability: `config.capability("pm")?.control.get("state")`. Each access reads the device.
   * @param name of either kind
   * @param index which one, if the function has several of this name
   * @returns undefined if the function doesn't have it
   * @throws ArgumentError (no such name), UnsupportedError (the function's structure is cut off); as {@link read8}
   */
  capability<N extends PciCapabilityName>(name: N, index = 0): PciCapabilityRegisters<N> | undefined {
    if (!capabilityNames.includes(name))
      throw new ArgumentError(`name must be one of ${capabilityNames.join(", ")}, got ${show(name)}`);
    checkInteger("index", index, 0, 0xfff);
    const entries = this.entries();
    const entry = entries.filter((each) => each.name === name)[index];
    if (entry === undefined) return undefined;
    const { declaration } = knownCapability(entry.id, entry.extended);
    if (declaration === undefined) return undefined;
    const context = contextOf(this, entries)(entry);
    const { block, cut } = placeCapability(declaration, this, entry.offset, context);
    if (cut.length > 0) throw new UnsupportedError(`${this.label}: ${name} ${cutOff(entry, context, cut)}`);
    // The declaration of this name.
    return block.on(this, entry.offset) as PciCapabilityRegisters<N>;
  }

  /**
   * Reads and decodes the header and all capabilities. What is damaged or can't be read is a note, not an error.
   * @throws as {@link read8}, if the device can't be read
   */
  dump(): PciConfigDump {
    const kind = headerKind(this);
    const [first, second] = [listCapabilities(this), listExtendedCapabilities(this)];
    const entries = [...first.entries, ...second.entries];
    const context = contextOf(this, entries);
    const missing = this.missing();
    const isGone = [0, 4].every((at) => this.read32(at) === 0xffff_ffff);
    return {
      kind,
      header: headerBlock(kind).dump(this),
      capabilities: entries.map((entry) => this.dumpOne(entry, context(entry), entries)),
      notes: [
        ...(isGone ? ["the function doesn't answer: all bits read 1"] : []),
        ...(missing === undefined ? [...first.notes, ...second.notes] : [missing]),
      ],
    };
  }

  /** Why bytes after {@link sizeBytes} can't be read; undefined if there are none. */
  protected missing(): string | undefined {
    return undefined;
  }

  private entries(): PciCapabilityEntry[] {
    return [...this.capabilities(), ...this.extendedCapabilities()];
  }

  private dumpOne(
    entry: PciCapabilityEntry,
    context: CapabilityContext,
    entries: readonly PciCapabilityEntry[],
  ): PciCapabilityDump {
    const { offset, extended } = entry;
    const { declaration } = knownCapability(entry.id, extended);
    if (declaration === undefined) {
      const next = entries.reduce(
        (least, { offset: at }) => (at > offset && at < least ? at : least),
        Number.POSITIVE_INFINITY,
      );
      return {
        ...entry,
        registers: [],
        bytes: this.hex(offset + (extended ? 4 : 2), Math.min(next, offset + context.roomBytes)),
        notes: [],
      };
    }
    const { block, cut } = placeCapability(declaration, this, offset, context);
    const notes = cut.length > 0 ? [cutOff(entry, context, cut)] : [];
    const { from, to } = (cut.length > 0
      ? undefined
      : declaration.bytes(declaration.block.on(this, offset))) ?? {
      from: 0,
      to: 0,
    };
    if (to < from) notes.push(`says that it has ${to} bytes, but it needs ${from}`);
    if (to > context.roomBytes)
      notes.push(`says that it has ${to} bytes, but only ${context.roomBytes} follow`);
    return {
      ...entry,
      registers: block.dump(this, offset),
      bytes: this.hex(offset + from, offset + Math.min(to, context.roomBytes)),
      notes,
    };
  }

  private hex(from: number, to: number): string {
    const bytes: string[] = [];
    for (let at = from; at < to; at++) bytes.push(this.read8(at).toString(16).padStart(2, "0"));
    while (bytes.at(-1) === "00") bytes.pop();
    return bytes.join(" ");
  }

  private tooWide(offset: number): UnsupportedError {
    return new UnsupportedError(
      `${this.label} has no 64-bit accesses, as at ${show(offset)}: declare the register without order "whole"`,
    );
  }
}

function cutOff(
  { offset }: PciCapabilityEntry,
  { roomBytes }: CapabilityContext,
  cut: readonly string[],
): string {
  return `at 0x${offset.toString(16)} is cut off after ${roomBytes} bytes: ${cut.join(", ")} can't be read`;
}

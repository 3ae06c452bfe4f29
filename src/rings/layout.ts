/** Descriptors by declaration: what a device and its driver exchange in memory, declared as registers are. */
import { checkInteger, checkString } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import { checkLeased } from "../core/lifetime/lease.js";
import type { AllocOptions, DmaSpace } from "../dma/space.js";
import { alignOf, checkMembers, endOf, type RegisterSpec } from "../registers/declaration.js";
import { checkOverlaps } from "../registers/layout.js";
import { Column8, Column16, Column32, Column64 } from "./column.js";
import { type SlotMemory, slotMemory } from "./memory.js";
import { DescriptorRing } from "./ring.js";
import type { DescriptorSpec, DeviceSlotsOf, SlotsOf } from "./types.js";

const MAX_COUNT = 2 ** 24;
const MAX_DESCRIPTOR_BYTES = 4096;

/** The layout of a descriptor. Make one by {@link descriptorLayout}. */
export class DescriptorLayout<const D extends DescriptorSpec> {
  private readonly alignBytes: number;

  /** @internal */
  constructor(
    /** Its name, for errors. */
    readonly name: string,
    /** Length of one descriptor. */
    readonly sizeBytes: number,
    /** What was declared. */
    readonly words: D,
  ) {
    checkString("name of a descriptor", name);
    checkMembers(name, words);
    const block = { kind: "block", offset: 0, registers: words } as const;
    for (const [word, { kind, access, fields }] of Object.entries(words)) {
      if (kind !== "register" || (access !== "rw" && access !== "ro") || typeof fields !== "object")
        throw new ArgumentError(`word ${word} of ${name} must be a register that is rw or ro`);
    }
    checkOverlaps(words);
    this.alignBytes = alignOf(block);
    checkInteger(`the size of descriptor ${name}`, sizeBytes, endOf(block), MAX_DESCRIPTOR_BYTES);
    if (sizeBytes === 0 || sizeBytes % this.alignBytes !== 0)
      throw new ArgumentError(
        `the size of descriptor ${name} must be a multiple of ${this.alignBytes} bytes, its widest word, got ${sizeBytes}`,
      );
  }

  /**
   * The words of the descriptors in this memory, as many as fit. Several layouts can lie over the same memory: what the driver
   * writes and what the device writes back.
   * @throws ArgumentError if the memory isn't aligned to the widest word, or holds no descriptor
   */
  on(bytes: Uint8Array): SlotsOf<D> {
    // Each column is what SlotsOf makes of its declaration.
    return this.columns(bytes, (spec) => spec) as SlotsOf<D>;
  }

  /**
   * The same words with the rights of the device, for a device in software: it writes `ro` words and fields, too.
   * @throws ArgumentError as {@link on}
   */
  forDevice(bytes: Uint8Array): DeviceSlotsOf<D> {
    // Each column is what DeviceSlotsOf makes of its declaration.
    return this.columns(bytes, asDevice) as DeviceSlotsOf<D>;
  }

  /**
   * Allocates a ring of zeroed descriptors that a device can reach. It starts at a page.
   * @param count of descriptors
   * @param options of the memory, as for `dma.alloc`
   * @throws ArgumentError; as {@link DmaSpace.alloc}
   */
  ring(dma: DmaSpace, count: number, options: AllocOptions = {}): DescriptorRing<D> {
    checkLeased("dma", dma, "a DmaSpace", { alloc: "function" });
    checkInteger(`count of descriptors ${this.name}`, count, 2, MAX_COUNT);
    const buffer = dma.alloc(count * this.sizeBytes, options);
    try {
      return new DescriptorRing<D>(this.on(buffer.bytes), buffer, count);
    } catch (error) {
      buffer.close();
      throw error;
    }
  }

  private columns(bytes: Uint8Array, rights: (spec: RegisterSpec) => RegisterSpec): object {
    const memory = slotMemory(this.name, bytes, this.sizeBytes, this.alignBytes);
    return Object.fromEntries(
      Object.entries(this.words).map(([name, spec]) => [name, columnOf(memory, name, rights(spec))]),
    );
  }
}

/** What the device may do with a word: everything. */
function asDevice(spec: RegisterSpec): RegisterSpec {
  const fields = Object.entries(spec.fields).map(([name, field]) => [name, { ...field, access: undefined }]);
  return { ...spec, access: "rw", fields: Object.fromEntries(fields) };
}

/**
 * Declares a descriptor.
 * @param name for errors
 * @param sizeBytes its length
 * @param words by name, each made by reg8() to reg64(): `rw`, or `ro` for what only the device writes
 * @throws ArgumentError if words overlap, or don't fit
 */
export function descriptorLayout<const D extends DescriptorSpec>(
  name: string,
  sizeBytes: number,
  words: D,
): DescriptorLayout<D> {
  return new DescriptorLayout(name, sizeBytes, words);
}

function columnOf(memory: SlotMemory, name: string, spec: RegisterSpec): unknown {
  switch (spec.width) {
    case 8:
      return new Column8(memory, name, spec);
    case 16:
      return new Column16(memory, name, spec);
    case 32:
      return new Column32(memory, name, spec);
    case 64:
      return new Column64(memory, name, spec);
  }
}

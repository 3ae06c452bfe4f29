/** The ring of a packed virtqueue (Virtual I/O Device 1.2, section 2.8). */
import type { DmaSpace } from "iova";
import { bit, descriptorLayout, fullFence, publish, reg16, reg32, reg64 } from "iova/pci";
import { VirtioError } from "./error.js";
import type { Part, Used, VirtqueueRing } from "./ring-format.js";
import { DescriptorFlag, INDEX_MASK, RingMemory } from "./ring-memory.js";

const Descriptor = descriptorLayout("pvirtq_desc", 16, {
  address: reg64(0),
  length: reg32(8),
  id: reg16(12),
  flags: reg16(14, {
    fields: { next: bit(0), deviceWrites: bit(1), indirect: bit(2), available: bit(7), used: bit(15) },
  }),
});
/** When a side wants to be told of the other's progress. */
const Events = descriptorLayout("pvirtq_event_suppress", 4, { position: reg16(0), flags: reg16(2) });

const { next: NEXT, deviceWrites: DEVICE_WRITES, indirect: INDIRECT } = DescriptorFlag;
const AVAILABLE = 1 << 7;
const USED = 1 << 15;
/** Flags of an event: never, and at a position. */
const NEVER = 1;
const AT_POSITION = 2;
const LAP_SHIFT = 15;
const SLOT_MASK = 0x7fff;

/** One ring: the driver makes descriptors available, and the device writes over them what it has used. */
export class PackedRing implements VirtqueueRing {
  readonly memory: RingMemory;
  private readonly descriptors: ReturnType<typeof Descriptor.on>;
  /** What the driver wants to be told. */
  private readonly wishes: ReturnType<typeof Events.on>;
  /** What the device wants to be told. */
  private readonly deviceWishes: ReturnType<typeof Events.on>;
  /** How many slots each request takes; 0 if there is no such request. */
  private readonly lengths: number[];
  /** Slots filled since the device was shown them. */
  private added = 0;
  private freeSlots: number;

  constructor(
    dma: DmaSpace,
    private readonly slots: number,
    private readonly hasEventIndex: boolean,
  ) {
    const memory = new RingMemory(dma, slots, {
      descriptors: slots * Descriptor.sizeBytes,
      driver: Events.sizeBytes,
      device: Events.sizeBytes,
    });
    this.memory = memory;
    this.descriptors = Descriptor.on(memory.descriptors);
    this.wishes = Events.on(memory.driver);
    this.deviceWishes = Events.on(memory.device);
    this.lengths = new Array<number>(slots).fill(0);
    this.freeSlots = slots;
  }

  get free(): number {
    return this.freeSlots;
  }

  add(parts: readonly Part[], table = false): number {
    // Each request takes at least one slot, so there is an id as long as there is a slot.
    const { free, filled } = this.memory;
    const id = free.pop() ?? 0;
    const { address, length, id: ids, flags } = this.descriptors;
    let head = 0;
    let headFlags = 0;
    for (const [i, part] of parts.entries()) {
      const lap = filled.phase === 1 ? AVAILABLE : USED;
      const slot = filled.advance();
      const more = (table ? INDIRECT : 0) | (i + 1 < parts.length ? NEXT : 0);
      const value = lap | more | (part.deviceWrites ? DEVICE_WRITES : 0);
      address.write(slot, part.iova);
      length.write(slot, part.sizeBytes);
      ids.write(slot, id);
      if (i > 0) flags.write(slot, value);
      else {
        head = slot;
        headFlags = value;
      }
    }
    this.lengths[id] = parts.length;
    this.freeSlots -= parts.length;
    this.added += parts.length;
    // The flags of the first make all of them available.
    publish();
    flags.write(head, headFlags);
    return id;
  }

  /** Section 2.8.14 says when the device wants to be notified. */
  publish(): boolean {
    const { added } = this;
    this.added = 0;
    fullFence();
    const flags = this.deviceWishes.flags.read(0);
    if (flags !== AT_POSITION) return flags !== NEVER;
    const position = this.deviceWishes.position.read(0);
    const now = this.memory.filled.slot;
    const isThisLap = position >> LAP_SHIFT === this.memory.filled.phase;
    const event = (position & SLOT_MASK) - (isThisLap ? 0 : this.slots);
    return ((now - event - 1) & INDEX_MASK) < added;
  }

  next(): Used | undefined {
    const at = this.memory.taken.slot;
    if (!this.isUsed(at)) return undefined;
    const id = this.descriptors.id.read(at);
    const count = this.lengths[id] ?? 0;
    if (count === 0) throw new VirtioError(`the device used request ${id}, which isn't outstanding`);
    const writtenBytes = this.descriptors.length.read(at);
    this.lengths[id] = 0;
    this.memory.free.push(id);
    this.freeSlots += count;
    this.memory.taken.skip(count);
    return { id, writtenBytes };
  }

  arm(): boolean {
    const { wishes } = this;
    const { taken } = this.memory;
    if (this.hasEventIndex) {
      wishes.position.write(0, taken.slot | (taken.phase << LAP_SHIFT));
      publish();
      wishes.flags.write(0, AT_POSITION);
      fullFence();
    }
    return this.hasEventIndex && this.isUsed(taken.slot);
  }

  writeTable(memory: Uint8Array, parts: readonly Part[]): void {
    const { address, length, id, flags } = Descriptor.on(memory);
    for (const [i, part] of parts.entries()) {
      address.write(i, part.iova);
      length.write(i, part.sizeBytes);
      id.write(i, 0);
      flags.write(i, part.deviceWrites ? DEVICE_WRITES : 0);
    }
  }

  /** Whether both bits are those of this lap. */
  private isUsed(slot: number): boolean {
    const flags = this.descriptors.flags.read(slot);
    const lap = this.memory.taken.phase === 1;
    return ((flags & AVAILABLE) !== 0) === lap && ((flags & USED) !== 0) === lap;
  }
}

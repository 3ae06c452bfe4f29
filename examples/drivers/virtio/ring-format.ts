/** What the two kinds of virtqueues have in common (Virtual I/O Device 1.2, sections 2.7 and 2.8). */
import type { RingMemory } from "./ring-memory.js";

/** Memory that a request gives to the device. */
export interface Part {
  readonly iova: bigint;
  readonly sizeBytes: number;
  /** Whether the device writes it, otherwise it reads it. What it reads comes first. */
  readonly deviceWrites: boolean;
}

/** A request that the device has finished. */
export interface Used {
  /** As {@link VirtqueueRing.add} returned it. */
  readonly id: number;
  /** Bytes that the device wrote. */
  readonly writtenBytes: number;
}

/** The rings of a queue, in memory that the device reaches. */
export interface VirtqueueRing {
  /** Its three parts: the driver tells the device where they are. */
  readonly memory: RingMemory;
  /** Descriptors that are free. */
  readonly free: number;
  /**
   * Puts a request into the ring, one descriptor for each part. There are enough free ones.
   * @param table whether the only part is a table of descriptors
   * @returns a number below `slots`, until it is used no other request's
   */
  add(parts: readonly Part[], table?: boolean): number;
  /** Shows the device what was added. @returns whether it wants to be notified */
  publish(): boolean;
  /** Takes the next request that the device has finished. @throws VirtioError if it says what can't be */
  next(): Used | undefined;
  /** Asks for an interrupt at the next one. @returns whether one has come just before, so that there may be none */
  arm(): boolean;
  /** Writes a table of descriptors that stands for several. @param memory 16 bytes for each part */
  writeTable(memory: Uint8Array, parts: readonly Part[]): void;
}

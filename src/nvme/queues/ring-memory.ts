/** Memory of rings: allocates it, or checks the caller's. */
import { ArgumentError } from "../../core/errors.js";
import { checkLeased } from "../../core/lifetime/lease.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";

/** Zeroed contiguous memory that starts at a memory page. @param pageBytes CC.MPS in bytes @throws ClosedError, SysError */
export function allocRing(space: DmaSpace, sizeBytes: number, pageBytes: number): DmaBuffer {
  // Buffers always start at a page of the system; a larger alignment costs a search.
  const iovaAlignBytes = pageBytes > PAGE_SIZE ? pageBytes : undefined;
  return space.alloc(sizeBytes, { alignBytes: pageBytes, iovaAlignBytes });
}

/**
 * @param name the option, for the message
 * @param isAnywhere whether it may be scattered, and start within a page
 * @throws ArgumentError if the memory can't hold a ring of this size, ClosedError
 */
export function checkRing(
  name: string,
  buffer: DmaBuffer,
  space: DmaSpace,
  sizeBytes: number,
  pageBytes: number,
  isAnywhere = false,
): void {
  checkLeased(name, buffer, "a DmaBuffer", { space: "object" });
  buffer.lease.assertOpen();
  if (buffer.space !== space) {
    throw new ArgumentError(`${name} belongs to another DMA space than this controller`);
  }
  if (buffer.sizeBytes < sizeBytes) {
    throw new ArgumentError(`${name} has ${buffer.sizeBytes} bytes, and the queue needs ${sizeBytes}`);
  }
  if (isAnywhere) return;
  if (!buffer.contiguous) {
    throw new ArgumentError(`${name} is not contiguous: a queue needs contiguous memory`);
  }
  if (buffer.iovaLow % pageBytes !== 0) {
    throw new ArgumentError(`${name} doesn't start at a memory page of ${pageBytes} bytes`);
  }
}

/** A ring's zeroed memory, and whether it was allocated here. @throws as checkRing() and allocRing() */
export function ringMemory(
  space: DmaSpace,
  given: DmaBuffer | undefined,
  sizeBytes: number,
  pageBytes: number,
  isAnywhere = false,
): { readonly memory: DmaBuffer; readonly isOwn: boolean } {
  if (given === undefined) return { memory: allocRing(space, sizeBytes, pageBytes), isOwn: true };
  checkRing("memory", given, space, sizeBytes, pageBytes, isAnywhere);
  clearRing(given.memory.words.subarray(0, sizeBytes / 4));
  return { memory: given, isOwn: false };
}

/** Zeroes a ring: the phase of an entry that was never written is 0. Writes words, because a ring may be in a BAR. */
export function clearRing(words: Uint32Array): void {
  for (let i = 0; i < words.length; i++) words[i] = 0;
}

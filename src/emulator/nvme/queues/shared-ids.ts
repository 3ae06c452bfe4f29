/** Command ids of a controller that doesn't keep those of its queues apart. */
import type { EmulatedSq } from "./queues.js";

/**
 * Whether each new command of an I/O queue has an id within the queue that no outstanding admin command has.
 * @param tail the queue's doorbell
 * @param admin ids of the admin commands that are outstanding
 */
export function hasOwnIds(sq: EmulatedSq, tail: number, admin: readonly number[]): boolean {
  // An ordinary host's queue is in one piece.
  if (sq.scattered) return true;
  const { words, offset } = sq.span;
  for (let index = sq.head; index !== tail; index = index + 1 === sq.entries ? 0 : index + 1) {
    const cid = (words[offset / 4 + index * sq.entryWords] ?? 0) >>> 16;
    if (cid >= sq.entries || admin.includes(cid)) return false;
  }
  return true;
}

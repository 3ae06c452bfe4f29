/** The memory of descriptors, in views of each width. */
import { checkBytes } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";

/** Memory cut into slots of one size. Views that are wider than its widest word are empty: they may not be aligned. */
export interface SlotMemory {
  /** Names it in errors. */
  readonly label: string;
  readonly count: number;
  readonly slotBytes: number;
  readonly bytes: Uint8Array;
  readonly halves: Uint16Array;
  readonly words: Uint32Array;
}

/**
 * @param alignBytes of the widest word
 * @throws ArgumentError if the memory isn't aligned to its words or holds no whole slot
 */
export function slotMemory(
  label: string,
  bytes: Uint8Array,
  slotBytes: number,
  alignBytes: number,
): SlotMemory {
  checkBytes(`memory of ${label}`, bytes);
  const { buffer, byteOffset, length } = bytes;
  if (byteOffset % alignBytes !== 0)
    throw new ArgumentError(
      `memory of ${label} starts at ${byteOffset} of its ArrayBuffer, which is not a multiple of ${alignBytes}`,
    );
  const count = Math.floor(length / slotBytes);
  if (count === 0)
    throw new ArgumentError(`memory of ${label} has ${length} bytes: one descriptor needs ${slotBytes}`);
  return {
    label,
    count,
    slotBytes,
    bytes,
    halves: alignBytes < 2 ? new Uint16Array(0) : new Uint16Array(buffer, byteOffset, length >> 1),
    words: alignBytes < 4 ? new Uint32Array(0) : new Uint32Array(buffer, byteOffset, length >> 2),
  };
}

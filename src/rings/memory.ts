/** The memory of descriptors, in views of each width. */
import { checkObject, show } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";

/** Memory cut into slots of one size. */
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
  checkObject(`memory of ${label}`, bytes);
  if (!(bytes instanceof Uint8Array))
    throw new ArgumentError(`memory of ${label} must be a Uint8Array, got ${show(bytes)}`);
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
    halves: new Uint16Array(buffer, byteOffset, length >> 1),
    words: new Uint32Array(buffer, byteOffset, length >> 2),
  };
}

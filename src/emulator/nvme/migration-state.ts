/** The migration state of a controller as bytes. A client sends it, so it is checked. */

import * as z from "zod/mini";
import { checkBytes } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { lazily } from "../../core/lazy.js";
import { integer, Problems, read } from "../../core/options.js";
import { servicesState } from "./commands/admin-services.js";
import { featuresState } from "./commands/features.js";
import { nvmState } from "./commands/io/nvm.js";
import { logPagesState } from "./commands/log-pages.js";
import { namespaceState } from "./medium/namespace.js";
import { count } from "./medium/state-schema.js";
import { asyncEventsState } from "./queues/async-events.js";
import { delayedState } from "./queues/delayed-commands.js";
import { queuesState } from "./queues/queue-set.js";
import { registersState } from "./queues/registers.js";

const MAGIC = "iova-nvme-state-1\n";
const PREFIX_BYTES = MAGIC.length + 4;
/** The part that is text. */
export const MAX_TEXT_BYTES = 16 << 20;
/** Length of a piece of data; pieces of zeros are left out. */
const PIECE_BYTES = 64 * 1024;

const schema = lazily(() => {
  /** Where data stands, and how much; the data itself follows the text. */
  const spans = z.array(z.tuple([count(), integer(1, PIECE_BYTES)])).check(z.maxLength(1 << 20));
  return z.strictObject({
    /** Options that both ends must have in common, as text. */
    shape: z.string().check(z.maxLength(4096)),
    registers: registersState(),
    queues: queuesState(),
    features: featuresState(),
    events: asyncEventsState(),
    logs: logPagesState(),
    nvm: nvmState(),
    namespaces: z.array(namespaceState()).check(z.maxLength(128)),
    services: servicesState(),
    delayed: delayedState(),
    cmb: spans,
    msix: spans,
    /** Null for a medium in a file, which both ends can open. */
    medium: z.nullable(spans),
  });
});

/** The state of a controller, without the bytes of its CMB, MSI-X table and medium. */
export type MigrationState = z.output<ReturnType<typeof schema>>;

/** Places of data, in ascending order, and the data. */
export interface SparseData {
  readonly spans: [number, number][];
  readonly pieces: Uint8Array[];
}

/** Copies memory without its zeros. @param read copies a piece, or returns false if that fails */
export function sparse(sizeBytes: number, read: (at: number, target: Uint8Array) => boolean): SparseData {
  const result: SparseData = { spans: [], pieces: [] };
  const zeros = Buffer.alloc(PIECE_BYTES);
  let piece = new Uint8Array(PIECE_BYTES);
  for (let at = 0; at < sizeBytes; at += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, sizeBytes - at);
    const part = piece.subarray(0, length);
    if (!read(at, part)) throw new ArgumentError("save: the medium can't be read");
    if (Buffer.compare(part, zeros.subarray(0, length)) === 0) continue;
    result.spans.push([at, length]);
    result.pieces.push(part);
    piece = new Uint8Array(PIECE_BYTES);
  }
  return result;
}

/** Writes the text, then the data. @throws ArgumentError if the text is too long */
export function encodeState(state: MigrationState, data: readonly SparseData[]): Uint8Array {
  const text = Buffer.from(JSON.stringify(state));
  if (text.length > MAX_TEXT_BYTES)
    throw new ArgumentError(`save: the state has ${text.length} bytes, more than ${MAX_TEXT_BYTES}`);
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.write(MAGIC, "latin1");
  prefix.writeUInt32LE(text.length, MAGIC.length);
  return Buffer.concat([prefix, text, ...data.flatMap(({ pieces }) => pieces)]);
}

/** A state, and the data that belongs to its spans, in order: CMB, MSI-X, medium. @throws ArgumentError */
export function decodeState(bytes: Uint8Array): {
  readonly state: MigrationState;
  readonly data: Uint8Array;
} {
  checkBytes("bytes", bytes);
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const textBytes = whole.length < PREFIX_BYTES ? -1 : whole.readUInt32LE(MAGIC.length);
  const isOurs = whole.toString("latin1", 0, MAGIC.length) === MAGIC && textBytes <= MAX_TEXT_BYTES;
  if (textBytes < 0 || !isOurs || PREFIX_BYTES + textBytes > whole.length) {
    throw new ArgumentError("invalid saved state: it is not the state of an emulated NVMe controller");
  }
  const text = whole.toString("utf8", PREFIX_BYTES, PREFIX_BYTES + textBytes);
  const state = read(schema(), parse(text));
  if (state instanceof Problems) throw new ArgumentError(`invalid saved state: ${state.text}`);
  const data = bytes.subarray(PREFIX_BYTES + textBytes);
  const lists = [state.cmb, state.msix, state.medium ?? []];
  if (data.length !== lists.flat().reduce((sum, [, length]) => sum + length, 0)) {
    throw new ArgumentError("invalid saved state: the length of its data is wrong");
  }
  return { state, data };
}

/** @throws ArgumentError if data lies outside of memory of this size */
export function checkSpans(list: readonly (readonly [number, number])[], sizeBytes: number): void {
  let end = 0;
  for (const [at, length] of list) {
    if (at < end || at + length > sizeBytes)
      throw new ArgumentError("invalid saved state: data outside of the memory it belongs to");
    end = at + length;
  }
}

/** Writes data to its places. @returns the data behind it */
export function spread(
  list: readonly (readonly [number, number])[],
  data: Uint8Array,
  write: (at: number, part: Uint8Array) => void,
): Uint8Array {
  let done = 0;
  for (const [at, length] of list) {
    write(at, data.subarray(done, done + length));
    done += length;
  }
  return data.subarray(done);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The state of a controller as it goes to another process. It comes from a client, so zod reads it. */
import * as z from "zod/mini";
import { ArgumentError } from "../../core/errors.js";
import { lazily } from "../../core/lazy.js";
import { integer, number, Problems, read } from "../../core/options.js";
import { savedServices } from "./commands/saved-services.js";

const MAGIC = "iova-nvme-state-1\n";
const PREFIX_BYTES = MAGIC.length + 4;
/** The part that is text. */
export const MAX_TEXT_BYTES = 16 << 20;
/** Data is looked through, and left out where it is zero, in pieces of this size. */
const PIECE_BYTES = 64 * 1024;

const schema = lazily(() => {
  const u1 = integer(0, 1);
  const u16 = integer(0, 0xffff);
  const u32 = integer(0, 0xffff_ffff);
  const count = integer(0, Number.MAX_SAFE_INTEGER);
  const amount = number(0, Number.MAX_SAFE_INTEGER);
  const pair = z.tuple([u32, u32]);
  const pairs = z.array(pair).check(z.maxLength(1 << 20));
  /** Where data stands, and how much; the data itself follows the text. */
  const spans = z.array(z.tuple([count, integer(1, PIECE_BYTES)])).check(z.maxLength(1 << 20));

  const savedRegisters = z.strictObject({
    intms: u32,
    cc: u32,
    csts: u32,
    aqa: u32,
    asq: pair,
    acq: pair,
    cmbmsc: pair,
  });

  const completion = z.tuple([u32, u32, u32, u32]);

  const savedQueues = z.strictObject({
    cqs: z
      .array(
        z.strictObject({
          id: u16,
          entries: integer(2, 65536),
          iova: count.check(z.multipleOf(4096)),
          interrupts: z.boolean(),
          vector: u16,
          tail: u16,
          phase: u1,
          head: u16,
          badHead: integer(-1, 0xffff_ffff),
          unsignalled: count,
          doorbell: u32,
          overflow: z.array(completion).check(z.maxLength(1 << 16)),
        }),
      )
      .check(z.maxLength(1024)),
    sqs: z
      .array(
        z.strictObject({
          id: u16,
          entries: integer(2, 65536),
          iova: count.check(z.multipleOf(4096)),
          cq: u16,
          /** QPRIO. */
          priority: integer(0, 3),
          head: u16,
          badTail: integer(-1, 0xffff_ffff),
          doorbell: u32,
        }),
      )
      .check(z.maxLength(1024)),
    shadow: z.nullable(z.strictObject({ doorbells: count, eventIndexes: count })),
  });

  const savedFeatures = z.strictObject({
    values: pairs,
    coalescingDisabled: z.array(u1).check(z.maxLength(2048)),
    thresholds: pairs,
    timestamp: integer(0, 0xffff_ffff_ffff),
    timestampOrigin: u1,
    hostBehavior: z.string().check(z.regex(/^([0-9a-f]{2}){512}$/)),
    errorRecovery: pairs,
  });

  const savedEvents = z.strictObject({
    requests: z.array(u16).check(z.maxLength(8)),
    waiting: z.array(z.strictObject({ type: u32, info: u32, logPage: u32 })).check(z.maxLength(256)),
    silent: z.array(u32).check(z.maxLength(256)),
    reported: z.array(z.tuple([u32, z.array(u32).check(z.maxLength(256))])).check(z.maxLength(256)),
  });

  const savedLogs = z.strictObject({
    errors: z.array(z.string().check(z.regex(/^([0-9a-f]{2}){64}$/))).check(z.maxLength(64)),
    errorCount: count,
    changed: z.array(u32).check(z.maxLength(4096)),
    poweredMs: amount,
  });

  const savedNvm = z.strictObject({
    counters: z.array(amount).check(z.length(5)),
    fused: z.strictObject({ on: integer(-1, 0xffff), status: u32, at: count, blocks: u32 }),
    reservations: z
      .array(
        z.strictObject({
          nsid: u32,
          generation: u32,
          key: z.nullable(z.string().check(z.regex(/^[0-9a-f]{1,16}$/))),
          type: integer(0, 6),
        }),
      )
      .check(z.maxLength(128)),
    placement: z
      .array(z.strictObject({ nsid: u32, available: z.array(amount).check(z.maxLength(128)) }))
      .check(z.maxLength(128)),
  });

  const savedNamespaces = z
    .array(
      z.strictObject({
        nsid: u32,
        /** Zones that are open, which the medium has as closed. */
        open: pairs,
        /** Blocks that Write Uncorrectable has spoiled, 32 to an entry. */
        uncorrectable: z.array(z.tuple([count, u32])).check(z.maxLength(1 << 20)),
      }),
    )
    .check(z.maxLength(128));

  return z.strictObject({
    /** What both ends must have alike: see {@link EmulatedNvme}. */
    shape: z.string().check(z.maxLength(4096)),
    registers: savedRegisters,
    queues: savedQueues,
    features: savedFeatures,
    events: savedEvents,
    logs: savedLogs,
    nvm: savedNvm,
    namespaces: savedNamespaces,
    services: savedServices(),
    delayed: z
      .array(z.strictObject({ sqid: u16, sqe: z.array(u32).check(z.length(16)), dueInMs: amount }))
      .check(z.maxLength(1 << 16)),
    cmb: spans,
    msix: spans,
    /** Null where it is in a file, which both ends reach. */
    medium: z.nullable(spans),
  });
});

export type SavedState = z.output<ReturnType<typeof schema>>;
export type SavedRegisters = SavedState["registers"];
export type SavedQueues = SavedState["queues"];
export type SavedFeatures = SavedState["features"];
export type SavedEvents = SavedState["events"];
export type SavedLogs = SavedState["logs"];
export type SavedNvm = SavedState["nvm"];
export type SavedNamespaces = SavedState["namespaces"];

/** Places of data, in ascending order, and the data. */
export interface SparseData {
  readonly spans: [number, number][];
  readonly pieces: Uint8Array[];
}

/** Memory without its zeros. @param read copies a piece out, false where it can't be read */
export function sparse(sizeBytes: number, read: (at: number, target: Uint8Array) => boolean): SparseData {
  const result: SparseData = { spans: [], pieces: [] };
  const zeros = Buffer.alloc(PIECE_BYTES);
  let piece = new Uint8Array(PIECE_BYTES);
  for (let at = 0; at < sizeBytes; at += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, sizeBytes - at);
    const part = piece.subarray(0, length);
    if (!read(at, part)) throw new ArgumentError("the medium can't be read");
    if (Buffer.compare(part, zeros.subarray(0, length)) === 0) continue;
    result.spans.push([at, length]);
    result.pieces.push(part);
    piece = new Uint8Array(PIECE_BYTES);
  }
  return result;
}

/** Text, then data. @throws ArgumentError where it is too much */
export function encodeState(state: SavedState, data: readonly SparseData[]): Uint8Array {
  const text = Buffer.from(JSON.stringify(state));
  if (text.length > MAX_TEXT_BYTES) throw new ArgumentError(`a state of ${text.length} bytes is too long`);
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.write(MAGIC, "latin1");
  prefix.writeUInt32LE(text.length, MAGIC.length);
  return Buffer.concat([prefix, text, ...data.flatMap(({ pieces }) => pieces)]);
}

/** A state, and the data that belongs to its spans, in order: CMB, MSI-X, medium. @throws ArgumentError */
export function decodeState(bytes: Uint8Array): { readonly state: SavedState; readonly data: Uint8Array } {
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const textBytes = whole.length < PREFIX_BYTES ? -1 : whole.readUInt32LE(MAGIC.length);
  const isOurs = whole.toString("latin1", 0, MAGIC.length) === MAGIC && textBytes <= MAX_TEXT_BYTES;
  if (textBytes < 0 || !isOurs || PREFIX_BYTES + textBytes > whole.length) {
    throw new ArgumentError("that is no state of an emulated NVMe controller");
  }
  const text = whole.toString("utf8", PREFIX_BYTES, PREFIX_BYTES + textBytes);
  const state = read(schema(), parse(text));
  if (state instanceof Problems) throw new ArgumentError(`state of a controller: ${state.text}`);
  const data = bytes.subarray(PREFIX_BYTES + textBytes);
  const lists = [state.cmb, state.msix, state.medium ?? []];
  if (data.length !== lists.flat().reduce((sum, [, length]) => sum + length, 0)) {
    throw new ArgumentError("a state with more or less data than it tells of");
  }
  return { state, data };
}

/** @throws ArgumentError where data doesn't lie in memory of this size */
export function checkSpans(list: readonly (readonly [number, number])[], sizeBytes: number): void {
  let end = 0;
  for (const [at, length] of list) {
    if (at < end || at + length > sizeBytes) throw new ArgumentError("a state with data in no place");
    end = at + length;
  }
}

/** Writes data to its places. @returns what is left of it */
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

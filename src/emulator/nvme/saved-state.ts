/** The state of a controller as it goes to another process. It comes from a client, so zod reads it. */
import { z } from "zod";
import { ArgumentError } from "../../sys/errors.js";
import { MAX_FIRMWARE_BYTES } from "./firmware-image.js";

const MAGIC = "iova-nvme-state-1\n";
const PREFIX_BYTES = MAGIC.length + 4;
/** The part that is text. */
export const MAX_TEXT_BYTES = 16 << 20;
/** Data is looked through, and left out where it is zero, in pieces of this size. */
const PIECE_BYTES = 64 * 1024;

/** Groups of namespaces (ANAGRPMAX) at most. */
export const MAX_ANA_GROUPS = 32;
/** What a host can give. */
const MOST_HOST_MEMORY_BYTES = 2 ** 32;

const u1 = z.int().min(0).max(1);
const u16 = z.int().min(0).max(0xffff);
const u32 = z.int().min(0).max(0xffff_ffff);
const count = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const amount = z.number().min(0).max(Number.MAX_SAFE_INTEGER);
const pair = z.tuple([u32, u32]);
const pairs = z.array(pair).max(1 << 20);
/** Where data stands, and how much; the data itself follows the text. */
const spans = z.array(z.tuple([count, z.int().min(1).max(PIECE_BYTES)])).max(1 << 20);

export const savedRegisters = z.strictObject({
  intms: u32,
  cc: u32,
  csts: u32,
  aqa: u32,
  asq: pair,
  acq: pair,
  cmbmsc: pair,
});

const completion = z.tuple([u32, u32, u32, u32]);

export const savedQueues = z.strictObject({
  cqs: z
    .array(
      z.strictObject({
        id: u16,
        entries: z.int().min(2).max(65536),
        iova: count.multipleOf(4096),
        interrupts: z.boolean(),
        vector: u16,
        tail: u16,
        phase: u1,
        head: u16,
        badHead: z.int().min(-1).max(0xffff_ffff),
        unsignalled: count,
        doorbell: u32,
        overflow: z.array(completion).max(1 << 16),
      }),
    )
    .max(1024),
  sqs: z
    .array(
      z.strictObject({
        id: u16,
        entries: z.int().min(2).max(65536),
        iova: count.multipleOf(4096),
        cq: u16,
        /** QPRIO. */
        priority: z.int().min(0).max(3),
        head: u16,
        badTail: z.int().min(-1).max(0xffff_ffff),
        doorbell: u32,
      }),
    )
    .max(1024),
  shadow: z.strictObject({ doorbells: count, eventIndexes: count }).nullable(),
});

export const savedFeatures = z.strictObject({
  values: pairs,
  coalescingDisabled: z.array(u1).max(2048),
  thresholds: pairs,
  timestamp: z.int().min(0).max(0xffff_ffff_ffff),
  timestampOrigin: u1,
  hostBehavior: z.string().regex(/^([0-9a-f]{2}){512}$/),
  errorRecovery: pairs,
});

export const savedEvents = z.strictObject({
  requests: z.array(u16).max(8),
  waiting: z.array(z.strictObject({ type: u32, info: u32, logPage: u32 })).max(256),
  silent: z.array(u32).max(256),
  reported: z.array(z.tuple([u32, z.array(u32).max(256)])).max(256),
});

export const savedLogs = z.strictObject({
  errors: z.array(z.string().regex(/^([0-9a-f]{2}){64}$/)).max(64),
  errorCount: count,
  changed: z.array(u32).max(4096),
  poweredMs: amount,
});

export const savedNvm = z.strictObject({
  counters: z.array(amount).length(5),
  fused: z.strictObject({ on: z.int().min(-1).max(0xffff), status: u32, at: count, blocks: u32 }),
  reservations: z
    .array(
      z.strictObject({
        nsid: u32,
        generation: u32,
        key: z
          .string()
          .regex(/^[0-9a-f]{1,16}$/)
          .nullable(),
        type: z.int().min(0).max(6),
      }),
    )
    .max(128),
  placement: z.array(z.strictObject({ nsid: u32, available: z.array(amount).max(128) })).max(128),
});

export const savedNamespaces = z
  .array(
    z.strictObject({
      nsid: u32,
      /** Zones that are open, which the medium has as closed. */
      open: pairs,
      /** Blocks that Write Uncorrectable has spoiled, 32 to an entry. */
      uncorrectable: z.array(z.tuple([count, u32])).max(1 << 20),
    }),
  )
  .max(128);

export const savedSelfTest = z
  .strictObject({
    code: z.int().min(1).max(2),
    nsid: u32,
    fails: z.boolean(),
    /** The part that is done. */
    done: z.number().min(0).max(1),
  })
  .nullable();

export const savedSanitize = z.strictObject({
  done: z.number().min(0).max(1),
  fails: z.boolean(),
  isErased: z.boolean(),
});

export const savedFirmware = z.strictObject({
  /** Downloaded and not committed: where, and base64. */
  pieces: z
    .array(z.tuple([z.int().min(0).max(MAX_FIRMWARE_BYTES), z.base64().max(MAX_FIRMWARE_BYTES * 2)]))
    .max(1024),
  overlap: u1,
});

const savedCapture = z
  .strictObject({
    reason: z.string().max(1024),
    data: z.base64().max(1 << 18),
    ends: z.tuple([u16, u16, u16]),
  })
  .nullable();

export const savedTelemetry = z.strictObject({
  host: savedCapture,
  controller: savedCapture,
  isAvailable: z.boolean(),
});

/** What the host has given, in bytes. */
export const savedHostMemory = z
  .strictObject({
    listAddress: count,
    segments: z
      .array(z.tuple([count, z.int().min(4096).max(MOST_HOST_MEMORY_BYTES).multipleOf(4096)]))
      .min(1)
      .max(1024),
  })
  .refine(({ segments }) => segments.reduce((sum, [, bytes]) => sum + bytes, 0) <= MOST_HOST_MEMORY_BYTES)
  .nullable();

/** By group: a value of AnaState, and when it was set. */
export const savedAccess = z.strictObject({
  groups: z.array(z.tuple([z.int().min(1).max(0xf), count])).max(MAX_ANA_GROUPS),
  changeCount: count,
});

/** Scope and identifier. */
export const savedLockdown = z.array(z.tuple([u16, u16])).max(512);

/** What goes on in the background, and what commands have set that isn't a feature. */
export const savedServices = z.strictObject({
  selfTest: savedSelfTest,
  sanitize: savedSanitize,
  firmware: savedFirmware,
  telemetry: savedTelemetry,
  hostMemory: savedHostMemory,
  access: savedAccess,
  lockdown: savedLockdown,
});

const schema = z.strictObject({
  /** What both ends must have alike: see {@link EmulatedNvme}. */
  shape: z.string().max(4096),
  registers: savedRegisters,
  queues: savedQueues,
  features: savedFeatures,
  events: savedEvents,
  logs: savedLogs,
  nvm: savedNvm,
  namespaces: savedNamespaces,
  services: savedServices,
  delayed: z.array(z.strictObject({ sqid: u16, sqe: z.array(u32).length(16), dueInMs: amount })).max(1 << 16),
  cmb: spans,
  msix: spans,
  /** Null where it is in a file, which both ends reach. */
  medium: spans.nullable(),
});

export type SavedRegisters = z.output<typeof savedRegisters>;
export type SavedQueues = z.output<typeof savedQueues>;
export type SavedFeatures = z.output<typeof savedFeatures>;
export type SavedEvents = z.output<typeof savedEvents>;
export type SavedLogs = z.output<typeof savedLogs>;
export type SavedNvm = z.output<typeof savedNvm>;
export type SavedNamespaces = z.output<typeof savedNamespaces>;
export type SavedSelfTest = z.output<typeof savedSelfTest>;
export type SavedSanitize = z.output<typeof savedSanitize>;
export type SavedFirmware = z.output<typeof savedFirmware>;
export type SavedTelemetry = z.output<typeof savedTelemetry>;
export type SavedHostMemory = z.output<typeof savedHostMemory>;
export type SavedAccess = z.output<typeof savedAccess>;
export type SavedLockdown = z.output<typeof savedLockdown>;
export type SavedServices = z.output<typeof savedServices>;
export type SavedState = z.output<typeof schema>;

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
  const result = schema.safeParse(parse(text), { jitless: true });
  if (!result.success) {
    const [issue] = result.error.issues;
    throw new ArgumentError(`state of a controller: ${issue?.path.join(".")}: ${issue?.message}`);
  }
  const state = result.data;
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

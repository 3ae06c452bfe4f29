/**
 * What the server that lends functions and its clients say to each other: one line of JSON each way. The descriptors come with
 * the answer's first byte.
 */
import * as z from "zod/mini";
import { errorFromMessage } from "../core/error-message.js";
import { IovaError } from "../core/errors.js";
import { lazily } from "../core/lazy.js";
import { readOptions } from "../core/options.js";

/** Longest line, in bytes. A client that sends more is disconnected. */
export const MAX_LINE_BYTES = 4096;
const PROTOCOL = 1;

/** Backends whose descriptors can be lent. */
export const lentBackends = ["iommufd", "type1"] as const satisfies readonly LentBackend[];
/** A backend whose descriptors can be lent. */
export type LentBackend = "iommufd" | "type1";

const request = lazily(() =>
  z.strictObject({
    iova: z.literal(PROTOCOL),
    open: z.string().check(z.maxLength(64)),
    backend: z.optional(z.enum(lentBackends)),
  }),
);

const answer = lazily(() =>
  z.union([
    z.strictObject({ iova: z.literal(PROTOCOL), backend: z.enum(lentBackends) }),
    z.strictObject({ iova: z.literal(PROTOCOL), error: z.string(), name: z.string(), code: z.string() }),
  ]),
);

/** What a client asks for. */
export interface LoanRequest {
  /** PCI address, as the client wrote it. */
  readonly open: string;
  /** Left out, the server chooses. */
  readonly backend?: LentBackend | undefined;
}

/** A line of bytes that may be given to the kernel. */
function lineOf(value: object): Buffer {
  const text = `${JSON.stringify({ iova: PROTOCOL, ...value })}\n`;
  // Buffer.from() may take small ones from V8's moving heap.
  const line = Buffer.alloc(Buffer.byteLength(text));
  line.write(text);
  return line;
}

export function requestLine({ open, backend }: LoanRequest): Buffer {
  return lineOf({ open, backend });
}

/** @throws ConfigError */
export function parseRequest(line: string): LoanRequest {
  return readOptions("request", request(), jsonOf(line));
}

/** The answer to a request that was granted; the descriptors go with it. */
export function grantLine(backend: LentBackend): Buffer {
  return lineOf({ backend });
}

/** The answer to a request that was refused. */
export function refusalLine(error: unknown): Buffer {
  const isOurs = error instanceof IovaError;
  return lineOf({
    // Others are faults of the server, which are no client's business.
    error: isOurs ? error.message.slice(0, MAX_LINE_BYTES / 4) : "the server failed: its log says more",
    name: isOurs ? error.name : "IovaError",
    code: isOurs ? error.code : "ERR_IOVA_STATE",
  });
}

/** @returns the backend that was granted @throws the server's error, or ConfigError if the line is no answer */
export function parseAnswer(line: string): LentBackend {
  const read = readOptions("answer", answer(), jsonOf(line));
  if ("backend" in read) return read.backend;
  const { error: message, name, code } = read;
  throw errorFromMessage({
    message,
    name,
    stack: undefined,
    isOurs: true,
    fields: { code },
    cause: undefined,
  });
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return line;
  }
}

/**
 * What the server that lends functions and its clients say to each other: one line of JSON each way. The descriptors come with
 * the answer's first byte; there are none where the client has borrowed the function's group for type1 already. The messages are checked without zod, which each import of the library would have to load.
 */
import { show } from "../core/check.js";
import { errorFromMessage } from "../core/error-message.js";
import { ConfigError, IovaError } from "../core/errors.js";

/** Longest line, in bytes. A client that sends more is disconnected. */
export const MAX_LINE_BYTES = 4096;
const PROTOCOL = 1;
/** Longest address, in characters. */
const MAX_ADDRESS = 64;

/** Backends whose descriptors can be lent. */
export const lentBackends = ["iommufd", "type1"] as const satisfies readonly LentBackend[];
/** A backend whose descriptors can be lent. */
export type LentBackend = "iommufd" | "type1";

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
  const { open, backend } = membersOf("request", line, ["iova", "open", "backend"]);
  if (typeof open !== "string" || open.length > MAX_ADDRESS)
    throw new ConfigError(`request.open: expected at most ${MAX_ADDRESS} characters, got ${show(open)}`);
  return { open, backend: backend === undefined ? undefined : lentBackend("request", backend) };
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
  const { backend, ...refusal } = membersOf("answer", line, ["iova", "backend", "error", "name", "code"]);
  if (backend !== undefined) return lentBackend("answer", backend);
  const { error: message, name, code } = refusal;
  if (typeof message !== "string" || typeof name !== "string" || typeof code !== "string")
    throw new ConfigError(
      `answer: expected a backend, or the error, name and code of a refusal, got ${show(line)}`,
    );
  throw errorFromMessage({
    message,
    name,
    stack: undefined,
    isOurs: true,
    fields: { code },
    cause: undefined,
  });
}

/** The members of a message of this protocol. @throws ConfigError */
function membersOf(what: string, line: string, known: readonly string[]): Readonly<Record<string, unknown>> {
  const value = jsonOf(line);
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ConfigError(`${what}: expected an object, got ${show(value)}`);
  const members: Readonly<Record<string, unknown>> = { ...value };
  if (members["iova"] !== PROTOCOL)
    throw new ConfigError(`${what}.iova: expected protocol ${PROTOCOL}, got ${show(members["iova"])}`);
  const other = Object.keys(members).find((name) => !known.includes(name));
  if (other !== undefined)
    throw new ConfigError(`${what} has no member ${show(other)}: there are ${known.join(", ")}`);
  return members;
}

/** @throws ConfigError */
function lentBackend(what: string, value: unknown): LentBackend {
  const found = lentBackends.find((name) => name === value);
  if (found !== undefined) return found;
  throw new ConfigError(`${what}.backend: expected one of ${lentBackends.join(", ")}, got ${show(value)}`);
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return line;
  }
}

/** Faults that users inject: their options, and which commands they hit. */
import * as z from "zod/mini";
import { lazily } from "../../core/lazy.js";
import { integer, number, readOptions } from "../../core/options.js";

/** The kinds of faults that can be injected. */
export const faultKinds = [
  /** The command is executed later; `latencyMs`. */
  "latency",
  /** Executed, but never completed. */
  "drop",
  /** The completion is written with the phase of the last pass: the host doesn't see it. */
  "wrong-phase",
  /** The completion comes twice. */
  "duplicate-cid",
  /** The completion names a command that isn't outstanding. */
  "unknown-cid",
  /** The completion names another submission queue. */
  "wrong-sqid",
  /** Not executed; completed with `status`. */
  "status",
  /** Only `bytes` bytes are transferred, and success is reported. */
  "short-data",
  /** One bit of the data is wrong, and success is reported. */
  "corrupt-data",
  /** Executed and completed; what it began in the background (self-test, sanitize) fails. */
  "fail-later",
  /** Registers read all ones for `durationMs` (0: until `clearFaults()`), and nothing is executed. */
  "all-ones",
  /** The device is unplugged: registers read all ones, and the client loses its connection. */
  "remove",
  /** CSTS.CFS: the controller has stopped until it is reset. */
  "fatal",
] as const;
/** What goes wrong: the kind of a fault. */
export type FaultKind = (typeof faultKinds)[number];

const schema = lazily(() =>
  z.strictObject({
    kind: z.enum(faultKinds),
    queue: z.optional(z.union([z.enum(["admin", "io"]), integer(0, 65535)])),
    opcode: z.optional(integer(0, 255)),
    nsid: z.optional(integer(0, 0xffff_ffff)),
    nth: z.optional(integer(1)),
    every: z.optional(integer(1)),
    count: z.optional(integer(1)),
    probability: z.optional(z.number().check(z.gt(0), z.maximum(1))),
    seed: z._default(integer(0, 0xffff_ffff), 1),
    latencyMs: z._default(number(0, 600_000), 10),
    durationMs: z._default(number(0, 600_000), 0),
    status: z._default(integer(1, 0x7fff), 0x006),
    bytes: z._default(integer(0), 0),
  }),
);

/** An injected fault: which commands it hits, and what happens to them. */
export interface FaultOptions {
  /** What goes wrong. */
  readonly kind: FaultKind;
  /** Only on the admin queue, on all I/O queues, or on the queue with this id. Left out: all. */
  readonly queue?: "admin" | "io" | number | undefined;
  /** Only commands with this opcode. Left out: all. */
  readonly opcode?: number | undefined;
  /** Only commands that name this namespace. Left out: all. */
  readonly nsid?: number | undefined;
  /** Begin at the n-th command that matches, counted from 1. */
  readonly nth?: number | undefined;
  /** From there on hit one of so many commands. */
  readonly every?: number | undefined;
  /** End after so many hits. With `nth` and neither `every` nor `probability`: 1. */
  readonly count?: number | undefined;
  /** Hit each command with this probability, from 0 to 1. */
  readonly probability?: number | undefined;
  /** Start of the random numbers: the same seed hits the same commands. */
  readonly seed?: number | undefined;
  /** Of `latency`, in milliseconds. */
  readonly latencyMs?: number | undefined;
  /** Of `all-ones`, in milliseconds; 0 is for good. */
  readonly durationMs?: number | undefined;
  /** Of `status`: the status field, type in bits 10:8 and code in 7:0; 14 is do not retry. */
  readonly status?: number | undefined;
  /** Of `short-data`. */
  readonly bytes?: number | undefined;
}
export type Fault = z.output<ReturnType<typeof schema>>;

/** @throws ConfigError naming what is wrong */
export function parseFault(options: FaultOptions): Fault {
  return readOptions("fault", schema(), options);
}

/** Option names by their short names on a command line. */
const shortNames: Readonly<Record<string, string>> = { latency: "latencyMs", duration: "durationMs" };

/**
 * A fault as text: its kind, then `key=value` separated by commas, e.g. `status,status=0x281,opcode=2,nth=100` or
 * `latency,latency=20,probability=0.01,seed=7`.
 * @throws ConfigError
 */
export function faultFromText(text: string): FaultOptions {
  const [kind, ...pairs] = text.split(",");
  const options: Record<string, unknown> = { kind };
  for (const pair of pairs) {
    const [key = "", value = ""] = pair.split("=", 2);
    const number = value === "" ? Number.NaN : Number(value);
    options[shortNames[key] ?? key] = Number.isNaN(number) ? value : number;
  }
  return parseFault(options as unknown as FaultOptions);
}

/** A fault and its counters. */
class Order {
  private seen = 0;
  private hits = 0;
  private random: number;
  private readonly limit: number;

  constructor(readonly fault: Fault) {
    this.random = fault.seed >>> 0 || 1;
    const once = fault.nth !== undefined && fault.every === undefined && fault.probability === undefined;
    this.limit = fault.count ?? (once ? 1 : Number.POSITIVE_INFINITY);
  }

  hit(sqid: number, opcode: number, nsid: number): boolean {
    const { queue, nth = 1, every = 1, probability } = this.fault;
    if (
      queue !== undefined &&
      (queue === "admin" ? sqid !== 0 : queue === "io" ? sqid === 0 : sqid !== queue)
    ) {
      return false;
    }
    if (this.fault.opcode !== undefined && this.fault.opcode !== opcode) return false;
    if (this.fault.nsid !== undefined && this.fault.nsid !== nsid) return false;
    this.seen++;
    if (this.hits >= this.limit || this.seen < nth || (this.seen - nth) % every !== 0) return false;
    if (probability !== undefined && this.next() >= probability) return false;
    this.hits++;
    return true;
  }

  /** xorshift32: the same numbers on every machine. */
  private next(): number {
    let x = this.random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.random = x >>> 0;
    return this.random / 2 ** 32;
  }
}

/** The faults that are in force. */
export class Faults {
  private orders: Order[] = [];
  /** Whether there are any faults. */
  active = false;

  add(fault: Fault): void {
    this.orders.push(new Order(fault));
    this.active = true;
  }

  clear(): void {
    this.orders = [];
    this.active = false;
  }

  /** The fault that hits this command, if any; the first of several. */
  next(sqid: number, opcode: number, nsid: number): Fault | undefined {
    return this.orders.find((order) => order.hit(sqid, opcode, nsid))?.fault;
  }
}

/** Faults that users inject: their options, and which commands they hit. */
import * as z from "zod/mini";
import { lazily } from "../../core/lazy.js";
import { integer, number, readOptions } from "../../core/options.js";
import { countingOptions, FaultCounter, type FaultCounting, type InjectedFault } from "../faults/counter.js";
import { faultOptionsOf } from "../faults/text.js";

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
    ...countingOptions(),
    latencyMs: z._default(number(0, 600_000), 10),
    durationMs: z._default(number(0, 600_000), 0),
    status: z._default(integer(0, 0x7fff), 0x006),
    bytes: z._default(integer(0), 0),
  }),
);

/** An injected fault: which commands it hits, and what happens to them. */
export interface FaultOptions extends FaultCounting {
  /** What goes wrong. */
  readonly kind: FaultKind;
  /** Only on the admin queue, on all I/O queues, or on the queue with this id. Left out: all. */
  readonly queue?: "admin" | "io" | number | undefined;
  /** Only commands with this opcode. Left out: all. */
  readonly opcode?: number | undefined;
  /** Only commands that name this namespace. Left out: all. */
  readonly nsid?: number | undefined;
  /** Of `latency`, in milliseconds. */
  readonly latencyMs?: number | undefined;
  /** Of `all-ones`, in milliseconds; 0 is for good. */
  readonly durationMs?: number | undefined;
  /** Of `status`: the status field, type in bits 10:8 and code in 7:0; 14 is do not retry. 0 is a success that never was. */
  readonly status?: number | undefined;
  /** Of `short-data`. */
  readonly bytes?: number | undefined;
}
export type Fault = z.output<ReturnType<typeof schema>>;

/** @throws ConfigError naming what is wrong */
export function parseFault(options: FaultOptions): Fault {
  return readOptions("fault", schema(), options);
}

/**
 * A fault as text: its kind, then `key=value` separated by commas, e.g. `status,status=0x281,opcode=2,nth=100` or
 * `latency,latency=20,probability=0.01,seed=7`.
 * @throws ConfigError
 */
export function faultFromText(text: string): FaultOptions {
  return readOptions("fault", schema(), faultOptionsOf(text));
}

/** A fault and its counters. */
class Order {
  readonly counter: FaultCounter;

  constructor(readonly fault: Fault) {
    this.counter = new FaultCounter(fault);
  }

  hit(sqid: number, opcode: number, nsid: number): boolean {
    const { queue } = this.fault;
    if (
      queue !== undefined &&
      (queue === "admin" ? sqid !== 0 : queue === "io" ? sqid === 0 : sqid !== queue)
    ) {
      return false;
    }
    if (this.fault.opcode !== undefined && this.fault.opcode !== opcode) return false;
    if (this.fault.nsid !== undefined && this.fault.nsid !== nsid) return false;
    return this.counter.hit();
  }
}

/** The faults that are in force. */
export class Faults {
  private orders: Order[] = [];
  /** Whether there are any faults. */
  active = false;

  add(fault: Fault): InjectedFault {
    const order = new Order(fault);
    this.set([...this.orders, order]);
    const remove = (): void => this.set(this.orders.filter((each) => each !== order));
    const { counter } = order;
    return {
      get hits() {
        return counter.hits;
      },
      remove,
      [Symbol.dispose]: remove,
    };
  }

  clear(): void {
    this.set([]);
  }

  /** The fault that hits this command, if any; the first of several. */
  next(sqid: number, opcode: number, nsid: number): Fault | undefined {
    return this.orders.find((order) => order.hit(sqid, opcode, nsid))?.fault;
  }

  private set(orders: Order[]): void {
    this.orders = orders;
    this.active = orders.length > 0;
  }
}

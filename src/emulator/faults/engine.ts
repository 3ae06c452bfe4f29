/** The faults of one device that are in force, and what they do to it. */
import { show } from "../../core/check.js";
import { ConfigError } from "../../core/errors.js";
import type { DeviceVectors } from "../../vfio-user/server/emulated-device.js";
import { listOf } from "../../vfio-user/server/vectors.js";
import { FaultCounter, type FaultCounting, type InjectedFault } from "./counter.js";
import type { InterruptFault } from "./interrupts.js";
import type { DmaFault, DmaFaultSource } from "./memory.js";
import { type ParsedFault, parseDeviceFault } from "./options.js";
import { AccessOrder, type AccessRange, type BlockPlace, CONFIG, touches } from "./registers.js";

/** What happens by itself, or at an access: the device goes, or interrupts. */
type EventFault = Extract<ParsedFault, { kind: "remove" | "interrupt-unasked" | "interrupt-storm" }>;

interface Event {
  readonly fault: EventFault;
  readonly counter: FaultCounter;
  readonly range: AccessRange;
  /** Of a storm: when it ends, on the clock of performance.now(); undefined while there is none. */
  until: number | undefined;
  isStorming: boolean;
}

/** The client of the device, as far as faults reach it. */
export interface FaultyClient {
  /** Sends an interrupt that the device hasn't raised. */
  sendUnasked(vector: number): void;
  /** Lets the client go. */
  hangUp(): void;
}

interface Counted<F> {
  readonly fault: F;
  readonly counter: FaultCounter;
}

/** Not generic, and without what only users need: {@link DeviceFaults}. */
export class FaultEngine implements DmaFaultSource {
  epoch = 0;
  client: FaultyClient | undefined;
  /** Whether the device is unplugged. */
  isRemoved = false;
  /** Called when an unplugged device is plugged in again. */
  onReturn: () => void = () => undefined;
  private readonly accesses = new Set<AccessOrder>();
  private readonly events = new Set<Event>();
  private readonly interrupts = new Set<Counted<InterruptFault>>();
  private readonly transfers = new Set<Counted<DmaFault>>();
  /** Of the device, once it is known. */
  private vectors: DeviceVectors | undefined;

  constructor(private readonly place: BlockPlace) {}

  /** @throws ConfigError, ArgumentError, with nothing injected */
  inject(options: unknown): InjectedFault {
    const fault = parseDeviceFault(options);
    if (this.vectors !== undefined) checkFaultVector(fault, this.vectors);
    const counter = new FaultCounter(fault);
    const remove = this.add(fault, counter);
    this.epoch++;
    const end = (): void => {
      this.epoch++;
      remove();
    };
    return {
      get hits() {
        return counter.hits;
      },
      remove: end,
      [Symbol.dispose]: end,
    };
  }

  /** These faults are those of a device. @throws ConfigError if one of them names a vector that it lacks, with nothing changed */
  belongTo(vectors: DeviceVectors): void {
    for (const { fault } of [...this.interrupts, ...this.events]) checkFaultVector(fault, vectors);
    this.vectors = vectors;
  }

  clear(): void {
    this.epoch++;
    this.accesses.clear();
    this.interrupts.clear();
    this.transfers.clear();
    for (const event of [...this.events]) this.removeEvent(event);
    this.plugIn();
  }

  /** A driver's read of a BAR. @param read by the device */
  read(bar: number, offset: number, target: Uint8Array, read: () => void): void {
    this.accessed(bar, offset, target.length);
    if (this.isRemoved) {
      target.fill(0xff);
      return;
    }
    const hit = this.hits(bar, offset, target.length, false);
    if (!hit.some((order) => order.covers(offset, target.length))) read();
    for (const order of hit) order.change(bar, offset, target);
  }

  /** A driver's write to a BAR. @param write by the device */
  write(bar: number, offset: number, length: number, write: () => void): void {
    this.accessed(bar, offset, length);
    if (this.isRemoved) return;
    if (this.hits(bar, offset, length, true).length === 0) write();
  }

  /** Changes what a read of configuration space gets. */
  readConfig(offset: number, target: Uint8Array): void {
    if (this.isRemoved) target.fill(0xff);
    else
      for (const order of this.hits(CONFIG, offset, target.length, false))
        order.change(CONFIG, offset, target);
  }

  /** Whether configuration space reads all ones. */
  isGone(): boolean {
    const id = new Uint8Array(2);
    this.readConfig(0, id);
    return id.every((byte) => byte === 0xff);
  }

  /** The fault that hits an interrupt, if any. Counts it. */
  nextInterrupt(vector: number): InterruptFault | undefined {
    return next(this.interrupts, (fault) => fault.vector === undefined || fault.vector === vector);
  }

  nextDma(isWrite: boolean): DmaFault | undefined {
    const direction = isWrite ? "write" : "read";
    return next(this.transfers, (fault) => fault.direction === undefined || fault.direction === direction);
  }

  /** Goes on with the storms that have begun: a client has come. */
  storms(): void {
    for (const event of this.events) if (event.until !== undefined) this.storm(event);
  }

  /** @returns what ends the fault */
  private add(fault: ParsedFault, counter: FaultCounter): () => void {
    const { place } = this;
    switch (fault.kind) {
      case "all-ones":
      case "stuck":
      case "write-lost":
      case "wrong-value":
        return put(this.accesses, new AccessOrder(fault, counter, place.rangeOf(fault), place));
      case "config-garbage": {
        const range = { bar: CONFIG, start: fault.offset, end: fault.offset + fault.bytes };
        return put(this.accesses, new AccessOrder(fault, counter, range, place));
      }
      case "interrupt-lost":
      case "interrupt-latency":
        return put(this.interrupts, { fault, counter });
      case "dma-lost":
      case "dma-wrong-address":
        return put(this.transfers, { fault, counter });
      default: {
        const range = place.rangeOf(fault);
        const event = { fault, counter, range, until: undefined, isStorming: false };
        this.events.add(event);
        if (isImmediate(fault)) {
          counter.hit();
          this.happen(event);
        }
        return () => this.removeEvent(event);
      }
    }
  }

  private hits(bar: number, offset: number, length: number, isWrite: boolean): readonly AccessOrder[] {
    if (this.accesses.size === 0) return [];
    return [...this.accesses].filter((order) => order.hits(bar, offset, length, isWrite));
  }

  private accessed(bar: number, offset: number, length: number): void {
    if (this.events.size === 0 || this.isRemoved) return;
    for (const event of [...this.events]) {
      const { fault, range, counter } = event;
      if (!isImmediate(fault) && touches(range, bar, offset, length) && counter.hit()) this.happen(event);
    }
  }

  private happen(event: Event): void {
    const { fault } = event;
    switch (fault.kind) {
      case "remove":
        this.isRemoved = true;
        this.client?.hangUp();
        return;
      case "interrupt-unasked":
        this.client?.sendUnasked(fault.vector);
        return;
      case "interrupt-storm":
        event.until =
          fault.durationMs === 0 ? Number.POSITIVE_INFINITY : performance.now() + fault.durationMs;
        this.storm(event);
    }
  }

  /** One interrupt in each turn of the event loop, while there is a client. */
  private storm(event: Event): void {
    if (event.isStorming) return;
    event.isStorming = true;
    const again = (): void => {
      const { client } = this;
      if (event.until !== undefined && performance.now() >= event.until) event.until = undefined;
      if (event.until === undefined || client === undefined || this.isRemoved) {
        event.isStorming = false;
        return;
      }
      client.sendUnasked(event.fault.kind === "remove" ? 0 : event.fault.vector);
      // Not unref(): the event loop would sleep until something else happens.
      setImmediate(again);
    };
    again();
  }

  private removeEvent(event: Event): void {
    this.events.delete(event);
    event.until = undefined;
    if (event.fault.kind === "remove" && event.counter.hits > 0) this.plugIn();
  }

  private plugIn(): void {
    if (!this.isRemoved) return;
    this.isRemoved = false;
    this.onReturn();
    this.storms();
  }
}

/** @throws ConfigError */
function checkFaultVector(fault: ParsedFault, vectors: DeviceVectors): void {
  if (!("vector" in fault) || fault.vector === undefined) return;
  const { kind, vector } = fault;
  if (vector < Math.max(vectors.intx, vectors.msi, vectors.msix)) return;
  throw new ConfigError(`fault ${kind}: vector: the device has ${listOf(vectors)}, got ${show(vector)}`);
}

/** @returns what takes it out again */
function put<T>(set: Set<T>, item: T): () => void {
  set.add(item);
  return () => void set.delete(item);
}

function next<F>(faults: Iterable<Counted<F>>, matches: (fault: F) => boolean): F | undefined {
  for (const { fault, counter } of faults) if (matches(fault) && counter.hit()) return fault;
  return undefined;
}

/** Whether it happens by itself: the user names no access. */
function isImmediate({ where, bar, nth, every, probability }: EventFault & FaultCounting): boolean {
  return [where, bar, nth, every, probability].every((option) => option === undefined);
}

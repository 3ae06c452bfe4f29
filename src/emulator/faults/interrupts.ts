/** The interrupts of a device with faults: lost, late, unasked, or without end. */
import type { DeviceHost, DeviceVectors } from "../../vfio-user/server/emulated-device.js";
import { checkVector } from "../../vfio-user/server/vectors.js";
import type { ParsedFault } from "./options.js";

type InterruptKind = keyof DeviceVectors;
/** A fault of an interrupt that the device raises. */
export type InterruptFault = Extract<ParsedFault, { kind: "interrupt-lost" | "interrupt-latency" }>;

/** One interrupt that a device raises, perhaps in several ways in one turn: the driver has enabled one of them. */
interface Raised {
  readonly vector: number;
  readonly kinds: Set<InterruptKind>;
  readonly fault: InterruptFault | undefined;
}

/** Sends a device's interrupts to one client. */
export class FaultyInterrupts {
  private raised: Raised | undefined;
  private readonly timers = new Set<NodeJS.Timeout>();
  private isOver = false;

  constructor(
    private readonly host: DeviceHost,
    private readonly vectors: DeviceVectors,
    /** The fault that hits an interrupt, if any. Counts it. */
    private readonly next: (vector: number) => InterruptFault | undefined,
  ) {}

  /** The device raises an interrupt. @throws ArgumentError if it has none such, also where a fault would lose it */
  raise(vector: number, kind: InterruptKind): void {
    checkVector(this.vectors, vector, kind);
    const fault = this.faultOf(vector, kind);
    if (fault === undefined) this.send(vector, kind);
    else if (fault.kind === "interrupt-latency") {
      const timer = setTimeout(() => {
        this.timers.delete(timer);
        this.send(vector, kind);
      }, fault.latencyMs).unref();
      this.timers.add(timer);
    }
  }

  /** Sends an interrupt that the device hasn't raised, in each way that it has. */
  sendUnasked(vector: number): void {
    for (const kind of ["msix", "msi", "intx"] as const) {
      if (vector < this.vectors[kind]) this.send(vector, kind);
    }
  }

  /** The client is gone. */
  end(): void {
    this.isOver = true;
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
  }

  private send(vector: number, kind: InterruptKind): void {
    if (!this.isOver) this.host.raise(vector, kind);
  }

  private faultOf(vector: number, kind: InterruptKind): InterruptFault | undefined {
    if (this.raised?.vector === vector && !this.raised.kinds.has(kind)) {
      this.raised.kinds.add(kind);
      return this.raised.fault;
    }
    const raised = { vector, kinds: new Set([kind]), fault: this.next(vector) };
    this.raised = raised;
    queueMicrotask(() => {
      if (this.raised === raised) this.raised = undefined;
    });
    return raised.fault;
  }
}

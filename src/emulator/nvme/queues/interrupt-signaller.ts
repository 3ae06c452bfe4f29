/** Raises the interrupts of completion queues: one for each vector, after the delay that the host asked for. */
import type { DeviceHost } from "../../../vfio-user/server/emulated-device.js";
import type { EmulatedCq } from "./queues.js";

/** Interrupt coalescing, as the host has set it. */
export interface Coalescing {
  /** Whether interrupts of this vector are coalesced. */
  coalesces(vector: number): boolean;
  /** Completions that raise an interrupt at once. */
  readonly aggregationThreshold: number;
  /** How long a completion waits for others at most, in milliseconds. */
  readonly aggregationTimeMs: number;
}

/** Raises one interrupt for all completions of a vector, unless coalescing delays it. */
export class InterruptSignaller {
  /** The client whose interrupts these are. */
  host: DeviceHost | undefined;
  /** Completion queues with completions that no interrupt has announced yet. */
  private waiting: EmulatedCq[] = [];
  private readonly raised: Uint8Array;

  /**
   * @param vectors interrupt vectors, 1 if the device has only the pin
   * @param pin INTMS, which hosts with MSI-X must not touch: vectors have masks of their own
   */
  constructor(
    private readonly coalescing: Coalescing,
    vectors: number,
    private readonly pin: { readonly interruptMask: number },
    /** Interrupts of this vector and of later ones get lost. */
    private readonly workingVectors: number,
    /** Whether there is more than the pin. */
    private readonly hasVectors: boolean,
  ) {
    this.raised = new Uint8Array(vectors);
  }

  get isWaiting(): boolean {
    return this.waiting.length > 0;
  }

  /** A completion was posted to this queue. */
  posted(cq: EmulatedCq): void {
    if (!cq.interrupts || cq.unsignalled++ > 0) return;
    this.waiting.push(cq);
    if (this.coalescing.coalesces(cq.vector)) cq.unsignalledSince = performance.now();
  }

  /** Raises the interrupts that are due: one for each vector, however many queues use it. */
  signal(): void {
    const { host, raised, coalescing, pin } = this;
    const held: EmulatedCq[] = [];
    raised.fill(0);
    const isMasked = (pin.interruptMask & 1) !== 0;
    for (const cq of this.waiting) {
      const isHeld =
        isMasked ||
        (coalescing.coalesces(cq.vector) &&
          cq.unsignalled < coalescing.aggregationThreshold &&
          performance.now() - cq.unsignalledSince < coalescing.aggregationTimeMs);
      if (isHeld) {
        held.push(cq);
        continue;
      }
      cq.unsignalled = 0;
      if (raised[cq.vector] === 1) continue;
      raised[cq.vector] = 1;
      if (cq.vector >= this.workingVectors) continue;
      if (this.hasVectors) host?.raise(cq.vector);
      host?.raise(0, "intx");
    }
    this.waiting = held;
  }

  clear(): void {
    this.waiting = [];
  }

  /** Takes over queues that were loaded; their completions wait from now on. */
  load(cqs: readonly (EmulatedCq | undefined)[]): void {
    const loaded = cqs.filter((cq) => cq !== undefined);
    this.waiting = loaded.filter(({ interrupts, unsignalled }) => interrupts && unsignalled > 0);
    for (const cq of this.waiting) cq.unsignalledSince = performance.now();
  }
}

/** The host's memory as a device with faults reaches it. */
import type { ClientMemory, MemorySpan } from "../../vfio-user/server/emulated-device.js";
import type { ParsedFault } from "./options.js";

/** A fault of a transfer. */
export type DmaFault = Extract<ParsedFault, { kind: "dma-lost" | "dma-wrong-address" }>;

/** Which faults hit transfers. */
export interface DmaFaultSource {
  /** Raised by one whenever the faults in force change. */
  readonly epoch: number;
  /** The fault that hits a transfer, if any. Counts it. @param isWrite the device writes to memory */
  nextDma(isWrite: boolean): DmaFault | undefined;
}

/** A transfer whose fate is known: a device may look for memory before it copies. */
interface Decision {
  readonly iova: number;
  readonly lengthBytes: number;
  readonly isWrite: boolean;
  readonly fault: DmaFault | undefined;
}

/** The client's memory with faults. */
export class FaultyMemory implements ClientMemory {
  private decision: Decision | undefined;

  constructor(
    private readonly memory: ClientMemory,
    private readonly faults: DmaFaultSource,
  ) {}

  get generation(): number {
    return this.memory.generation + this.faults.epoch;
  }

  find(address: number | bigint, lengthBytes: number, write: boolean, span: MemorySpan): boolean {
    const iova = Number(address);
    const fault = this.decide(iova, lengthBytes, write);
    if (fault?.kind === "dma-lost") {
      const nowhere = new SharedArrayBuffer(4 * Math.ceil(lengthBytes / 4));
      span.bytes = new Uint8Array(nowhere);
      span.words = new Uint32Array(nowhere);
      span.offset = 0;
    } else if (!this.memory.find(iova + deltaOf(fault), lengthBytes, write, span)) return false;
    this.decision = undefined;
    return true;
  }

  canCopy(address: number | bigint, lengthBytes: number, write: boolean): boolean {
    const iova = Number(address);
    const fault = this.decide(iova, lengthBytes, write);
    return fault?.kind === "dma-lost" || this.memory.canCopy(iova + deltaOf(fault), lengthBytes, write);
  }

  copyFrom(address: number | bigint, target: Uint8Array): boolean {
    const iova = Number(address);
    const fault = this.decide(iova, target.length, false);
    if (fault?.kind === "dma-lost") target.fill(0);
    else if (!this.memory.copyFrom(iova + deltaOf(fault), target)) return false;
    this.decision = undefined;
    return true;
  }

  copyTo(address: number | bigint, source: Uint8Array): boolean {
    const iova = Number(address);
    const fault = this.decide(iova, source.length, true);
    const done = fault?.kind === "dma-lost" || this.memory.copyTo(iova + deltaOf(fault), source);
    if (done) this.decision = undefined;
    return done;
  }

  async read(address: number | bigint, target: Uint8Array): Promise<void> {
    const iova = Number(address);
    const fault = this.decide(iova, target.length, false);
    this.decision = undefined;
    if (fault?.kind === "dma-lost") target.fill(0);
    else await this.memory.read(iova + deltaOf(fault), target);
  }

  async write(address: number | bigint, source: Uint8Array): Promise<void> {
    const iova = Number(address);
    const fault = this.decide(iova, source.length, true);
    this.decision = undefined;
    if (fault?.kind !== "dma-lost") await this.memory.write(iova + deltaOf(fault), source);
  }

  private decide(iova: number, lengthBytes: number, isWrite: boolean): DmaFault | undefined {
    const { decision } = this;
    const isSame =
      decision?.iova === iova && decision.lengthBytes === lengthBytes && decision.isWrite === isWrite;
    if (decision !== undefined && isSame) return decision.fault;
    const fault = this.faults.nextDma(isWrite);
    this.decision = { iova, lengthBytes, isWrite, fault };
    return fault;
  }
}

function deltaOf(fault: DmaFault | undefined): number {
  return fault?.kind === "dma-wrong-address" ? fault.deltaBytes : 0;
}

/** Drives QEMU's edu device: registers and DMA. */
import { setTimeout } from "node:timers/promises";
import type { DeviceIo } from "../../src/doors/vfio.js";
import { Bar, ConfigSpace } from "../../src/index.js";

/** Registers of QEMU's educational device (docs/specs/edu.txt in QEMU's source). */
export const EduRegister = {
  identification: 0x00,
  /** Reads the complement of what was written last. */
  liveness: 0x04,
  interruptStatus: 0x24,
  interruptRaise: 0x60,
  interruptAcknowledge: 0x64,
  dmaSource: 0x80,
  dmaDestination: 0x88,
  dmaCount: 0x90,
  dmaCommand: 0x98,
} as const;

/** Major and minor version in the upper half, then "ed" as hexadecimal digits. */
export const EDU_IDENTIFICATION = 0x010000ed;
/** Bit in the interrupt status at the end of a DMA. */
export const EDU_DMA_INTERRUPT = 0x100;
/** Longest transfer. The device's range check rejects the buffer's last byte, and a failed check would end QEMU. */
export const EDU_MAX_TRANSFER = 4095;

const INTERNAL_BUFFER = 0x40000;
const DMA_START = 1 << 0;
const DMA_TO_MEMORY = 1 << 1;
const DMA_INTERRUPT = 1 << 2;

/** Time limit: a transfer takes the device a tenth of a second. */
const GIVE_UP_MS = 600_000;

/** A small driver beside NVMe. The device reaches 28 bits of I/O virtual addresses. */
export class Edu {
  readonly registers: Bar;

  constructor(io: DeviceIo) {
    this.registers = new Bar(io, 0);
    new ConfigSpace(io).busMaster = true;
  }

  /** The device reads memory at `iova` into its own. */
  async load(iova: bigint, sizeBytes: number, offset = 0): Promise<void> {
    this.startLoad(iova, sizeBytes, offset);
    await this.idle();
  }

  /** The device writes its own memory to `iova`. */
  async store(iova: bigint, sizeBytes: number, offset = 0): Promise<void> {
    this.startStore(iova, sizeBytes, offset);
    await this.idle();
  }

  /** As {@link load}, without waiting. @param interrupt whether the device raises one at the end */
  startLoad(iova: bigint, sizeBytes: number, offset = 0, interrupt = false): void {
    this.start(iova, BigInt(INTERNAL_BUFFER + offset), sizeBytes, interrupt ? DMA_INTERRUPT : 0);
  }

  /** As {@link store}, without waiting. */
  startStore(iova: bigint, sizeBytes: number, offset = 0, interrupt = false): void {
    const flags = DMA_TO_MEMORY | (interrupt ? DMA_INTERRUPT : 0);
    this.start(BigInt(INTERNAL_BUFFER + offset), iova, sizeBytes, flags);
  }

  get busy(): boolean {
    return (this.registers.read32(EduRegister.dmaCommand) & DMA_START) !== 0;
  }

  get interruptStatus(): number {
    return this.registers.read32(EduRegister.interruptStatus);
  }

  /** Sets these bits of the interrupt status and interrupts. */
  raise(bits: number): void {
    this.registers.write32(EduRegister.interruptRaise, bits);
  }

  acknowledge(bits = this.interruptStatus): void {
    this.registers.write32(EduRegister.interruptAcknowledge, bits);
  }

  private start(source: bigint, destination: bigint, sizeBytes: number, flags: number): void {
    if (sizeBytes > EDU_MAX_TRANSFER) throw new Error(`edu moves ${EDU_MAX_TRANSFER} bytes at most`);
    this.registers.write64(EduRegister.dmaSource, source);
    this.registers.write64(EduRegister.dmaDestination, destination);
    this.registers.write32(EduRegister.dmaCount, sizeBytes);
    this.registers.write32(EduRegister.dmaCommand, DMA_START | flags);
  }

  private async idle(): Promise<void> {
    for (let waited = 0; this.busy; waited++) {
      if (waited > GIVE_UP_MS) throw new Error("edu's DMA does not end");
      await setTimeout(1);
    }
  }
}

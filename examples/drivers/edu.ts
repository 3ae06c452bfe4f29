/**
 * A driver for edu, QEMU's device for teaching: `node dist/examples/drivers/edu.js BDF`, or `vfio-user:PATH` for the device of
 * `iova emulate edu`.
 */
import { pathToFileURL } from "node:url";
import { type DmaBuffer, type Interrupts, PciDevice } from "iova";
import { bit, bits, type RegistersOf, reg32, reg64, registerBlock } from "iova/pci";

/** As QEMU's docs/specs/edu.rst lists them. */
const eduRegisters = registerBlock("edu", {
  identification: reg32(0x00, { access: "ro", fields: { major: bits(31, 24), minor: bits(23, 16) } }),
  liveness: reg32(0x04),
  factorial: reg32(0x08),
  status: reg32(0x20, { fields: { computing: bit(0, { access: "ro" }), interrupt: bit(7) } }),
  interruptStatus: reg32(0x24, { access: "ro", fields: { factorial: bit(0), dma: bit(8) } }),
  interruptAcknowledge: reg32(0x64, { access: "wo" }),
  dmaSource: reg64(0x80, { order: "whole" }),
  dmaDestination: reg64(0x88, { order: "whole" }),
  dmaCount: reg64(0x90, { order: "whole" }),
  dmaCommand: reg64(0x98, {
    order: "whole",
    fields: { start: bit(0), toMemory: bit(1), interrupt: bit(2) },
  }),
});

/** The device's own memory, as its DMA engine addresses it. */
const INTERNAL = 0x40000n;
/** QEMU's device refuses a transfer that reaches the last byte of its 4096. */
const MOST_BYTES = 4095;

/** Options of {@link Edu}. */
export interface EduDriverOptions {
  /** How long the device may take for one request, in milliseconds. 10,000 by default. */
  readonly timeoutMs?: number;
}

/** Drives an edu device. One call at a time. */
export class Edu implements Disposable {
  private readonly regs: RegistersOf<typeof eduRegisters.registers>;
  private readonly interrupts: Interrupts;
  /** Its DMA engine has 28 address bits. */
  private readonly buffer: DmaBuffer;
  private readonly timeoutMs: number;

  constructor(device: PciDevice, { timeoutMs = 10_000 }: EduDriverOptions = {}) {
    const { vendorId, deviceId } = device.function;
    if (vendorId !== 0x1234 || deviceId !== 0x11e8) throw new Error(`${device.bdf} is no edu device`);
    this.timeoutMs = timeoutMs;
    this.regs = eduRegisters.on(device.bar(0));
    device.config.busMaster = true;
    this.interrupts = device.enableInterrupts({ count: 1 });
    try {
      this.buffer = device.dma.alloc(MOST_BYTES, { addressBits: 28 });
    } catch (error) {
      this.interrupts.close();
      throw error;
    }
  }

  /** Major and minor version, such as "1.0". */
  get version(): string {
    const { major, minor } = this.regs.identification.decode();
    return `${major}.${minor}`;
  }

  /** Whether the device complements a value, as it does while it lives. */
  isAlive(): boolean {
    this.regs.liveness.write(0x1234_5678);
    return this.regs.liveness.read() === ~0x1234_5678 >>> 0;
  }

  /** `n!` modulo 2^32. */
  async factorial(n: number): Promise<number> {
    this.regs.status.modify({ interrupt: true });
    this.regs.factorial.write(n);
    await this.interrupt("factorial");
    return this.regs.factorial.read();
  }

  /** Copies bytes into the device's memory. */
  async write(offset: number, bytes: Uint8Array): Promise<void> {
    this.check(offset, bytes.length);
    this.buffer.write(bytes);
    await this.copy(this.buffer.iova, INTERNAL + BigInt(offset), bytes.length, false);
  }

  /** Copies bytes out of the device's memory. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    this.check(offset, length);
    await this.copy(INTERNAL + BigInt(offset), this.buffer.iova, length, true);
    return this.buffer.bytes.slice(0, length);
  }

  /** Frees its interrupts and memory. The device stays open. */
  [Symbol.dispose](): void {
    this.interrupts.close();
    this.buffer.close();
  }

  /** QEMU ends itself at a transfer beyond the device's memory. */
  private check(offset: number, length: number): void {
    if (Number.isInteger(offset) && offset >= 0 && length > 0 && offset + length <= MOST_BYTES) return;
    throw new RangeError(`edu copies 1 to ${MOST_BYTES} bytes of its memory, got ${length} at ${offset}`);
  }

  private async copy(source: bigint, destination: bigint, length: number, toMemory: boolean): Promise<void> {
    this.regs.dmaSource.write(source);
    this.regs.dmaDestination.write(destination);
    this.regs.dmaCount.write(BigInt(length));
    this.regs.dmaCommand.write({ start: true, toMemory, interrupt: true });
    await this.interrupt("dma");
  }

  private async interrupt(kind: "factorial" | "dma"): Promise<void> {
    const { timeoutMs } = this;
    const wake = (again: () => void) => this.interrupts.watch(0, again);
    const status = await this.regs.interruptStatus.until({ [kind]: true }, { timeoutMs, wake });
    this.regs.interruptAcknowledge.write(status);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  using device = PciDevice.open(process.argv[2] ?? "");
  using edu = new Edu(device);
  const state = edu.isAlive() ? "alive" : "dead";
  console.log(`edu ${edu.version} is ${state} and says that 10! is ${await edu.factorial(10)}`);
  await edu.write(0, Buffer.from("hello"));
  console.log("its memory holds", Buffer.from(await edu.read(0, 5)).toString());
}

/** The driver of template. It takes an open PciDevice, and doesn't know whether that is hardware or the model. */
import type { DmaBuffer, Interrupts, PciDevice } from "iova";
import type { RegistersOf } from "iova/pci";
import { DEVICE_ID, registers, VENDOR_ID } from "./registers.js";

const BUFFER_BYTES = 4096;

/** Drives a template. One call at a time. */
export class TemplateDriver implements Disposable {
  private readonly regs: RegistersOf<typeof registers.registers>;
  private readonly interrupts: Interrupts;
  private readonly buffer: DmaBuffer;

  /** @param timeoutMs limit of a call, in milliseconds */
  constructor(
    private readonly device: PciDevice,
    private readonly timeoutMs = 10_000,
  ) {
    const { vendorId, deviceId } = device.function;
    if (vendorId !== VENDOR_ID || deviceId !== DEVICE_ID) throw new Error(`${device.bdf} is no template`);
    this.regs = registers.on(device.bar(0));
    // Without it the device can neither reach memory nor interrupt.
    device.config.busMaster = true;
    this.interrupts = device.enableInterrupts({ count: 1 });
    try {
      this.buffer = device.dma.alloc(BUFFER_BYTES);
    } catch (error) {
      this.interrupts.close();
      throw error;
    }
  }

  /** Such as "1.2". */
  get version(): string {
    const { major, minor } = this.regs.version.decode();
    return `${major}.${minor}`;
  }

  /** Has the device add up bytes, at most 4096. */
  async sum(bytes: Uint8Array): Promise<number> {
    const { regs, buffer, timeoutMs } = this;
    if (bytes.length > BUFFER_BYTES)
      throw new RangeError(`at most ${BUFFER_BYTES} bytes, got ${bytes.length}`);
    buffer.bytes.set(bytes);
    regs.address.write(buffer.iova);
    regs.length.write(bytes.length);
    regs.start.write(1);
    // Reads the status at each interrupt.
    const wake = (again: () => void) => this.interrupts.watch(0, again);
    const status = await regs.status.until({ done: true }, { timeoutMs, wake });
    regs.status.write(status);
    if (regs.status.fields.failed.of(status)) throw new Error("template can't read the memory");
    return regs.sum.read();
  }

  /** Stops the device before its buffer goes. The PciDevice stays open. */
  [Symbol.dispose](): void {
    // Allowed on a device that has gone, too.
    this.device.config.busMaster = false;
    this.interrupts.close();
    this.buffer.close();
  }
}

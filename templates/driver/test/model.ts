/** A model of template: what the device does, in software, so that the driver can be tested without it. */
import {
  DeviceFaults,
  type DeviceHost,
  DeviceRegisters,
  type EmulatedBar,
  type EmulatedDevice,
  initialConfigSpace,
} from "iova/emulator";
import { DEVICE_ID, registers, VENDOR_ID } from "../src/registers.js";

const BAR_BYTES = 4096;
const MAX_LENGTH = 4096;

export default class TemplateModel implements EmulatedDevice {
  readonly name = "template";
  readonly configSpace = initialConfigSpace({ vendorId: VENDOR_ID, deviceId: DEVICE_ID, hasPin: false });
  readonly vectors = { intx: 0, msi: 1, msix: 0 };
  /** Lets tests order faults. */
  readonly faults = new DeviceFaults(registers);
  /** What the device does beyond holding values: by register. */
  private readonly regs = new DeviceRegisters(registers, {
    start: {
      write: (value) => {
        if (value === 1) void this.addUp();
      },
    },
  });
  readonly bars: readonly EmulatedBar[] = [
    {
      sizeBytes: BAR_BYTES,
      read: (offset, target) => this.regs.read(offset, target),
      write: (offset, source) => this.regs.write(offset, source),
    },
  ];
  private host: DeviceHost | undefined;
  /** Changes when work under way has become void. */
  private generation = 0;

  connect(host: DeviceHost): void {
    this.host = host;
  }

  disconnect(): void {
    this.host = undefined;
    this.generation++;
  }

  reset(): void {
    this.regs.reset();
    this.generation++;
  }

  close(): void {}

  private async addUp(): Promise<void> {
    const { host, generation } = this;
    const { address, length, sum, status } = this.regs.state;
    const bytes = await read(host, address.value, length.value);
    if (generation !== this.generation) return;
    sum.value = bytes?.reduce((total, byte) => total + byte, 0) ?? 0;
    status.set({ done: true, failed: bytes === undefined });
    host?.raise(0, "msi");
  }
}

/** @returns undefined if the driver hasn't mapped the memory, or the device isn't bus master */
async function read(
  host: DeviceHost | undefined,
  iova: bigint,
  length: number,
): Promise<Uint8Array | undefined> {
  if (host === undefined || length > MAX_LENGTH) return undefined;
  const bytes = new Uint8Array(length);
  try {
    await host.memory.read(iova, bytes);
    return bytes;
  } catch {
    return undefined;
  }
}

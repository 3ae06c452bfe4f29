/** The first DMA of QEMU's educational device (docs/specs/edu.rst there), which hardly needs a driver. */
import { setTimeout } from "node:timers/promises";
import { StateError, TimeoutError } from "../../core/errors.js";
import { ConfigSpace } from "../../pci/config-space.js";
import { PciDevice } from "../../pci/device.js";
import type { PciFunction } from "../../pci/sysfs.js";
import type { ComparedBackend } from "./report.js";

const EDU_VENDOR = 0x1234;
const EDU_DEVICE = 0x11e8;
/** The device ignores higher bits of addresses. */
const ADDRESS_BITS = 28;

const Register = { dmaSource: 0x80, dmaDestination: 0x88, dmaCount: 0x90, dmaCommand: 0x98 } as const;
/** The device's own memory, which its DMA copies from and to. */
const INTERNAL_BUFFER = 0x40000n;
const DMA_START = 1 << 0;
const DMA_TO_MEMORY = 1 << 1;
const TRANSFER_BYTES = 64;

/** Far more than the device's delay of 100 ms before every transfer. */
const GIVE_UP_MS = 30_000;

export function isEdu({ vendorId, deviceId }: PciFunction): boolean {
  return vendorId === EDU_VENDOR && deviceId === EDU_DEVICE;
}

/**
 * The time from opening the device until it has written to memory.
 * @returns nanoseconds, of which 100 ms are the device's own delay
 * @throws IovaError if the DMA isn't possible
 */
export async function timeEduDma(backend: ComparedBackend, bdf: string): Promise<number> {
  const start = process.hrtime.bigint();
  using device = PciDevice.open(bdf, { backend });
  using buffer = device.dma.alloc(TRANSFER_BYTES, { addressBits: ADDRESS_BITS });
  // The device's own memory holds zeros after a reset.
  buffer.bytes.fill(0xff);
  new ConfigSpace(device.io).busMaster = true;
  const registers = device.bar(0);
  registers.write64(Register.dmaSource, INTERNAL_BUFFER);
  registers.write64(Register.dmaDestination, buffer.iova);
  registers.write32(Register.dmaCount, TRANSFER_BYTES);
  registers.write32(Register.dmaCommand, DMA_START | DMA_TO_MEMORY);
  for (const end = performance.now() + GIVE_UP_MS; registers.read32(Register.dmaCommand) & DMA_START; ) {
    if (performance.now() > end) throw new TimeoutError(`the DMA of ${bdf}`, GIVE_UP_MS);
    await setTimeout(1);
  }
  const took = Number(process.hrtime.bigint() - start);
  if (buffer.bytes.every((byte) => byte === 0xff)) {
    throw new StateError(`${bdf} reports the end of its DMA, but wrote nothing`);
  }
  return took;
}

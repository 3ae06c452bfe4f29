/** The first DMA of QEMU's educational device (docs/specs/edu.rst there): the one that needs no driver to speak of. */
import { setTimeout } from "node:timers/promises";
import { StateError, TimeoutError } from "../../core/errors.js";
import { ConfigSpace } from "../../pci/config-space.js";
import { PciDevice } from "../../pci/device.js";
import type { PciFunction } from "../../pci/sysfs.js";
import type { ComparedBackend } from "./report.js";

const EDU_VENDOR = 0x1234;
const EDU_DEVICE = 0x11e8;
/** It drops the upper bits of addresses beyond these. */
const ADDRESS_BITS = 28;

const Register = { dmaSource: 0x80, dmaDestination: 0x88, dmaCount: 0x90, dmaCommand: 0x98 } as const;
/** The memory of its own that it copies from and to. */
const INTERNAL_BUFFER = 0x40000n;
const DMA_START = 1 << 0;
const DMA_TO_MEMORY = 1 << 1;
const TRANSFER_BYTES = 64;

/** It waits a tenth of a second before every transfer. */
const GIVE_UP_MS = 30_000;

export function isEdu({ vendorId, deviceId }: PciFunction): boolean {
  return vendorId === EDU_VENDOR && deviceId === EDU_DEVICE;
}

/**
 * From nothing until the device has written to memory.
 * @returns nanoseconds, of which 100 ms are the device's own delay
 * @throws IovaError: what stands in the way
 */
export async function timeEduDma(backend: ComparedBackend, bdf: string): Promise<number> {
  const start = process.hrtime.bigint();
  using device = PciDevice.open(bdf, { backend });
  using buffer = device.dma.alloc(TRANSFER_BYTES, { addressBits: ADDRESS_BITS });
  // After a reset its own memory holds zeros.
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
    throw new StateError(`${bdf} says that its DMA has ended, and nothing was written`);
  }
  return took;
}

/** A virtio device on PCI (Virtual I/O Device 1.2, section 4.1): its structures, features and queues. */
import type { Interrupts, PciDevice } from "iova";
import { bit, type RegistersOf, reg8, reg16, reg32, reg64, registerBlock } from "iova/pci";
import { VirtioError } from "./error.js";
import { SplitQueue } from "./split-queue.js";

const VENDOR_ID = 0x1af4;
/** Device ids of virtio 1 are this plus the type of the device. */
const FIRST_DEVICE_ID = 0x1040;
/** Vendor-specific capability (PCI); its bytes are those of section 4.1.4. */
const VENDOR_CAPABILITY = 0x09;
const NO_VECTOR = 0xffff;
const TIMEOUT_MS = 10_000;
const MOST_SLOTS = 256;

/** Section 4.1.4.3. */
const commonRegisters = registerBlock("common configuration", {
  deviceFeatureSelect: reg32(0x00),
  deviceFeature: reg32(0x04, { access: "ro" }),
  driverFeatureSelect: reg32(0x08),
  driverFeature: reg32(0x0c),
  configVector: reg16(0x10),
  queues: reg16(0x12, { access: "ro" }),
  status: reg8(0x14, {
    fields: {
      acknowledge: bit(0),
      driver: bit(1),
      driverOk: bit(2),
      featuresOk: bit(3),
      needsReset: bit(6),
      failed: bit(7),
    },
  }),
  generation: reg8(0x15, { access: "ro" }),
  queueSelect: reg16(0x16),
  queueSize: reg16(0x18),
  queueVector: reg16(0x1a),
  queueEnable: reg16(0x1c),
  queueNotifyOffset: reg16(0x1e, { access: "ro" }),
  queueDescriptors: reg64(0x20),
  queueDriver: reg64(0x28),
  queueDevice: reg64(0x30),
});

/** Features of every virtio device (section 6). */
export const Feature = {
  indirectDescriptors: 1n << 28n,
  eventIndex: 1n << 29n,
  version1: 1n << 32n,
  accessPlatform: 1n << 33n,
} as const;

/** Where a structure lies. */
interface Structure {
  readonly bar: number;
  readonly offset: number;
  readonly sizeBytes: number;
  /** Offset of its capability in configuration space. */
  readonly capability: number;
}

/** Types of structures. */
const Kind = { common: 1, notify: 2, device: 4 } as const;

/** A virtio device on PCI. A driver negotiates features, makes queues, and starts it. */
export class VirtioTransport {
  /** What both sides have agreed on. */
  features = 0n;
  private readonly common: RegistersOf<typeof commonRegisters.registers>;
  private readonly structures: ReadonlyMap<number, Structure>;
  private readonly queues: SplitQueue[] = [];
  private interrupts: Interrupts | undefined;

  /** @throws VirtioError if it is no virtio 1 device of this type */
  constructor(
    readonly device: PciDevice,
    type: number,
  ) {
    const { vendorId, deviceId } = device.function;
    if (vendorId !== VENDOR_ID || deviceId !== FIRST_DEVICE_ID + type) {
      const id = `${vendorId.toString(16)}:${deviceId.toString(16)}`;
      throw new VirtioError(
        `${device.bdf} is ${id}: this driver takes ${VENDOR_ID.toString(16)}:${(FIRST_DEVICE_ID + type).toString(16)}`,
      );
    }
    this.structures = findStructures(device);
    const { bar, offset } = this.structure(Kind.common);
    this.common = commonRegisters.on(device.bar(bar), offset);
  }

  /**
   * Resets the device, and agrees on features: of the wanted ones, those that it offers.
   * @param interruptCount queues that interrupt
   * @throws VirtioError if the device refuses; as PciDevice's methods
   */
  async begin(wanted: bigint, interruptCount: number): Promise<void> {
    await this.reset();
    this.device.config.busMaster = true;
    const { common } = this;
    common.status.write({ acknowledge: true });
    common.status.write({ acknowledge: true, driver: true });
    const offered = this.offered();
    if ((offered & Feature.version1) === 0n)
      throw new VirtioError(`${this.device.bdf} is older than virtio 1`);
    this.features = offered & (wanted | Feature.version1 | Feature.accessPlatform);
    for (const half of [0, 1]) {
      common.driverFeatureSelect.write(half);
      common.driverFeature.write(Number((this.features >> BigInt(32 * half)) & 0xffff_ffffn));
    }
    common.status.write({ acknowledge: true, driver: true, featuresOk: true });
    if (!common.status.get("featuresOk"))
      throw new VirtioError(`${this.device.bdf} refuses the features ${this.features.toString(16)}`);
    this.interrupts = this.device.enableInterrupts({ kind: "msix", count: interruptCount });
  }

  /** Whether a feature was agreed on. */
  has(feature: bigint): boolean {
    return (this.features & feature) !== 0n;
  }

  /** Makes a queue. @param vector that it interrupts at @throws VirtioError if the device has no such queue */
  addQueue(index: number, vector: number): SplitQueue {
    const { common, device } = this;
    if (index >= common.queues.read()) throw new VirtioError(`${device.bdf} has no queue ${index}`);
    common.queueSelect.write(index);
    const slots = Math.min(common.queueSize.read(), MOST_SLOTS);
    if (slots === 0 || (slots & (slots - 1)) !== 0)
      throw new VirtioError(`queue ${index} of ${device.bdf} has ${slots} slots: it needs a power of two`);
    common.queueSize.write(slots);
    common.queueVector.write(vector);
    if (common.queueVector.read() === NO_VECTOR)
      throw new VirtioError(`${device.bdf} has no vector ${vector} for queue ${index}`);
    const notify = this.structure(Kind.notify);
    const multiplier = device.config.read32(notify.capability + 16);
    const at = notify.offset + common.queueNotifyOffset.read() * multiplier;
    const bar = device.bar(notify.bar);
    const queue = new SplitQueue(device.dma, slots, this.has(Feature.eventIndex), () =>
      bar.write16(at, index),
    );
    this.queues.push(queue);
    common.queueDescriptors.write(queue.descriptorsAt);
    common.queueDriver.write(queue.availableAt);
    common.queueDevice.write(queue.usedAt);
    common.queueEnable.write(1);
    this.interrupts?.watch(vector, () => this.look(queue));
    return queue;
  }

  /** From now on the device works. */
  start(): void {
    this.common.status.modify({ driverOk: true });
  }

  /** The device's own configuration, read until it didn't change meanwhile. @throws VirtioError, if it always changes */
  readConfig(sizeBytes: number): DataView {
    const { bar, offset, sizeBytes: most } = this.structure(Kind.device);
    const registers = this.device.bar(bar);
    const bytes = new Uint8Array(sizeBytes);
    for (let attempt = 0; attempt < 100; attempt++) {
      const before = this.common.generation.read();
      for (let i = 0; i < Math.min(sizeBytes, most); i++) bytes[i] = registers.read8(offset + i);
      if (this.common.generation.read() === before) return new DataView(bytes.buffer);
    }
    throw new VirtioError(`${this.device.bdf} changes its configuration all the time`);
  }

  /** Stops the device, and ends what was asked of it by an error. @throws as a rejection: TimeoutError */
  async reset(reason = "the device was reset"): Promise<void> {
    this.common.status.write(0);
    await this.common.status.until((status) => status === 0, { timeoutMs: TIMEOUT_MS });
    for (const queue of this.queues.splice(0)) queue.end(new VirtioError(`${this.device.bdf}: ${reason}`));
    this.interrupts?.close();
    this.interrupts = undefined;
  }

  private look(queue: SplitQueue): void {
    try {
      queue.reap();
    } catch (error) {
      // Nothing that it says counts any more. The memory stays until it has stopped.
      queue.fail(error);
    }
  }

  private offered(): bigint {
    let features = 0n;
    for (const half of [0, 1]) {
      this.common.deviceFeatureSelect.write(half);
      features |= BigInt(this.common.deviceFeature.read()) << BigInt(32 * half);
    }
    return features;
  }

  private structure(kind: number): Structure {
    const found = this.structures.get(kind);
    if (found === undefined) throw new VirtioError(`${this.device.bdf} has no structure of type ${kind}`);
    return found;
  }
}

/** The first structure of each type whose BAR exists: a driver ignores the others (section 4.1.4.1). */
function findStructures(device: PciDevice): Map<number, Structure> {
  const found = new Map<number, Structure>();
  const { config } = device;
  for (const { id, offset: capability } of config.capabilities()) {
    if (id !== VENDOR_CAPABILITY) continue;
    const kind = config.read8(capability + 3);
    const bar = config.read8(capability + 4);
    if (bar > 5 || found.has(kind)) continue;
    const offset = config.read32(capability + 8);
    const sizeBytes = config.read32(capability + 12);
    found.set(kind, { bar, offset, sizeBytes, capability });
  }
  return found;
}

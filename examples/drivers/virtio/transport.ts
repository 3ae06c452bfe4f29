/** A virtio device on PCI (Virtual I/O Device 1.2, section 4.1): its structures, features and queues. */
import { DeviceGoneError, type Interrupts, type PciDevice } from "iova";
import { bit, type RegistersOf, reg8, reg16, reg32, reg64, registerBlock } from "iova/pci";
import { VirtioError } from "./error.js";
import { PackedRing } from "./packed-ring.js";
import { SplitRing } from "./split-ring.js";
import { Virtqueue } from "./virtqueue.js";

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
  packedRing: 1n << 34n,
} as const;

/** Options of a driver's start that are the same for all devices. */
export interface VirtioOptions {
  /** Uses packed rings where the device has them; false by default, as older devices have split ones only. */
  readonly packed?: boolean | undefined;
  /** Uses tables of descriptors where the device takes them; true by default. */
  readonly indirect?: boolean | undefined;
}

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
  private readonly queues: Virtqueue[] = [];
  private interrupts: Interrupts | undefined;
  /** Ends the look at the device's signal. */
  private forget = (): void => {};
  /** What to do at an interrupt, by its vector. */
  private listeners: (() => void)[][] = [];

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
   * @throws VirtioError if the device refuses; as PciDevice's methods
   */
  async begin(wanted: bigint, { packed = false, indirect = true }: VirtioOptions = {}): Promise<void> {
    await this.reset();
    this.device.config.busMaster = true;
    const { common } = this;
    common.status.write({ acknowledge: true });
    common.status.write({ acknowledge: true, driver: true });
    const offered = this.offered();
    if ((offered & Feature.version1) === 0n)
      throw new VirtioError(`${this.device.bdf} is older than virtio 1`);
    const always = Feature.version1 | Feature.accessPlatform | Feature.eventIndex;
    const chosen = (packed ? Feature.packedRing : 0n) | (indirect ? Feature.indirectDescriptors : 0n);
    this.features = offered & (wanted | always | chosen);
    for (const half of [0, 1]) {
      common.driverFeatureSelect.write(half);
      common.driverFeature.write(Number((this.features >> BigInt(32 * half)) & 0xffff_ffffn));
    }
    common.status.write({ acknowledge: true, driver: true, featuresOk: true });
    if (!common.status.get("featuresOk"))
      throw new VirtioError(`${this.device.bdf} refuses the features ${this.features.toString(16)}`);
  }

  /** Whether a feature was agreed on. */
  has(feature: bigint): boolean {
    return (this.features & feature) !== 0n;
  }

  /**
   * Switches interrupts on: one for changes of the configuration, and one for each queue, as far as the device has as many.
   * @param onConfigChange called when the device's own configuration has changed
   */
  enableInterrupts(queues: number, onConfigChange: () => void): void {
    const interrupts = this.device.enableInterrupts({ kind: "msix", count: queues + 1 });
    this.interrupts = interrupts;
    this.listeners = interrupts.vectors.map(() => []);
    for (const [vector, listeners] of this.listeners.entries())
      interrupts.watch(vector, () => {
        for (const listener of listeners) listener();
      });
    const { common } = this;
    common.configVector.write(0);
    if (common.configVector.read() === NO_VECTOR)
      throw new VirtioError(`${this.device.bdf} has no vector 0 for its configuration`);
    this.listeners[0]?.push(() => this.lookAtConfig(onConfigChange));
    const { signal } = this.device;
    const gone = (): void => {
      for (const queue of this.queues) queue.fail(signal.reason);
    };
    signal.addEventListener("abort", gone);
    this.forget = () => signal.removeEventListener("abort", gone);
  }

  /**
   * Makes a queue.
   * @param order the number of its interrupt among the queues'; they share the last one if the device has too few
   * @throws VirtioError if the device has no such queue
   */
  addQueue(index: number, order = index): Virtqueue {
    const { common, device, listeners } = this;
    if (index >= common.queues.read()) throw new VirtioError(`${device.bdf} has no queue ${index}`);
    common.queueSelect.write(index);
    const slots = Math.min(common.queueSize.read(), MOST_SLOTS);
    const isPacked = this.has(Feature.packedRing);
    if (slots === 0 || (!isPacked && (slots & (slots - 1)) !== 0))
      throw new VirtioError(`queue ${index} of ${device.bdf} has ${slots} slots: it needs a power of two`);
    common.queueSize.write(slots);
    const vector = Math.min(order + 1, listeners.length - 1);
    common.queueVector.write(vector);
    if (common.queueVector.read() === NO_VECTOR)
      throw new VirtioError(`${device.bdf} has no vector ${vector} for queue ${index}`);
    const notify = this.structure(Kind.notify);
    const multiplier = device.config.read32(notify.capability + 16);
    const at = notify.offset + common.queueNotifyOffset.read() * multiplier;
    const bar = device.bar(notify.bar);
    const hasEventIndex = this.has(Feature.eventIndex);
    const ring = isPacked
      ? new PackedRing(device.dma, slots, hasEventIndex)
      : new SplitRing(device.dma, slots, hasEventIndex);
    const takesTables = this.has(Feature.indirectDescriptors);
    const queue = new Virtqueue(device.dma, ring, takesTables, () => bar.write16(at, index));
    this.queues.push(queue);
    common.queueDescriptors.write(ring.memory.descriptorsAt);
    common.queueDriver.write(ring.memory.driverAt);
    common.queueDevice.write(ring.memory.deviceAt);
    common.queueEnable.write(1);
    listeners[vector]?.push(() => this.look(queue));
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
    try {
      this.common.status.write(0);
      await this.common.status.until((status) => status === 0, { timeoutMs: TIMEOUT_MS });
    } catch (error) {
      // A device that has gone reads and writes no memory any more.
      if (!(error instanceof DeviceGoneError)) throw error;
    }
    for (const queue of this.queues.splice(0)) queue.end(new VirtioError(`${this.device.bdf}: ${reason}`));
    this.forget();
    this.interrupts?.close();
    this.interrupts = undefined;
    this.listeners = [];
  }

  private look(queue: Virtqueue): void {
    try {
      queue.reap();
    } catch (error) {
      // Nothing that it says counts any more. The memory stays until it has stopped.
      queue.fail(error);
    }
  }

  /** A device that has met an error it can't get over says so here. Only a reset helps (section 2.1.2). */
  private lookAtConfig(onChange: () => void): void {
    try {
      if (this.common.status.get("needsReset"))
        throw new VirtioError(`${this.device.bdf} has failed and needs a reset`);
      onChange();
    } catch (error) {
      for (const queue of this.queues) queue.fail(error);
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

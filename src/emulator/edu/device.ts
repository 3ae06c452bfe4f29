/** QEMU's educational PCI device `edu` in software. */
import { checkInteger } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import type {
  DeviceHost,
  DeviceMigration,
  DeviceVectors,
  EmulatedBar,
  EmulatedDevice,
  MemorySpan,
} from "../../vfio-user/server/emulated-device.js";

const VENDOR_ID = 0x1234;
const DEVICE_ID = 0x11e8;
const BAR_BYTES = 1024 * 1024;
const MSI_AT = 0x40;
const STATUS_CAPABILITIES = 1 << 4;
/** Class "others", as QEMU's has it. */
const CLASS = 0x00ff00;

/** Registers by offset in BAR 0 (QEMU, docs/specs/edu). */
const Register = {
  identification: 0x00,
  liveness: 0x04,
  factorial: 0x08,
  status: 0x20,
  interruptStatus: 0x24,
  interruptRaise: 0x60,
  interruptAcknowledge: 0x64,
  dmaSource: 0x80,
  dmaDestination: 0x88,
  dmaCount: 0x90,
  dmaCommand: 0x98,
} as const;
const IDENTIFICATION = 0x0100_00ed;
const STATUS_COMPUTING = 0x01;
const STATUS_INTERRUPT = 0x80;
const COMMAND_START = 1;
const COMMAND_TO_RAM = 2;
const COMMAND_INTERRUPT = 4;
/** Interrupt bits that the device sets itself. */
const INTERRUPT_FACTORIAL = 0x0000_0001;
const INTERRUPT_DMA = 0x0000_0100;

/** The device's own memory, as its DMA engine addresses it. */
const BUFFER_AT = 0x40000;
const BUFFER_BYTES = 4096;
/** The saved state: the registers as doubles, which hold all their values, then the buffer. */
const SAVED_NUMBERS = 9;
const SAVED_BYTES = 8 * SAVED_NUMBERS + BUFFER_BYTES;
const U32_MAX = 0xffff_ffff;

/** Options of {@link EmulatedEdu}. */
export interface EduOptions {
  /** Address bits of its DMA engine: 28 by default, as QEMU's. */
  readonly dmaBits?: number | undefined;
}

/**
 * QEMU's educational device, for tutorials and tests without QEMU: registers, a factorial that takes a while, interrupts,
 * and a DMA engine with a buffer of its own.
 */
export class EmulatedEdu implements EmulatedDevice {
  readonly name = "emulated edu";
  readonly configSpace: Uint8Array = configSpace();
  readonly vectors: DeviceVectors = { intx: 1, msi: 1, msix: 0 };
  readonly bars: readonly (EmulatedBar | undefined)[];
  private readonly dmaLimit: number;
  private host: DeviceHost | undefined;
  private liveness = 0;
  private factorial = 0;
  private status = 0;
  private interrupts = 0;
  private readonly dma = { source: 0, destination: 0, count: 0, command: 0 };
  private readonly buffer = Buffer.alloc(BUFFER_BYTES);
  private readonly span: MemorySpan = {
    bytes: new Uint8Array(new SharedArrayBuffer(0)),
    words: new Uint32Array(new SharedArrayBuffer(0)),
    offset: 0,
  };
  /** Ends what was started before a reset or disconnect. */
  private generation = 0;
  private isStopped = false;
  /** The number whose factorial is being computed. */
  private computing = 0;
  readonly migration: DeviceMigration = {
    maxStateBytes: SAVED_BYTES,
    stop: () => {
      this.isStopped = true;
      // start() begins unfinished work again.
      this.generation++;
    },
    start: () => {
      this.isStopped = false;
      if ((this.status & STATUS_COMPUTING) !== 0) this.finishComputing();
      if ((this.dma.command & COMMAND_START) !== 0) void this.transfer();
    },
    save: () => this.save(),
    load: (state) => this.load(state),
  };

  constructor(options: EduOptions = {}) {
    this.dmaLimit = 2 ** checkInteger("dmaBits", options.dmaBits ?? 28, 12, 52);
    const bar: EmulatedBar = {
      sizeBytes: BAR_BYTES,
      // Every way to start a transfer.
      ioEvents: [0, COMMAND_TO_RAM].flatMap((direction) =>
        [0, COMMAND_INTERRUPT].map((end) => ({
          offset: Register.dmaCommand,
          widthBytes: 4 as const,
          value: BigInt(COMMAND_START | direction | end),
        })),
      ),
      read: (offset, target) => {
        // Below 0x80 only whole words, as in QEMU; nothing else answers.
        const value = BigInt(this.read(offset & ~3));
        target.fill(0xff);
        if (target.length !== 4 && target.length !== 8) return;
        if (offset % target.length !== 0 || (target.length === 8 && offset < Register.dmaSource)) return;
        const view = new DataView(target.buffer, target.byteOffset, target.length);
        if (target.length === 4) view.setUint32(0, Number(value & 0xffff_ffffn), true);
        else view.setBigUint64(0, value, true);
      },
      write: (offset, source) => {
        const view = new DataView(source.buffer, source.byteOffset, source.length);
        if (source.length === 4) this.write(offset, view.getUint32(0, true));
        else if (source.length === 8 && offset >= Register.dmaSource) {
          this.write(offset, Number(view.getBigUint64(0, true)));
        }
      },
    };
    this.bars = [bar, undefined, undefined, undefined, undefined, undefined];
  }

  connect(host: DeviceHost): void {
    this.host = host;
  }

  disconnect(): void {
    this.host = undefined;
    this.generation++;
  }

  reset(): void {
    this.generation++;
    this.liveness = 0;
    this.factorial = 0;
    this.status = 0;
    this.interrupts = 0;
    Object.assign(this.dma, { source: 0, destination: 0, count: 0, command: 0 });
    this.buffer.fill(0);
  }

  /** Ends the device. */
  close(): void {
    this.disconnect();
  }

  private read(offset: number): number {
    switch (offset) {
      case Register.identification:
        return IDENTIFICATION;
      case Register.liveness:
        return this.liveness;
      case Register.factorial:
        return this.factorial;
      case Register.status:
        return this.status;
      case Register.interruptStatus:
        return this.interrupts;
      case Register.dmaSource:
        return this.dma.source;
      case Register.dmaDestination:
        return this.dma.destination;
      case Register.dmaCount:
        return this.dma.count;
      case Register.dmaCommand:
        return this.dma.command;
      default:
        return 0xffff_ffff;
    }
  }

  private write(offset: number, value: number): void {
    const { dma } = this;
    switch (offset) {
      case Register.liveness:
        this.liveness = ~value >>> 0;
        return;
      case Register.factorial:
        this.compute(value);
        return;
      case Register.status:
        this.status = (this.status & ~STATUS_INTERRUPT) | (value & STATUS_INTERRUPT);
        return;
      case Register.interruptRaise:
        this.raise(value);
        return;
      case Register.interruptAcknowledge:
        this.interrupts = (this.interrupts & ~value) >>> 0;
        return;
      case Register.dmaSource:
        dma.source = value;
        return;
      case Register.dmaDestination:
        dma.destination = value;
        return;
      case Register.dmaCount:
        dma.count = value;
        return;
      case Register.dmaCommand:
        if ((dma.command & COMMAND_START) !== 0 || (value & COMMAND_START) === 0) return;
        dma.command = value;
        if (!this.isStopped) void this.transfer();
        return;
    }
  }

  private compute(value: number): void {
    if ((this.status & STATUS_COMPUTING) !== 0) return;
    this.status |= STATUS_COMPUTING;
    this.computing = value;
    if (!this.isStopped) this.finishComputing();
  }

  private finishComputing(): void {
    const { generation, computing: value } = this;
    // Later, so that a driver that reads the status too early sees that the device computes.
    setImmediate(() => {
      if (generation !== this.generation) return;
      let result = 1;
      for (let i = 2; i <= Math.min(value, 64); i++) result = Math.imul(result, i) >>> 0;
      // From 34! on all 32 bits are zero.
      this.factorial = value > 33 ? 0 : result;
      this.status &= ~STATUS_COMPUTING;
      if ((this.status & STATUS_INTERRUPT) !== 0) this.raise(INTERRUPT_FACTORIAL);
    });
  }

  private save(): Uint8Array {
    const { liveness, factorial, status, interrupts, computing, dma } = this;
    const { source, destination, count, command } = dma;
    const numbers = [liveness, factorial, status, interrupts, computing, source, destination, count, command];
    return Buffer.concat([new Uint8Array(Float64Array.from(numbers).buffer), this.buffer]);
  }

  private load(state: Uint8Array): void {
    if (state.length !== SAVED_BYTES)
      throw new ArgumentError(`invalid saved state: edu has ${SAVED_BYTES} bytes, got ${state.length}`);
    const view = new DataView(state.buffer, state.byteOffset);
    const numbers = Array.from({ length: SAVED_NUMBERS }, (_, i) => view.getFloat64(8 * i, true));
    const [liveness = 0, factorial = 0, status = 0, interrupts = 0, computing = 0, ...dma] = numbers;
    const isPossible =
      [liveness, factorial, status, interrupts, computing].every((value) => value <= U32_MAX) &&
      numbers.every((value) => Number.isInteger(value) && value >= 0 && value <= 2 ** 64);
    if (!isPossible) throw new ArgumentError("invalid saved state: edu registers with impossible values");
    const [source = 0, destination = 0, count = 0, command = 0] = dma;
    Object.assign(this, { liveness, factorial, status, interrupts, computing });
    Object.assign(this.dma, { source, destination, count, command });
    this.buffer.set(state.subarray(8 * SAVED_NUMBERS));
  }

  private raise(bits: number): void {
    this.interrupts = (this.interrupts | bits) >>> 0;
    if (this.interrupts === 0) return;
    this.host?.raise(0, "msi");
    this.host?.raise(0, "intx");
  }

  /** Copies between the client's memory and the buffer, and ignores what lies outside of either. */
  private async transfer(): Promise<void> {
    const { dma, generation } = this;
    const toRam = (dma.command & COMMAND_TO_RAM) !== 0;
    const inside = (toRam ? dma.source : dma.destination) - BUFFER_AT;
    const iova = toRam ? dma.destination : dma.source;
    // In a later turn, as a real engine takes time.
    await new Promise((resolve) => setImmediate(resolve));
    const fits = inside >= 0 && inside + dma.count <= BUFFER_BYTES && iova + dma.count <= this.dmaLimit;
    if (generation === this.generation && fits) {
      try {
        await this.copy(iova, this.buffer.subarray(inside, inside + dma.count), toRam);
      } catch {
        // As with an IOMMU: the device doesn't notice an access that is blocked.
      }
    }
    if (generation !== this.generation) return;
    const wantsInterrupt = (dma.command & COMMAND_INTERRUPT) !== 0;
    dma.command = 0;
    if (wantsInterrupt) this.raise(INTERRUPT_DMA);
  }

  private async copy(iova: number, part: Buffer, toRam: boolean): Promise<void> {
    const { host, span } = this;
    if (host === undefined || part.length === 0) return;
    if (!host.memory.find(iova, part.length, toRam, span)) {
      if (toRam) await host.memory.write(iova, part);
      else await host.memory.read(iova, part);
      return;
    }
    const memory = span.bytes.subarray(span.offset, span.offset + part.length);
    if (toRam) memory.set(part);
    else part.set(memory);
  }
}

function configSpace(): Uint8Array {
  const bytes = new Uint8Array(256);
  const view = new DataView(bytes.buffer);
  view.setUint16(0x00, VENDOR_ID, true);
  view.setUint16(0x02, DEVICE_ID, true);
  view.setUint16(0x06, STATUS_CAPABILITIES, true);
  view.setUint32(0x08, ((CLASS << 8) | 0x10) >>> 0, true);
  bytes[0x34] = MSI_AT;
  bytes[0x3d] = 1;
  // MSI with 64-bit addresses, one vector.
  bytes[MSI_AT] = 0x05;
  view.setUint16(MSI_AT + 2, 0x0080, true);
  return bytes;
}

/** What the emulated edu does: its registers, its interrupts and its DMA engine. */
import { checkU32 } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { DeviceRegisters } from "../../registers/device.js";
import { isReadable } from "../../registers/field-spec.js";
import type {
  DeviceHost,
  DeviceMigration,
  DeviceVectors,
  EmulatedBar,
  EmulatedDevice,
  MemorySpan,
} from "../../vfio-user/server/emulated-device.js";
import { initialConfigSpace } from "../../vfio-user/server/initial-config-space.js";
import { eduRegisters } from "./registers.js";

const VENDOR_ID = 0x1234;
const DEVICE_ID = 0x11e8;
const BAR_BYTES = 1024 * 1024;

const STATUS_INTERRUPT = 0x80;
/** Ways to start a transfer: the command's bits. */
const COMMANDS = [1n, 5n, 3n, 7n];
/** From here on registers have 64 bits, and can be accessed by 32. */
const WIDE_AT = 0x80;
/** Interrupt bits that the device sets itself. */
const INTERRUPT_FACTORIAL = 0x0000_0001;
const INTERRUPT_DMA = 0x0000_0100;

/** The device's own memory, as its DMA engine addresses it. */
const BUFFER_AT = 0x40000;
const BUFFER_BYTES = 4096;
/** The saved state: the registers, the number whose factorial is being computed, then the buffer. */
const REGISTERS_BYTES = 8 * Object.keys(eduRegisters.registers).length;
const SAVED_BYTES = REGISTERS_BYTES + 8 + BUFFER_BYTES;

/** The device itself; {@link EmulatedEdu} adds faults. */
export class EduFunction implements EmulatedDevice {
  readonly name = "emulated edu";
  readonly configSpace = initialConfigSpace({ vendorId: VENDOR_ID, deviceId: DEVICE_ID, revision: 0x10 });
  readonly vectors: DeviceVectors = { intx: 1, msi: 1, msix: 0 };
  readonly bars: readonly (EmulatedBar | undefined)[];
  private readonly dmaLimit: number;
  private host: DeviceHost | undefined;
  private readonly registers = new DeviceRegisters(eduRegisters, {
    liveness: { write: (written) => ~written },
    factorial: {
      write: (written, { before }) => {
        this.compute(written);
        return before;
      },
    },
    status: { write: (written, { before }) => (before & ~STATUS_INTERRUPT) | (written & STATUS_INTERRUPT) },
    interruptRaise: { write: (written) => this.raise(written) },
    interruptAcknowledge: {
      write: (written) => {
        const { interruptStatus } = this.registers.state;
        interruptStatus.value &= ~written;
      },
    },
    dmaCommand: { write: (written, { before }) => this.command(written, before) },
  });
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
      const { status, dmaCommand } = this.registers.state;
      if (status.get("computing")) this.finishComputing();
      if (dmaCommand.get("start")) void this.transfer();
    },
    save: () => this.save(),
    load: (state) => this.load(state),
  };

  /** @param dmaBits address bits of its DMA engine */
  constructor(dmaBits: number) {
    this.dmaLimit = 2 ** dmaBits;
    const bar: EmulatedBar = {
      sizeBytes: BAR_BYTES,
      // Every way to start a transfer.
      ioEvents: COMMANDS.map((value) => ({
        offset: eduRegisters.registers.dmaCommand.offset,
        widthBytes: 4 as const,
        value,
      })),
      read: (offset, target) => {
        if (isAccess(offset, target.length) && readable.has(offset)) this.registers.read(offset, target);
        else target.fill(0xff);
      },
      write: (offset, source) => {
        if (!isAccess(offset, source.length)) return;
        // A write of 32 bits clears the upper half.
        const whole = offset >= WIDE_AT ? new Uint8Array(8) : new Uint8Array(4);
        whole.set(source);
        this.registers.write(offset, whole);
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
    this.registers.reset();
    this.buffer.fill(0);
  }

  /** Ends the device. */
  close(): void {
    this.disconnect();
  }

  private compute(value: number): void {
    const { status } = this.registers.state;
    if (status.get("computing")) return;
    status.set({ computing: true });
    this.computing = value;
    if (!this.isStopped) this.finishComputing();
  }

  private finishComputing(): void {
    const { generation, computing: value } = this;
    const { status, factorial } = this.registers.state;
    // Later, so that a driver that reads the status too early sees that the device computes.
    setImmediate(() => {
      if (generation !== this.generation) return;
      let result = 1;
      for (let i = 2; i <= Math.min(value, 64); i++) result = Math.imul(result, i) >>> 0;
      // From 34! on all 32 bits are zero.
      factorial.value = value > 33 ? 0 : result;
      status.set({ computing: false });
      if (status.get("interrupt")) this.raise(INTERRUPT_FACTORIAL);
    });
  }

  /** @returns what the command register holds from now on */
  private command(written: bigint, before: bigint): bigint {
    const { start } = eduRegisters.registers.dmaCommand.fields;
    const startBit = 1n << BigInt(start.low);
    if ((before & startBit) !== 0n || (written & startBit) === 0n) return before;
    // The transfer looks at the command in a later turn.
    if (!this.isStopped) void this.transfer();
    return written;
  }

  private save(): Uint8Array {
    const computing = new Uint8Array(Float64Array.of(this.computing).buffer);
    return Buffer.concat([this.registers.save(), computing, this.buffer]);
  }

  private load(state: Uint8Array): void {
    if (state.length !== SAVED_BYTES)
      throw new ArgumentError(`invalid saved state: edu has ${SAVED_BYTES} bytes, got ${state.length}`);
    const view = new DataView(state.buffer, state.byteOffset);
    const computing = checkU32("invalid saved state: the number", view.getFloat64(REGISTERS_BYTES, true));
    this.registers.load(state.subarray(0, REGISTERS_BYTES));
    this.computing = computing;
    this.buffer.set(state.subarray(REGISTERS_BYTES + 8));
  }

  private raise(bits: number): void {
    const { interruptStatus } = this.registers.state;
    interruptStatus.value |= bits;
    if (interruptStatus.value === 0) return;
    this.host?.raise(0, "msi");
    this.host?.raise(0, "intx");
  }

  /** Copies between the client's memory and the buffer, and ignores what lies outside of either. */
  private async transfer(): Promise<void> {
    const { generation } = this;
    const { dmaSource, dmaDestination, dmaCount, dmaCommand } = this.registers.state;
    // In a later turn, as a real engine takes time.
    await new Promise((resolve) => setImmediate(resolve));
    if (generation !== this.generation) return;
    const toRam = dmaCommand.get("toRam");
    const count = Number(dmaCount.value);
    const inside = Number((toRam ? dmaSource : dmaDestination).value) - BUFFER_AT;
    const iova = Number((toRam ? dmaDestination : dmaSource).value);
    if (inside >= 0 && inside + count <= BUFFER_BYTES && iova + count <= this.dmaLimit) {
      try {
        await this.copy(iova, this.buffer.subarray(inside, inside + count), toRam);
      } catch {
        // As with an IOMMU: the device doesn't notice an access that is blocked.
      }
    }
    if (generation !== this.generation) return;
    const wantsInterrupt = dmaCommand.get("interrupt");
    dmaCommand.value = 0n;
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

/** As in QEMU: only whole words below WIDE_AT, words and 64 bits from there on, and only at the start of a register. */
function isAccess(offset: number, width: number): boolean {
  return offsets.has(offset) && (width === 4 || (width === 8 && offset >= WIDE_AT));
}

const declared = Object.values(eduRegisters.registers);
const offsets = new Set(declared.map(({ offset }) => offset));
const readable = new Set(declared.filter(({ access }) => isReadable(access)).map(({ offset }) => offset));

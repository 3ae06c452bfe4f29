/** A minimal emulated PCI function for tests of the vfio-user server. */
import { MappedMemory } from "../../src/sys/memory.js";
import type { DeviceHost, EmulatedBar, EmulatedDevice } from "../../src/vfio-user/server/emulated-device.js";

const BAR_BYTES = 16 * 1024;
const AREA_BYTES = 4096;
const STATUS_CAPABILITIES = 0x10;
/** Offsets of its capabilities, and of the MSI-X table and its pending bits in BAR 0. */
export const MSI_AT = 0x40;
export const MSIX_AT = 0x60;
export const MSIX_TABLE = 0x2000;
export const MSIX_PENDING = 0x3000;

/** A minimal PCI function: a BAR of plain memory with a mappable first page, and four vectors of each kind. */
export class TestFunction implements EmulatedDevice {
  readonly name = "test function";
  readonly configSpace = new Uint8Array(256);
  readonly vectors = { intx: 1, msi: 4, msix: 4 };
  readonly bars: readonly (EmulatedBar | undefined)[];
  host: DeviceHost | undefined;
  /** How often a client connected, disconnected and reset it. */
  readonly counts = { connects: 0, disconnects: 0, resets: 0 };
  /** Offset and width of each access to the BAR by message. */
  readonly accesses: [number, number][] = [];
  private readonly registers = new Uint8Array(BAR_BYTES);
  private readonly shared = MappedMemory.memfd(AREA_BYTES);

  constructor() {
    // Bus master from the start, because raw clients don't configure the device.
    this.configSpace.set([0x34, 0x12, 0xe8, 0x11, 0x04, 0, STATUS_CAPABILITIES]);
    const config = new DataView(this.configSpace.buffer);
    this.configSpace[0x34] = MSI_AT;
    // Four vectors of MSI with 64-bit addresses.
    this.configSpace.set([0x05, MSIX_AT, 0x84, 0], MSI_AT);
    // Four vectors of MSI-X, enabled from the start for the same reason.
    this.configSpace.set([0x11, 0, 3, 0x80], MSIX_AT);
    config.setUint32(MSIX_AT + 4, MSIX_TABLE, true);
    config.setUint32(MSIX_AT + 8, MSIX_PENDING, true);
    const { registers, shared, accesses } = this;
    const area = { offset: 0, sizeBytes: AREA_BYTES, fd: shared.fd, fdOffset: 0 };
    const bar: EmulatedBar = {
      sizeBytes: BAR_BYTES,
      mappable: [area],
      read: (offset, target) => {
        accesses.push([offset, target.length]);
        target.set(registers.subarray(offset, offset + target.length));
      },
      write: (offset, source) => {
        accesses.push([offset, source.length]);
        registers.set(source, offset);
      },
    };
    this.bars = [bar];
  }

  connect(host: DeviceHost): void {
    this.host = host;
    this.counts.connects++;
  }

  disconnect(): void {
    this.host = undefined;
    this.counts.disconnects++;
  }

  reset(): void {
    this.counts.resets++;
    this.registers.fill(0);
  }

  close(): void {
    this.shared.close();
  }
}

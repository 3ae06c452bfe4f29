/**
 * A backend from outside the package: its mapper and its device use only names that the entry points export. The
 * device is a memory engine with 16 bytes of registers.
 */
import { describe, expect, test } from "vitest";
import {
  type DmaAccess,
  type DmaMapper,
  type Iova,
  type IovaRange,
  iova,
  Lease,
  MappedMemory,
} from "../../../src/doors/dma.js";
import {
  type DeviceInfo,
  type DeviceIo,
  type IrqInfo,
  type JoinableMapper,
  type JoinedDevice,
  PciDevice,
  PciRegister,
  type RegionInfo,
  VFIO_PCI_BAR0_REGION_INDEX,
  VFIO_PCI_CONFIG_REGION_INDEX,
} from "../../../src/doors/pci.js";
import { ArgumentError, ClosedError, DmaSpace, UnsupportedError } from "../../../src/index.js";

const BDF = "abcd:ef:1f.7";
/** Registers of the engine: fills `COUNT` bytes at `ADDRESS` with the value written to `FILL`. */
const ADDRESS = 0;
const COUNT = 8;
const FILL = 12;

/** Access to a device whose registers are this object's bytes. */
class EngineIo implements DeviceIo {
  readonly lease: Lease;
  resets = 0;
  private readonly regions = new Map([
    [VFIO_PCI_CONFIG_REGION_INDEX, new Uint8Array(256)],
    [VFIO_PCI_BAR0_REGION_INDEX, new Uint8Array(16)],
  ]);

  constructor(
    bdf: string,
    private readonly memoryAt: (address: bigint, sizeBytes: number) => Uint8Array,
    closed: (what: string) => void,
  ) {
    this.lease = new Lease(`engine ${bdf}`, () => closed("device"));
    const config = new DataView(this.region(VFIO_PCI_CONFIG_REGION_INDEX).buffer);
    config.setUint16(PciRegister.vendorId, 0x1234, true);
    config.setUint16(PciRegister.deviceId, 0x5678, true);
  }

  info(): DeviceInfo {
    return { flags: 0, resettable: true, isPci: true, numRegions: 9, numIrqs: 0, atomicCompletion: [] };
  }

  regionInfo(index: number): RegionInfo {
    const sizeBytes = this.regions.get(index)?.length ?? 0;
    return {
      index,
      sizeBytes,
      offset: 0,
      readable: sizeBytes > 0,
      writable: sizeBytes > 0,
      mappable: [],
      msixMappable: false,
      type: undefined,
    };
  }

  readRegion(index: number, offset: number, target: Uint8Array): void {
    this.lease.assertOpen();
    target.set(this.region(index).subarray(offset, offset + target.length));
  }

  writeRegion(index: number, offset: number, source: Uint8Array): void {
    this.lease.assertOpen();
    const region = this.region(index);
    region.set(source, offset);
    if (index !== VFIO_PCI_BAR0_REGION_INDEX || offset !== FILL) return;
    const registers = new DataView(region.buffer);
    this.memoryAt(registers.getBigUint64(ADDRESS, true), registers.getUint32(COUNT, true)).fill(
      registers.getUint32(FILL, true),
    );
  }

  mapRegion(): MappedMemory {
    throw new UnsupportedError("an engine's registers can't be mapped");
  }

  irqInfo(index: number): IrqInfo {
    return { index, count: 0, eventfd: false, maskable: false, automasked: false, noResize: false };
  }

  setIrqEventfds(): void {
    throw new UnsupportedError("an engine has no interrupts");
  }

  disableIrq(): void {}

  actOnIrq(): void {
    throw new UnsupportedError("an engine has no interrupts");
  }

  reset(): void {
    this.resets++;
  }

  private region(index: number): Uint8Array<ArrayBuffer> {
    const region = this.regions.get(index);
    if (region === undefined) throw new ArgumentError(`an engine has no region ${index}`);
    return region;
  }
}

/** Maps memory for engines: chooses addresses in order, and records the memory behind them. */
class EngineMapper implements JoinableMapper {
  readonly name = "engine";
  readonly lease: Lease;
  readonly devices = new Set<EngineIo>();
  readonly log: string[] = [];
  private readonly mapped = new Map<bigint, { address: number; sizeBytes: number }>();
  private next = 0x10_0000n;

  constructor(private readonly memory: () => Uint8Array) {
    const { log } = this;
    this.lease = new Lease("engine mapper", () => {
      log.push("mapper closed");
    });
  }

  attach(bdf: string, token: string | undefined): JoinedDevice {
    if (token !== undefined) throw new UnsupportedError("engines take no token");
    const { devices, log } = this;
    const io = new EngineIo(
      bdf,
      (address, sizeBytes) => this.bytesAt(address, sizeBytes),
      (what) => log.push(`${what} closed`),
    );
    devices.add(io);
    return {
      io,
      leave: () => {
        log.push("device left");
      },
    };
  }

  iovaRanges(): IovaRange[] {
    return [{ start: iova(0x10_0000n), last: iova(0xffff_ffffn) }];
  }

  alignmentBytes(): number {
    return 4096;
  }

  map(address: number, sizeBytes: number, _access: DmaAccess, fixed: bigint | undefined): Iova {
    const at = fixed ?? this.next;
    if (fixed === undefined) this.next += BigInt(sizeBytes);
    this.mapped.set(at, { address, sizeBytes });
    return iova(at);
  }

  unmap(at: bigint): void {
    this.mapped.delete(at);
    this.log.push("unmapped");
  }

  /** Stands for the translation that hardware does. */
  private bytesAt(at: bigint, sizeBytes: number): Uint8Array {
    const mapping = this.mapped.get(at);
    if (mapping === undefined || sizeBytes > mapping.sizeBytes) {
      throw new ArgumentError(`${sizeBytes} bytes at iova 0x${at.toString(16)} aren't mapped`);
    }
    return this.memory().subarray(0, sizeBytes);
  }
}

describe("a mapper from outside the package", () => {
  test("attaches a device that joins its space, so that the device reaches memory that is mapped there", () => {
    using memory = MappedMemory.anonymous(4096);
    const mapper = new EngineMapper(() => memory.bytes);
    using space = new DmaSpace(mapper);
    using device = PciDevice.open(BDF, { dma: space });
    expect(device.backend).toBe("engine");
    expect(device.function).toMatchObject({
      bdf: BDF,
      vendorId: 0x1234,
      deviceId: 0x5678,
      driver: undefined,
    });
    using buffer = device.dma.map(memory);
    const registers = device.bar(0);
    registers.write64(ADDRESS, buffer.iova);
    registers.write32(COUNT, 100);
    registers.write32(FILL, 0xab);
    expect(buffer.bytes[99]).toBe(0xab);
    expect(buffer.bytes[100]).toBe(0);
    device.reset();
    expect([...mapper.devices].map(({ resets }) => resets)).toEqual([1]);
  });

  test("is told when its device is closed, and its lease is released last", () => {
    const mapper = new EngineMapper(() => new Uint8Array(4096));
    const space = new DmaSpace(mapper);
    const device = PciDevice.open(BDF, { dma: space });
    const io = device.io;
    device.close();
    expect(mapper.log.splice(0)).toEqual(["device closed", "device left"]);
    expect(() => io.readRegion(VFIO_PCI_BAR0_REGION_INDEX, 0, new Uint8Array(4))).toThrow(ClosedError);
    PciDevice.open(BDF, { dma: space });
    mapper.log.length = 0;
    mapper.lease.close();
    expect(mapper.log).toEqual(["device closed", "device left", "mapper closed"]);
    expect(space.closed).toBe(true);
  });

  test("can reject a device with its own error, which leaves the space open", () => {
    const mapper = new EngineMapper(() => new Uint8Array(4096));
    using space = new DmaSpace(mapper);
    const vfToken = "00000000-0000-0000-0000-000000000001";
    expect(() => PciDevice.open(BDF, { dma: space, vfToken })).toThrow("engines take no token");
    expect(space.closed).toBe(false);
    expect(mapper.log).toEqual([]);
  });

  test("causes an error if the caller names another backend", () => {
    using space = new DmaSpace(new EngineMapper(() => new Uint8Array(4096)));
    expect(() => PciDevice.open(BDF, { dma: space, backend: "iommufd" })).toThrow(
      new ArgumentError("this DMA space is of backend engine, not iommufd"),
    );
  });

  test("can't be joined if it has no attach()", () => {
    const { lease, name, iovaRanges, alignmentBytes } = new EngineMapper(() => new Uint8Array(4096));
    const refuse = (): never => {
      throw new UnsupportedError("maps nothing");
    };
    const plain: DmaMapper = { lease, name, iovaRanges, alignmentBytes, map: refuse, unmap: refuse };
    using space = new DmaSpace(plain);
    expect(() => PciDevice.open(BDF, { dma: space })).toThrow("a device can't join a DMA space of engine");
  });
});

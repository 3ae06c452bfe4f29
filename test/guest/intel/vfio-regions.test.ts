/** Regions of a VFIO device, and its expansion ROM, on every backend. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DeviceIo } from "../../../src/doors/vfio.js";
import {
  ArgumentError,
  type Bar,
  bindToVfio,
  PciDevice,
  readPciFunction,
  UnsupportedError,
  type VfioBinding,
} from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import {
  VFIO_PCI_CONFIG_REGION_INDEX,
  VFIO_PCI_ROM_REGION_INDEX,
  VFIO_PCI_VGA_REGION_INDEX,
} from "../../../src/vfio/uapi.js";
import { EDU_IDENTIFICATION, EduRegister } from "../../support/edu.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, emptyBarBdf, nvmeBdf, pairNicBdf, smallBarBdf } from "../../support/functions.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";

const PAGE = 4096;
/** pci-testdev's registers, once in memory and once in I/O space. */
const TESTDEV_MEMORY_BAR = 0;
const TESTDEV_IO_BAR = 1;
const TESTDEV_EMPTY_BAR = 2;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf(), emptyBarBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

describe.each(backendNames)("regions through %s", (backend) => {
  const opened: PciDevice[] = [];
  let edu: DeviceIo;
  let nvme: DeviceIo;
  let testdev: DeviceIo;
  beforeAll(() => {
    const open = (bdf: string): DeviceIo => {
      const device = PciDevice.open(bdf, { backend });
      opened.push(device);
      return device.io;
    };
    edu = open(eduBdf());
    nvme = open(nvmeBdf());
    testdev = open(emptyBarBdf());
  });
  afterAll(() => {
    for (const device of opened) device.close();
  });
  expectNothingLeft();

  test("have the sizes that sysfs reports", () => {
    for (const { io, bdf } of [
      { io: edu, bdf: eduBdf() },
      { io: nvme, bdf: nvmeBdf() },
      { io: testdev, bdf: emptyBarBdf() },
    ]) {
      const sizes = new Map(readPciFunction(bdf).bars.map(({ index, sizeBytes }) => [index, sizeBytes]));
      expect(sizes.size).toBeGreaterThan(0);
      expect(io.info().numRegions).toBeGreaterThanOrEqual(9);
      for (let index = 0; index < 6; index++) {
        const region = io.regionInfo(index);
        expect(region.sizeBytes, `${bdf} BAR ${index}`).toBe(sizes.get(index) ?? 0);
        expect(region.readable && region.writable).toBe(sizes.has(index));
      }
      const config = io.regionInfo(VFIO_PCI_CONFIG_REGION_INDEX);
      expect(config).toMatchObject({ readable: true, writable: true, mappable: [], type: undefined });
      expect([256, 4096]).toContain(config.sizeBytes);
    }
  });

  test("report what can be mapped, and whether the MSI-X table can", () => {
    const whole = (io: DeviceIo, index: number): unknown => [
      { offset: 0, sizeBytes: io.regionInfo(index).sizeBytes },
    ];
    expect(edu.regionInfo(0)).toMatchObject({ mappable: whole(edu, 0), msixMappable: false });
    // This controller has its table behind the registers.
    expect(nvme.regionInfo(0)).toMatchObject({ mappable: whole(nvme, 0), msixMappable: true });
    expect(testdev.regionInfo(TESTDEV_IO_BAR)).toMatchObject({ mappable: [], readable: true });
    // A BAR that isn't there.
    expect(edu.regionInfo(1)).toMatchObject({ sizeBytes: 0, mappable: [], readable: false });
  });

  test("include the configuration space as sysfs has it", () => {
    for (const { io, bdf } of [
      { io: edu, bdf: eduBdf() },
      { io: nvme, bdf: nvmeBdf() },
    ]) {
      const ids = new Uint8Array(4);
      io.readRegion(VFIO_PCI_CONFIG_REGION_INDEX, 0, ids);
      const { vendorId, deviceId } = readPciFunction(bdf);
      expect(ids).toEqual(Uint8Array.of(vendorId & 0xff, vendorId >> 8, deviceId & 0xff, deviceId >> 8));
      // More than one access wide: classes and revision, as sysfs' own file has them.
      const header = new Uint8Array(64);
      io.readRegion(VFIO_PCI_CONFIG_REGION_INDEX, 0, header);
      const raw = readFileSync(`/sys/bus/pci/devices/${bdf}/config`);
      expect(header.subarray(8, 12)).toEqual(new Uint8Array(raw.subarray(8, 12)));
      expect(header.subarray(44, 48)).toEqual(new Uint8Array(raw.subarray(44, 48)));
    }
  });

  test("have the same content through a mapping and through the descriptor", () => {
    using registers = nvme.mapRegion(0, 0, PAGE);
    const capabilities = new Uint8Array(8);
    nvme.readRegion(0, 0, capabilities);
    expect(registers.bytes.slice(0, 8).some((byte) => byte !== 0)).toBe(true);
    expect(new Uint32Array(capabilities.buffer)).toEqual(
      Uint32Array.of(Atomics.load(registers.words, 0), Atomics.load(registers.words, 1)),
    );
    using eduRegisters = edu.mapRegion(0, 0, edu.regionInfo(0).sizeBytes);
    expect(Atomics.load(eduRegisters.words, 0)).toBe(EDU_IDENTIFICATION);
    // Written here, read there.
    eduRegisters.words[EduRegister.liveness / 4] = 0x12345678;
    const inverted = new Uint8Array(4);
    edu.readRegion(0, EduRegister.liveness, inverted);
    expect(new Uint32Array(inverted.buffer)[0]).toBe(~0x12345678 >>> 0);
    edu.writeRegion(0, EduRegister.liveness, Uint8Array.of(0xff, 0xff, 0xff, 0xff));
    expect(Atomics.load(eduRegisters.words, EduRegister.liveness / 4)).toBe(0);
    using nothing = testdev.mapRegion(TESTDEV_EMPTY_BAR, PAGE, PAGE);
    expect(Atomics.load(nothing.words, 0)).toBe(0);
  });

  test("are reached through the descriptor if they are in I/O space", () => {
    // Writing a test's number here selects it; its name then stands behind the header.
    const names = (bar: number): string[] =>
      [0, 1, 2].map((number) => {
        testdev.writeRegion(bar, 0, Uint8Array.of(number));
        const name = new Uint8Array(32);
        testdev.readRegion(bar, 16, name);
        return Buffer.from(name).toString("latin1").replace(/\0.*$/s, "");
      });
    expect(names(TESTDEV_IO_BAR)).toEqual([
      "portio-no-eventfd",
      "portio-wildcard-eventfd",
      "portio-datamatch-eventfd",
    ]);
    expect(names(TESTDEV_MEMORY_BAR)[0]).toBe("mmio-no-eventfd");
  });

  test("can't be accessed beyond their end", () => {
    const { sizeBytes } = edu.regionInfo(0);
    const bytes = new Uint8Array(8);
    for (const [offset, length] of [
      [sizeBytes, 4],
      [sizeBytes - 4, 8],
      [-4, 4],
      [0.5, 4],
      [Number.NaN, 4],
      [0, 0],
    ] as const) {
      const part = bytes.subarray(0, length);
      expect(() => edu.readRegion(0, offset, part), `${offset}`).toThrow(ArgumentError);
      expect(() => edu.writeRegion(0, offset, part), `${offset}`).toThrow(ArgumentError);
    }
    expect(() => edu.mapRegion(0, 0, sizeBytes + 1)).toThrow(ArgumentError);
    expect(() => edu.mapRegion(0, sizeBytes, PAGE)).toThrow(ArgumentError);
    expect(() => edu.mapRegion(0, 512, PAGE)).toThrow(ArgumentError);
    // Not there at all.
    expect(() => edu.readRegion(1, 0, bytes)).toThrow(ArgumentError);
    for (const index of [VFIO_PCI_VGA_REGION_INDEX, 99, -1, 0.5]) {
      expect(() => edu.regionInfo(index), `${index}`).toThrow(ArgumentError);
    }
  });

  test("can't be mapped if they are only reached through the descriptor", () => {
    const before = holdings();
    for (const [io, index] of [
      [edu, VFIO_PCI_CONFIG_REGION_INDEX],
      [testdev, TESTDEV_IO_BAR],
    ] as const) {
      const { sizeBytes } = io.regionInfo(index);
      expect(() => io.mapRegion(index, 0, sizeBytes)).toThrow(UnsupportedError);
    }
    expect(holdings()).toEqual(before);
  });

  test("read zero through an old view after they are unmapped", () => {
    const region = edu.mapRegion(0, 0, PAGE);
    const { words } = region;
    expect(words[0]).toBe(EDU_IDENTIFICATION);
    region.close();
    expect(words[0]).toBe(0);
    words[EduRegister.liveness / 4] = 0x0f0f0f0f;
    const inverted = new Uint8Array(4);
    edu.readRegion(0, EduRegister.liveness, inverted);
    expect(new Uint32Array(inverted.buffer)[0]).not.toBe(~0x0f0f0f0f >>> 0);
  });

  test("report an error through the descriptor while memory decoding is off", () => {
    const command = new Uint8Array(2);
    testdev.readRegion(VFIO_PCI_CONFIG_REGION_INDEX, 4, command);
    // Below ConfigSpace, which refuses this for the sake of mapped registers.
    const off = Uint8Array.of((command[0] ?? 0) & ~2, command[1] ?? 0);
    testdev.writeRegion(VFIO_PCI_CONFIG_REGION_INDEX, 4, off);
    try {
      const object = `VFIO device ${emptyBarBdf()} region ${TESTDEV_MEMORY_BAR}`;
      const bytes = new Uint8Array(4);
      expect(() => testdev.readRegion(TESTDEV_MEMORY_BAR, 0, bytes)).toThrow(
        sysError("pread", "EIO", { object }),
      );
      expect(() => testdev.writeRegion(TESTDEV_MEMORY_BAR, 0, bytes)).toThrow(
        sysError("pwrite", "EIO", { object }),
      );
    } finally {
      testdev.writeRegion(VFIO_PCI_CONFIG_REGION_INDEX, 4, command);
    }
    testdev.readRegion(TESTDEV_MEMORY_BAR, 0, new Uint8Array(4));
  });
});

describe.each(backendNames)("BARs through %s", (backend) => {
  expectNothingLeft();

  /** What 8 bytes read as at each width, from the narrowest on. */
  const read = (bar: Bar, offset: number): bigint[] => {
    const joined = (width: number, each: (at: number) => number): bigint => {
      let value = 0n;
      for (let at = 0; at < 8; at += width) value |= BigInt(each(offset + at)) << BigInt(8 * at);
      return value;
    };
    return [
      joined(1, (at) => bar.read8(at)),
      joined(2, (at) => bar.read16(at)),
      joined(4, (at) => bar.read32(at)),
      bar.read64(offset),
      bar.readWhole64(offset),
    ];
  };

  test("have the same content at each width, in memory and in I/O space", () => {
    using nvmeDevice = PciDevice.open(nvmeBdf(), { backend });
    // QEMU's controller takes no narrower accesses.
    const registers = nvmeDevice.bar(0);
    const capabilities = registers.readWhole64(0);
    expect(registers.read64(0)).toBe(capabilities);
    expect(registers.read32(4)).toBe(Number(capabilities >> 32n));
    expect(capabilities).not.toBe(0n);
    using testdevDevice = PciDevice.open(emptyBarBdf(), { backend });
    for (const index of [TESTDEV_MEMORY_BAR, TESTDEV_IO_BAR]) {
      const bar = testdevDevice.bar(index);
      bar.write8(0, 0);
      // The name of the test that was selected.
      const values = read(bar, 16);
      expect(new Set(values).size, `BAR ${index}`).toBe(1);
      expect(values[0]).not.toBe(0n);
    }
    const memory = testdevDevice.bar(TESTDEV_EMPTY_BAR);
    memory.write8(1, 0xff);
    memory.write16(2, 0xffff);
    memory.write32(4, 0xffff_ffff);
    memory.write64(8, 1n);
    memory.writeWhole64(16, 1n);
    expect(memory.readWhole64(0)).toBe(0n);
    expect(() => testdevDevice.bar(TESTDEV_IO_BAR).map()).toThrow(UnsupportedError);
  });

  test("that are smaller than a page are mapped if the kernel says so, and otherwise reached by system call", () => {
    using _binding = bindToVfio(smallBarBdf());
    using device = PciDevice.open(smallBarBdf(), { backend });
    const bar = device.bar(0);
    expect(bar.sizeBytes).toBe(256);
    const { mappable } = device.io.regionInfo(0);
    const [line = ""] = readFileSync(`/sys/bus/pci/devices/${smallBarBdf()}/resource`, "utf8").split("\n");
    const isAligned = Number(line.split(" ")[0]) % PAGE === 0;
    // The kernel takes the rest of the page for itself, if nobody has it.
    if (!isAligned) expect(mappable).toEqual([]);
    // SDHCI: version of the specification.
    const version = bar.read16(0xfe);
    expect(version).not.toBe(0);
    const bytes = new Uint8Array(2);
    device.io.readRegion(0, 0xfe, bytes);
    expect(new DataView(bytes.buffer).getUint16(0, true)).toBe(version);
    expect(() => bar.read16(0x100)).toThrow(ArgumentError);
    if (mappable.length === 0) {
      expect(() => bar.map()).toThrow(UnsupportedError);
      return;
    }
    using mapping = bar.map();
    expect(mapping.bytes).toHaveLength(PAGE);
    expect(mapping.bytes[0xfe]).toBe(version & 0xff);
  });
});

describe.each(backendNames)("the expansion ROM of a network card through %s", (backend) => {
  expectNothingLeft();

  test("is a read-only region with the card's image", () => {
    using _binding = bindToVfio(pairNicBdf());
    using nic = PciDevice.open(pairNicBdf(), { backend });
    const { io } = nic;
    const region = io.regionInfo(VFIO_PCI_ROM_REGION_INDEX);
    const [, , , , , , romLine = ""] = readFileSync(
      `/sys/bus/pci/devices/${pairNicBdf()}/resource`,
      "utf8",
    ).split("\n");
    const [start = 0, last = 0] = romLine.split(" ").map(Number);
    expect(region).toMatchObject({
      sizeBytes: last - start + 1,
      readable: true,
      writable: false,
      mappable: [],
    });
    const image = Buffer.alloc(region.sizeBytes);
    io.readRegion(VFIO_PCI_ROM_REGION_INDEX, 0, image);
    // PCI Firmware Specification: signature AA55h, and at 18h where the data structure is, with the card's ids.
    expect(image.readUInt16LE(0)).toBe(0xaa55);
    const data = image.subarray(image.readUInt16LE(0x18));
    const { vendorId, deviceId } = readPciFunction(pairNicBdf());
    expect([data.toString("latin1", 0, 4), data.readUInt16LE(4), data.readUInt16LE(6)]).toEqual([
      "PCIR",
      vendorId,
      deviceId,
    ]);
  });
});

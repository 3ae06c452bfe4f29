/** BARs that can be mapped as a whole, in parts, or not at all. */
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { reg32, registerBlock } from "../../../src/doors/pci.js";
import { type RunningEmulator, startEmulator } from "../../../src/emulator/worker.js";
import { ArgumentError, type Bar, PciDevice, UnsupportedError } from "../../../src/index.js";
import { VFIO_PCI_ROM_REGION_INDEX, VFIO_PCI_VGA_REGION_INDEX } from "../../../src/vfio/uapi.js";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { socketPath } from "../../support/emulators.js";
import { holdings } from "../../support/holdings.js";

const PAGE = 4096;
const MAPPED = [PAGE, 3 * PAGE, 5 * PAGE - 8];
const NOT_MAPPED = [0, PAGE - 8, 2 * PAGE, 5 * PAGE, 8 * PAGE - 8];
const program = "test/support/bars-main.ts";

let tree: CompiledTree;
let emulator: RunningEmulator;
let device: PciDevice;
beforeAll(async () => {
  tree = compileTree(program);
  const request = { socket: socketPath(), device: "edu", options: {} } as const;
  emulator = await startEmulator(request, pathToFileURL(tree.file(program)));
  device = PciDevice.open(emulator.address);
});
afterAll(async () => {
  device.close();
  await emulator.close();
  tree[Symbol.dispose]();
});

/** How many accesses to BAR 0 come by message. */
function messagesOf(work: (bar: Bar) => void): number {
  device.bar(1).write32(0, 0);
  work(device.bar(0));
  return device.bar(1).read32(0);
}

describe("a BAR of which parts can be mapped", () => {
  test.each([8, 16, 32, 64])(
    "is loaded and stored there, and reached by message elsewhere, by %d bits",
    (bits) => {
      const access = (bar: Bar, offset: number): void => {
        if (bits === 8) bar.write8(offset, 0xa5);
        else if (bits === 16) bar.write16(offset, 0xa5a6);
        else if (bits === 32) bar.write32(offset, 0xa5a6_a7a8);
        else bar.writeWhole64(offset, 0xa5a6_a7a8_a9aa_abacn);
        if (bits === 8) expect(bar.read8(offset)).toBe(0xa5);
        else if (bits === 16) expect(bar.read16(offset)).toBe(0xa5a6);
        else if (bits === 32) expect(bar.read32(offset)).toBe(0xa5a6_a7a8);
        else expect(bar.readWhole64(offset)).toBe(0xa5a6_a7a8_a9aa_abacn);
      };
      for (const offset of MAPPED) expect(messagesOf((bar) => access(bar, offset))).toBe(0);
      for (const offset of NOT_MAPPED) {
        expect(messagesOf((bar) => access(bar, offset))).toBe(2);
        expect(device.bar(1).read32(4)).toBe(bits / 8);
      }
    },
  );

  test("has the same content by message and by load", () => {
    const bytes = new Uint8Array(4);
    for (const offset of MAPPED) {
      device.bar(0).write32(offset, 0x0102_0304 + offset);
      device.io.readRegion(0, offset, bytes);
      expect(new Uint32Array(bytes.buffer)[0]).toBe(0x0102_0304 + offset);
      device.io.writeRegion(0, offset, Uint8Array.of(9, 9, 9, 9));
      expect(device.bar(0).read32(offset)).toBe(0x0909_0909);
    }
  });

  test("takes 64 bits in halves of which one is mapped, low half first", () => {
    for (const offset of [PAGE - 4, 2 * PAGE - 4, 3 * PAGE - 4, 5 * PAGE - 4]) {
      const messages = messagesOf((bar) => {
        bar.write64(offset, 0x1122_3344_5566_7788n);
        expect(bar.read64(offset)).toBe(0x1122_3344_5566_7788n);
      });
      expect(messages).toBe(2);
      expect(device.bar(0).read32(offset)).toBe(0x5566_7788);
    }
    expect(messagesOf((bar) => bar.write64(PAGE, 5n))).toBe(0);
    expect(messagesOf((bar) => expect(bar.read64(PAGE)).toBe(5n))).toBe(0);
  });

  test("carries an access of any length through its descriptor", () => {
    const bytes = Uint8Array.from({ length: 3 * PAGE }, (_, i) => i & 0xff);
    device.io.writeRegion(0, 3 * PAGE - 100, bytes);
    const back = new Uint8Array(bytes.length);
    device.io.readRegion(0, 3 * PAGE - 100, back);
    expect(back).toEqual(bytes);
    expect(device.bar(0).read8(3 * PAGE)).toBe(100);
    expect(device.bar(0).read8(5 * PAGE)).toBe((2 * PAGE + 100) & 0xff);
  });

  test("keeps the pending bits of MSI-X from a write that reaches beyond them", () => {
    const at = 2 * PAGE + 0x800;
    device.io.writeRegion(0, at - 8, new Uint8Array(24).fill(0x77));
    const bytes = new Uint8Array(24);
    device.io.readRegion(0, at - 8, bytes);
    const [before, bits, after] = [0, 8, 16].map((start) => [...bytes.slice(start, start + 8)]);
    expect([before, bits, after]).toEqual([Array(8).fill(0x77), Array(8).fill(0), Array(8).fill(0x77)]);
  });

  test("is used by declared registers, whichever page they are in", () => {
    const block = registerBlock("block", { low: reg32(PAGE - 4), high: reg32(PAGE) });
    const regs = block.on(device.bar(0));
    const messages = messagesOf(() => {
      regs.low.write(1);
      regs.high.write(2);
      expect([regs.low.read(), regs.high.read()]).toEqual([1, 2]);
    });
    expect(messages).toBe(2);
  });

  test("can be mapped only there, which leaves the page of the MSI-X table out", () => {
    const bar = device.bar(0);
    expect(device.io.regionInfo(0).mappable).toEqual([
      { offset: PAGE, sizeBytes: PAGE },
      { offset: 3 * PAGE, sizeBytes: 2 * PAGE },
    ]);
    using part = bar.map(3 * PAGE, 2 * PAGE);
    bar.write32(3 * PAGE, 77);
    expect(part.words[0]).toBe(77);
    expect(() => bar.map()).toThrow(UnsupportedError);
    expect(() => bar.map(2 * PAGE, PAGE)).toThrow(UnsupportedError);
    expect(() => bar.map(PAGE, 2 * PAGE)).toThrow(UnsupportedError);
    expect(() => bar.map(PAGE + 4, 4)).toThrow(ArgumentError);
  });

  test("is unmapped with the device, and while the device sleeps", () => {
    device.bar(0).read32(PAGE);
    device.bar(0).read32(3 * PAGE);
    const before = holdings();
    device.close();
    device = PciDevice.open(emulator.address);
    expect(holdings().descriptors).toBeLessThanOrEqual(before.descriptors);
    const bar = device.bar(0);
    bar.write32(PAGE, 5);
    bar.unmap();
    expect(bar.read32(PAGE)).toBe(5);
    expect(messagesOf((mapped) => mapped.read32(PAGE))).toBe(0);
  });

  test("refuses accesses that aren't aligned or lie outside, in each part alike", () => {
    const bar = device.bar(0);
    for (const offset of [...MAPPED, ...NOT_MAPPED]) {
      expect(() => bar.read16(offset + 1)).toThrow(ArgumentError);
      expect(() => bar.read32(offset + 2)).toThrow(ArgumentError);
      expect(() => bar.readWhole64(offset + 4)).toThrow(ArgumentError);
      expect(() => bar.write8(offset, 256)).toThrow(ArgumentError);
      expect(() => bar.write16(offset, -1)).toThrow(ArgumentError);
    }
    for (const offset of [-1, 8 * PAGE, 0.5, Number.NaN]) {
      expect(() => bar.read8(offset)).toThrow(ArgumentError);
      expect(() => bar.write8(offset, 0)).toThrow(ArgumentError);
    }
    expect(() => bar.read64(8 * PAGE - 4)).toThrow(ArgumentError);
  });
});

test("a BAR in I/O space and one that is smaller than a page are reached by message, and can't be mapped", () => {
  expect(device.function.bars.map(({ kind, sizeBytes }) => [kind, sizeBytes])).toEqual([
    ["memory", 8 * PAGE],
    ["io", 16],
    ["memory", 256],
  ]);
  for (const index of [1, 2]) {
    const bar = device.bar(index);
    expect(() => bar.map()).toThrow(UnsupportedError);
    expect(bar.read8(bar.sizeBytes - 1)).toBe(0);
    expect(() => bar.read8(bar.sizeBytes)).toThrow(ArgumentError);
  }
  device.bar(2).writeWhole64(8, 7n);
  expect(device.bar(2).read64(8)).toBe(7n);
});

test("a BAR that the device lacks is an ArgumentError, and so are a ROM and a VGA region that it lacks", () => {
  for (const index of [3, 4, 5]) expect(() => device.bar(index)).toThrow(/has no BAR \d/);
  for (const index of [6, -1, 0.5]) expect(() => device.bar(index)).toThrow(ArgumentError);
  for (const index of [VFIO_PCI_ROM_REGION_INDEX, VFIO_PCI_VGA_REGION_INDEX]) {
    expect(device.io.regionInfo(index)).toMatchObject({ sizeBytes: 0, mappable: [], readable: false });
    expect(() => device.io.readRegion(index, 0, new Uint8Array(2))).toThrow(ArgumentError);
    expect(() => device.io.mapRegion(index, 0, PAGE)).toThrow(ArgumentError);
  }
});

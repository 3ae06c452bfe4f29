/** Declared registers in BARs of vfio-user devices: mapped, where accesses are loads and stores, and by message. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bit, reg8, reg16, reg32, reg64, registerBlock } from "../../../src/doors/pci.js";
import { ArgumentError, ClosedError, DeviceGoneError, PciDevice, StateError } from "../../../src/index.js";
import { Command } from "../../../src/vfio-user/protocol/protocol.js";
import { useEmulatedEdu } from "../../support/emulated-edu.js";
import { compileEmulators } from "../../support/emulators.js";
import { drop, useForgottenWarnings } from "../../support/forgotten.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { RawServer } from "../../support/raw-vfio-user.js";

beforeAll(() => void compileEmulators());

describe("registers in a BAR that is mapped", () => {
  const Memory = registerBlock("memory", {
    byte: reg8(0x101),
    half: reg16(0x102),
    word: reg32(0x104, { fields: { low: bit(0), top: bit(31) } }),
    whole: reg64(0x108, { order: "whole" }),
    end: reg32(0x1ffc),
  });
  let server: RawServer;
  beforeAll(async () => {
    server = await RawServer.start();
    const device = PciDevice.open(`vfio-user:${server.path}`);
    device.bar(0).map().close();
    device.close();
    await server.left();
  });
  afterAll(() => server.close());
  expectNothingLeftSoon();

  test("are loaded and stored at their widths, and seen by the BAR's own methods", async () => {
    await server.tell();
    using device = PciDevice.open(`vfio-user:${server.path}`);
    const bar = device.bar(0);
    const regs = Memory.on(bar);
    regs.byte.write(0xa5);
    regs.half.write(0xbeef);
    regs.word.write({ top: true });
    regs.whole.write(0x1122_3344_5566_7788n);
    regs.end.write(-2);
    expect(bar.read32(0x100)).toBe(0xbeef_a500);
    expect(bar.read8(0x101)).toBe(0xa5);
    expect(bar.read16(0x102)).toBe(0xbeef);
    expect(bar.read32(0x104)).toBe(0x8000_0000);
    expect(bar.readWhole64(0x108)).toBe(0x1122_3344_5566_7788n);
    expect(bar.read64(0x108)).toBe(0x1122_3344_5566_7788n);
    expect(bar.read32(0x1ffc)).toBe(0xffff_fffe);
    bar.write8(0x101, 1);
    bar.write16(0x102, 2);
    bar.write32(0x104, 3 | (1 << 31));
    bar.writeWhole64(0x108, 4n);
    expect([regs.byte.read(), regs.half.read(), regs.word.read(), regs.whole.read()]).toEqual([
      1,
      2,
      0x8000_0003,
      4n,
    ]);
    expect(regs.word.decode()).toEqual({ low: true, top: true });
    const halves = registerBlock("halves", { low: reg64(0x110) }).on(bar);
    const other = registerBlock("halves", { high: reg64(0x110, { order: "high-first" }) }).on(bar);
    halves.low.write(0x5_0000_0006n);
    expect([halves.low.read(), other.high.read(), bar.read32(0x114)]).toEqual([
      0x5_0000_0006n,
      0x5_0000_0006n,
      5,
    ]);
    expect(() => bar.read16(0x101)).toThrow(ArgumentError);
    expect(() => bar.readWhole64(0x104)).toThrow(ArgumentError);
    expect(() => bar.write8(0x2000, 1)).toThrow(ArgumentError);
    expect(() => bar.write8(0, 256)).toThrow(ArgumentError);
    expect(() => bar.write16(0, -1)).toThrow(ArgumentError);
    expect(() => bar.writeWhole64(0, -1n)).toThrow(ArgumentError);
  });

  test("throw a ClosedError once the device is closed, and nothing reaches the memory", async () => {
    await server.tell();
    const device = PciDevice.open(`vfio-user:${server.path}`);
    const regs = Memory.on(device.bar(0));
    regs.word.write(7);
    device.close();
    expect(() => regs.word.read()).toThrow(ClosedError);
    expect(() => regs.word.write(1)).toThrow(ClosedError);
    expect(() => regs.word.write({ low: true })).toThrow(ClosedError);
    expect(() => regs.byte.read()).toThrow(ClosedError);
    expect(() => regs.half.write(1)).toThrow(ClosedError);
    expect(() => regs.whole.read()).toThrow(ClosedError);
    await expect(regs.word.until({ low: true }, { timeoutMs: 60_000 })).rejects.toThrow(ClosedError);
  });
});

describe("registers in a mapped BAR that a program forgets", () => {
  let server: RawServer;
  beforeAll(async () => {
    server = await RawServer.start();
  });
  afterAll(() => server.close());
  const forgotten = useForgottenWarnings();

  test("don't keep the device open", async () => {
    await server.tell();
    drop(() => {
      const device = PciDevice.open(`vfio-user:${server.path}`);
      const regs = registerBlock("memory", { word: reg32(0x104) }).on(device.bar(0));
      regs.word.write(1);
      expect(device.bar(0).read32(0x104)).toBe(1);
    });
    expect(await forgotten.warned(/^PCI device .* was never closed/)).toBe(true);
  });
});

describe("registers in a BAR whose server comes back with a file that can be truncated", () => {
  let server: RawServer;
  beforeAll(async () => {
    server = await RawServer.start();
  });
  afterAll(() => server.close());

  test("are checked before each access from then on, so that a truncated file is an error and no crash", async () => {
    await server.tell();
    using device = PciDevice.open(`vfio-user:${server.path}`, {
      vfioUser: { trustServer: true, reconnect: true, timeoutMs: 60_000 },
    });
    const regs = registerBlock("memory", { word: reg32(0x104), half: reg16(0x102) }).on(device.bar(0));
    regs.word.write(1);
    const back = new Promise<void>((resolve) => {
      device.onPresence(({ kind }) => {
        if (kind === "back") resolve();
      });
    });
    await server.tell(
      { command: Command.regionWrite, hangUp: true, raw: new Uint8Array(0) },
      { command: Command.deviceGetRegionInfo, region: 0, fds: ["unsealed"] },
    );
    expect(() => device.io.writeRegion(7, 4, new Uint8Array(2))).toThrow(DeviceGoneError);
    await back;
    regs.word.write(7);
    expect(regs.word.read()).toBe(7);
    await server.tell({ command: Command.deviceReset, truncate: true });
    device.reset();
    expect(() => regs.word.read()).toThrow(StateError);
    expect(() => regs.half.write(1)).toThrow(StateError);
  });
});

describe("registers in a BAR that is reached by message", () => {
  const Edu = registerBlock("edu", {
    identification: reg32(0x00, { access: "ro" }),
    liveness: reg32(0x04),
    factorial: reg32(0x08),
    status: reg32(0x20, { fields: { computing: bit(0, { access: "ro" }), interrupt: bit(7) } }),
    interrupts: reg32(0x24, { access: "ro", fields: { factorial: bit(0) } }),
    acknowledge: reg32(0x64, { access: "wo" }),
    dmaSource: reg64(0x80, { order: "whole" }),
  });
  let device: PciDevice;
  useEmulatedEdu((made) => {
    ({ device } = made);
  });

  test("drive edu: identification, liveness, a factorial by polling and by interrupt", async () => {
    const regs = Edu.on(device.bar(0));
    expect(regs.identification.read()).toBe(0x0100_00ed);
    regs.liveness.write(0x1234_5678);
    expect(regs.liveness.read()).toBe(~0x1234_5678 >>> 0);
    regs.factorial.write(5);
    await regs.status.until({ computing: false }, { timeoutMs: 60_000 });
    expect(regs.factorial.read()).toBe(120);
    regs.dmaSource.write(0x12_3456_7890n);
    expect(regs.dmaSource.read()).toBe(0x12_3456_7890n);

    device.config.busMaster = true;
    using interrupts = device.enableInterrupts();
    regs.status.modify({ interrupt: true });
    regs.factorial.write(6);
    const wake = (again: () => void) => interrupts.watch(0, again);
    await regs.interrupts.until({ factorial: true }, { timeoutMs: 60_000, wake });
    expect(regs.factorial.read()).toBe(720);
    regs.acknowledge.write(1);
    expect(regs.interrupts.get("factorial")).toBe(false);
  });

  test("throw a ClosedError once the device is closed", () => {
    const regs = Edu.on(device.bar(0));
    device.close();
    expect(() => regs.liveness.read()).toThrow(ClosedError);
    expect(() => regs.liveness.write(1)).toThrow(ClosedError);
  });
});

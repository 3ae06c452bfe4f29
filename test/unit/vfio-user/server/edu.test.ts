/** The emulated edu device through the whole stack: PciDevice, client, socket, server. */
import { beforeAll, describe, expect, test } from "vitest";
import type { RunningEmulator } from "../../../../src/emulator/worker.js";
import { ArgumentError, PciDevice, UnsupportedError } from "../../../../src/index.js";
import { EDU_IDENTIFICATION, Edu, EduRegister } from "../../../support/edu.js";
import { useEmulatedEdu } from "../../../support/emulated-edu.js";
import { compileEmulators } from "../../../support/emulators.js";
import { nextSignal } from "../../../support/signal.js";

const PAGE = 4096;

beforeAll(() => void compileEmulators());

describe("edu behind a socket", () => {
  let emulator: RunningEmulator;
  let device: PciDevice;
  useEmulatedEdu((made) => {
    ({ emulator, device } = made);
  });

  test("edu is a PCI function", () => {
    expect(device.backend).toBe("vfio-user");
    expect(device.bdf).toBe(emulator.address);
    expect(device.function).toMatchObject({ vendorId: 0x1234, deviceId: 0x11e8 });
    expect(device.function.bars).toEqual([
      { index: 0, kind: "memory", sizeBytes: 1024 * 1024, prefetchable: false, is64Bit: false },
    ]);
    expect(device.io.info()).toMatchObject({ isPci: true, resettable: true });
    expect(() => device.bar(1)).toThrow(ArgumentError);
    expect(() => device.bar(0).map()).toThrow(UnsupportedError);
  });

  test("edu has no virtual functions, so it takes no token", () => {
    const vfToken = "52ac9bff-3a88-4fbd-901a-0d767c3b6c97";
    expect(() => PciDevice.open(emulator.address, { vfToken })).toThrow(/token/);
    expect(() => PciDevice.open(emulator.address, { vfToken: "secret" })).toThrow(ArgumentError);
    expect(() => device.setVfToken(vfToken)).toThrow(UnsupportedError);
    expect(() => device.setVfToken("secret")).toThrow(ArgumentError);
  });

  test("edu's registers lose their values in a reset", () => {
    const registers = device.bar(0);
    expect(registers.read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
    registers.write32(EduRegister.liveness, 0x1234_5678);
    expect(registers.read32(EduRegister.liveness)).toBe(0xedcb_a987);
    device.reset();
    expect(registers.read32(EduRegister.liveness)).toBe(0);
  });

  test("resetAsync() resets edu as reset() does", async () => {
    const registers = device.bar(0);
    registers.write32(EduRegister.liveness, 0x1234_5678);
    let turns = 0;
    const turn = (): void => void turns++;
    setImmediate(turn);
    await device.resetAsync();
    expect(turns).toBe(1);
    expect(registers.read32(EduRegister.liveness)).toBe(0);
  });

  test.each(["msi", "intx"] as const)("edu interrupts by %s after resetAsync()", async (kind) => {
    const edu = new Edu(device.io);
    using interrupts = device.enableInterrupts({ kind });
    await device.resetAsync();
    device.config.busMaster = true;
    const signal = nextSignal(interrupts, 0);
    edu.raise(1);
    expect(await signal).toBe(1);
    edu.acknowledge();
  });

  test.each(["msi", "intx"] as const)("edu interrupts by %s", async (kind) => {
    const edu = new Edu(device.io);
    using interrupts = device.enableInterrupts({ kind });
    for (const bit of [1, 2]) {
      const signal = nextSignal(interrupts, 0);
      edu.raise(bit);
      expect(await signal).toBe(1);
      expect(edu.interruptStatus).toBe(bit);
      edu.acknowledge();
    }
  });

  test("edu moves memory by DMA, both ways, and reaches only mapped memory", async () => {
    const edu = new Edu(device.io);
    using buffer = device.dma.alloc(2 * PAGE, { addressBits: 28 });
    buffer.bytes.fill(0x6b, 0, 1024);
    await edu.load(buffer.iova, 1024);
    await edu.store(buffer.iova + BigInt(PAGE), 1024);
    expect(buffer.view(PAGE, 1024).every((byte) => byte === 0x6b)).toBe(true);
    expect(buffer.view(PAGE + 1024, 1024).every((byte) => byte === 0)).toBe(true);
    const before = buffer.bytes.slice();
    await edu.store(buffer.iova + BigInt(2 * PAGE), 64);
    expect(buffer.bytes).toEqual(new Uint8Array(before));
  });

  test("edu does no DMA while it isn't bus master, and does again after a reset", async () => {
    const edu = new Edu(device.io);
    using buffer = device.dma.alloc(PAGE, { addressBits: 28 });
    buffer.bytes.fill(0x11, 0, 64);
    await edu.load(buffer.iova, 64);
    device.config.busMaster = false;
    buffer.bytes.fill(0);
    await edu.store(buffer.iova, 64);
    expect(buffer.bytes.every((byte) => byte === 0)).toBe(true);
    device.config.busMaster = true;
    await edu.store(buffer.iova, 64);
    expect(buffer.view(0, 64).every((byte) => byte === 0x11)).toBe(true);
    device.reset();
    device.config.busMaster = false;
    device.config.busMaster = true;
    expect(device.config.busMaster).toBe(true);
  });

  test("the server serves one client after the other", async () => {
    device.close();
    for (let i = 0; i < 3; i++) {
      using again = PciDevice.open(emulator.address);
      expect(again.bar(0).read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
    }
  });
});

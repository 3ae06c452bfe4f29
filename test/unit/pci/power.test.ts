/** Power states of a function, and its resets, over vfio-user and a device that also has power management. */
import { beforeAll, expect, test } from "vitest";
import type { DeviceInfo, DeviceIo, IrqInfo, RegionInfo } from "../../../src/doors/vfio.js";
import { VFIO_PCI_CONFIG_REGION_INDEX } from "../../../src/doors/vfio.js";
import {
  ArgumentError,
  Bar,
  ConfigSpace,
  DeviceGoneError,
  PciDevice,
  StateError,
  UnsupportedError,
} from "../../../src/index.js";
import { DevicePower } from "../../../src/pci/power.js";
import { presenceOf } from "../../../src/pci/presence.js";
import type { MappedMemory } from "../../../src/sys/memory.js";
import { caught } from "../../support/caught.js";
import { EDU_IDENTIFICATION, EduRegister } from "../../support/edu.js";
import { useEmulatedEdu } from "../../support/emulated-edu.js";
import { compileEmulators } from "../../support/emulators.js";

beforeAll(() => void compileEmulators());

/** Edu's list of capabilities starts here; the one of power management takes its place. */
const CAPABILITY_AT = 0x40;
const CONTROL_AT = CAPABILITY_AT + 4;
const D1_SUPPORT = 1 << 9;

/** Edu with power management, as it would be with D0, D1 and D3hot. */
class SleepyIo implements DeviceIo {
  readonly lease;
  /** Whether it takes other states than D0. */
  isStubborn = false;
  readonly power = new Uint8Array(8);

  constructor(private readonly io: DeviceIo) {
    this.lease = io.lease;
    this.power[0] = 0x01;
    new DataView(this.power.buffer).setUint16(2, D1_SUPPORT, true);
    // PME_Status, which a write of 1 clears.
    this.power[5] = 0x80;
  }

  info(): DeviceInfo {
    return this.io.info();
  }
  regionInfo(index: number): RegionInfo {
    return this.io.regionInfo(index);
  }
  readRegion(index: number, offset: number, target: Uint8Array): void {
    this.io.readRegion(index, offset, target);
    if (index !== VFIO_PCI_CONFIG_REGION_INDEX) return;
    for (let i = 0; i < target.length; i++)
      target[i] = this.power[offset + i - CAPABILITY_AT] ?? target[i] ?? 0;
  }
  writeRegion(index: number, offset: number, source: Uint8Array): void {
    if (index !== VFIO_PCI_CONFIG_REGION_INDEX || offset < CAPABILITY_AT) {
      this.io.writeRegion(index, offset, source);
      return;
    }
    expect([offset, source.length]).toEqual([CONTROL_AT, 1]);
    if (!this.isStubborn) this.power.set(source, offset - CAPABILITY_AT);
  }
  mapRegion(index: number, offset: number, sizeBytes: number): MappedMemory {
    return this.io.mapRegion(index, offset, sizeBytes);
  }
  irqInfo(index: number): IrqInfo {
    return this.io.irqInfo(index);
  }
  setIrqEventfds(index: number, start: number, fds: readonly number[]): void {
    this.io.setIrqEventfds(index, start, fds);
  }
  disableIrq(index: number): void {
    this.io.disableIrq(index);
  }
  actOnIrq(index: number, action: "mask" | "unmask" | "trigger", start: number, count: number): void {
    this.io.actOnIrq(index, action, start, count);
  }
  reset(): void {
    this.power[4] = 0;
    this.io.reset();
  }
}

let device: PciDevice;
useEmulatedEdu((made) => {
  ({ device } = made);
});

test("a function without power management has D0 only", () => {
  const { power } = device;
  expect(power.supported).toEqual(["D0"]);
  expect(power.state).toBe("D0");
  power.state = "D0";
  expect(() => {
    power.state = "D3hot";
  }).toThrow(UnsupportedError);
  expect(() => Reflect.set(power, "state", "D3")).toThrow(ArgumentError);
});

test("registers can't be accessed while the function sleeps, and can afterwards", () => {
  const io = new SleepyIo(device.io);
  const power = new DevicePower(io, new ConfigSpace(io));
  const bar = new Bar(io, 0);
  expect(power.supported).toEqual(["D0", "D1", "D3hot"]);
  expect(bar.read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
  for (const state of ["D1", "D3hot"] as const) {
    power.state = state;
    expect(power.state).toBe(state);
    expect(() => bar.read32(0)).toThrow(new RegExp(`in ${state}; wake it by power.state = "D0"`));
    expect(() => bar.write8(0, 0)).toThrow(StateError);
    expect(() => bar.map()).toThrow(StateError);
    expect(() => new Bar(io, 0).read32(0)).toThrow(StateError);
    power.state = "D0";
    expect(bar.read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
  }
  expect(() => {
    power.state = "D2";
  }).toThrow(/has no D2, only D0, D1, D3hot/);
});

test("a state that the function doesn't take is an error, and its registers still work", () => {
  const io = new SleepyIo(device.io);
  io.isStubborn = true;
  const power = new DevicePower(io, new ConfigSpace(io));
  expect(() => {
    power.state = "D3hot";
  }).toThrow(/stays in D0 when D3hot is set/);
  expect(new Bar(io, 0).read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
});

test("a reset wakes the function", () => {
  const io = new SleepyIo(device.io);
  const power = new DevicePower(io, new ConfigSpace(io));
  power.state = "D3hot";
  power.settle();
  expect(() => new Bar(io, 0).read32(0)).toThrow(StateError);
  io.reset();
  power.settle();
  expect(new Bar(io, 0).read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
});

test("low power and a bus reset need the kernel's VFIO", async () => {
  expect(device.power.isLowPower).toBe(false);
  expect(() => device.power.enterLowPower()).toThrow(UnsupportedError);
  expect(() => device.power.exitLowPower()).toThrow(UnsupportedError);
  expect(() => device.affectedByReset()).toThrow(UnsupportedError);
  expect(() => device.reset({ scope: "bus" })).toThrow(UnsupportedError);
  expect(await caught(device.resetAsync({ scope: "bus" }))).toBeInstanceOf(UnsupportedError);
  expect(() => Reflect.apply(device.reset, device, [{ scope: "slot" }])).toThrow(ArgumentError);
  expect(() => Reflect.apply(device.reset, device, [null])).toThrow(ArgumentError);
  device.reset({ scope: "function" });
  await device.resetAsync();
});

test("all ones during a reset don't mean that the device has gone", async () => {
  const presence = presenceOf(device.io);
  const { signal } = presence;
  const { readRegion } = device.io;
  await presence.resetting(async () => {
    device.io.readRegion = (_index, _offset, target) => void target.fill(0xff);
    expect(presence.isGone()).toBe(true);
    device.io.readRegion = readRegion;
  });
  expect(presence.isGone()).toBe(false);
  expect(signal.aborted).toBe(false);
  await expect(presence.resetting(() => Promise.reject(new DeviceGoneError("it")))).rejects.toBeInstanceOf(
    DeviceGoneError,
  );
});

test("bus mastering is off when the device is opened again", () => {
  device.config.busMaster = true;
  device.close();
  using again = PciDevice.open(device.bdf);
  expect(again.config.busMaster).toBe(false);
});

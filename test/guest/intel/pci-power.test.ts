/** PciDevice on hardware: late vectors, the kernel's request for the device, bus resets, sleep, and the end of bus mastering. */
import { execFile } from "node:child_process";
import { closeSync, openSync, readSync } from "node:fs";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { reg32, registerBlock } from "../../../src/doors/pci.js";
import {
  BusyError,
  bindToVfio,
  ClosedError,
  DeviceRequestedError,
  PciCommand,
  PciDevice,
  PciRegister,
  StateError,
  UnsupportedError,
  type VfioBinding,
} from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import { caught } from "../../support/caught.js";
import { EDU_IDENTIFICATION, Edu, EduRegister } from "../../support/edu.js";
import { eduBdf, nvmeBdf, otherPortEduBdf, portEduBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";

const NVME_VERSION = 0x0001_0400;
const Nvme = registerBlock("nvme", { version: reg32(0x08, { access: "ro" }) });

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf(), portEduBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

/** The command register, as the kernel reads it. */
function commandOf(bdf: string): number {
  const fd = openSync(`/sys/bus/pci/devices/${bdf}/config`, "r");
  const bytes = new Uint8Array(2);
  readSync(fd, bytes, 0, 2, PciRegister.command);
  closeSync(fd);
  return new DataView(bytes.buffer).getUint16(0, true);
}

describe.each(backendNames)("a PciDevice through %s", (backend) => {
  expectNothingLeft();
  const open = (bdf: string): PciDevice => PciDevice.open(bdf, { backend });

  test("gets further MSI-X vectors while the first ones work", async () => {
    using device = open(nvmeBdf());
    using interrupts = device.enableInterrupts({ kind: "msix", count: 2 });
    const first = interrupts.vectors[0]?.once();
    interrupts.grow(5);
    expect(interrupts.vectors).toHaveLength(5);
    interrupts.vectors[4]?.trigger();
    expect(await interrupts.vectors[4]?.once()).toBe(1);
    interrupts.vectors[0]?.trigger();
    expect(await first).toBe(1);
    interrupts.grow(1000);
    expect(interrupts.vectors).toHaveLength(65);
    expect(() => interrupts.vectors[0]?.mask()).toThrow(UnsupportedError);
  });

  test("masks INTx, and unmasks it with each wait", async () => {
    using device = open(eduBdf());
    const edu = new Edu(device.io);
    using interrupts = device.enableInterrupts({ kind: "intx" });
    const [vector] = interrupts.vectors;
    vector?.mask();
    edu.raise(1);
    expect(vector?.waitSync(50)).toBe(0);
    vector?.unmask();
    expect(await vector?.once()).toBe(1);
    edu.acknowledge();
    edu.raise(2);
    expect(await vector?.once()).toBe(1);
    edu.acknowledge();
  });

  test("ends waits when the kernel requests the device back", async () => {
    const device = open(eduBdf());
    const { signal } = device;
    const interrupts = device.enableInterrupts({ kind: "msi" });
    const waits = caught(interrupts.vectors[0]?.once() ?? Promise.resolve());
    const requested = new Promise<string>((resolve) => device.onPresence(({ kind }) => resolve(kind)));
    const unbind = `require("fs").writeFileSync("/sys/bus/pci/drivers/vfio-pci/unbind", "${eduBdf()}")`;
    const unbound = promisify(execFile)(process.execPath, ["-e", unbind]);
    expect(await requested).toBe("requested");
    expect(await waits).toBeInstanceOf(DeviceRequestedError);
    expect(signal.reason).toBeInstanceOf(DeviceRequestedError);
    device.close();
    expect(device.signal.reason).not.toBeInstanceOf(ClosedError);
    await unbound;
    bindings.push(bindToVfio(eduBdf()));
  });

  test("isn't bus master any more when it is closed", () => {
    const device = open(nvmeBdf());
    device.config.busMaster = true;
    expect(commandOf(nvmeBdf()) & PciCommand.busMaster).not.toBe(0);
    device.close();
    expect(commandOf(nvmeBdf()) & PciCommand.busMaster).toBe(0);
  });

  test("sleeps in D3hot without its registers, and has them again in D0", async () => {
    using device = open(nvmeBdf());
    const { power } = device;
    const bar = device.bar(0);
    const { version } = Nvme.on(bar);
    expect(power.supported).toEqual(["D0", "D3hot"]);
    expect(version.read()).toBe(NVME_VERSION);
    power.state = "D3hot";
    expect(power.state).toBe("D3hot");
    expect(() => version.read()).toThrow(StateError);
    expect(() => bar.read32(8)).toThrow("wake it by power.state");
    expect(() => bar.map()).toThrow(StateError);
    power.state = "D0";
    expect(version.read()).toBe(NVME_VERSION);
    expect(version.read()).toBe(NVME_VERSION);
    // A reset wakes it as well.
    power.state = "D3hot";
    await device.resetAsync();
    expect(power.state).toBe("D0");
    expect(version.read()).toBe(NVME_VERSION);
    using mapping = bar.map(0, 4096);
    expect(() => {
      power.state = "D3hot";
    }).toThrow(StateError);
    expect(mapping.closed).toBe(false);
    expect(version.read()).toBe(NVME_VERSION);
  });

  test("is in low power without its registers, and has them again afterwards", () => {
    using device = open(nvmeBdf());
    const { power } = device;
    const { version } = Nvme.on(device.bar(0));
    expect(version.read()).toBe(NVME_VERSION);
    power.enterLowPower();
    expect(power.isLowPower).toBe(true);
    expect(() => version.read()).toThrow("wake it by power.exitLowPower()");
    expect(device.config.read16(PciRegister.vendorId)).toBe(0x1b36);
    power.exitLowPower();
    expect(power.isLowPower).toBe(false);
    expect(version.read()).toBe(NVME_VERSION);
  });

  test("resets its bus with all functions there, if they are this process's", async () => {
    {
      using root = open(nvmeBdf());
      expect(() => root.affectedByReset()).toThrow(UnsupportedError);
      expect(() => root.reset({ scope: "bus" })).toThrow(UnsupportedError);
    }
    const bdfs = [portEduBdf(), otherPortEduBdf()];
    if (backend === "iommufd") {
      using alone = open(portEduBdf());
      expect(alone.affectedByReset().map(({ bdf }) => bdf)).toEqual(bdfs);
      expect(() => alone.reset({ scope: "bus" })).toThrow(BusyError);
      expect(() => alone.reset({ scope: "bus" })).toThrow(otherPortEduBdf());
    }
    using _other = bindToVfio(otherPortEduBdf());
    using device = open(portEduBdf());
    const registers = device.bar(0);
    registers.write32(EduRegister.liveness, 1);
    device.reset({ scope: "bus" });
    expect(registers.read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
    await device.resetAsync({ scope: "bus" });
    expect(registers.read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
  });
});

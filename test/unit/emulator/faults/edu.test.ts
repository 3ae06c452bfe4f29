/** The example's driver for edu, and interrupts and DMA of the kit, on a device with faults. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { Edu } from "../../../../examples/drivers/edu.js";
import type { EduFault } from "../../../../src/emulator/edu/device.js";
import type { RunningEmulator } from "../../../../src/emulator/worker.js";
import { ConfigError, DeviceGoneError, PciDevice } from "../../../../src/index.js";
import { EduRegister } from "../../../support/edu.js";
import { emulate } from "../../../support/emulators.js";
import { eventually } from "../../../support/eventually.js";
import { collectGarbage } from "../../../support/gc.js";
import { type Holdings, holdings } from "../../../support/holdings.js";

/** Short, because the fault keeps what is waited for from coming. */
const TIMEOUT = { timeoutMs: 50 };
/** By name: the example has the errors of the compiled package. */
const timeout = { name: "TimeoutError" };
const gone = { name: "DeviceGoneError" };

let emulator: RunningEmulator;
/** What this process, the emulator's thread included, holds between tests. */
let idle: Holdings;
beforeAll(async () => {
  emulator = await emulate({ device: "edu", options: {} });
  {
    // What is made for the first device stays.
    using device = open();
    using edu = new Edu(device);
    await edu.factorial(1);
  }
  idle = await settledHoldings();
});
afterAll(() => emulator.close());
afterEach(async () => {
  await emulator.order({ kind: "clearFaults" });
  // The server notices a little later that its client has gone.
  await vi.waitFor(() => expect(holdings()).toEqual(idle), { timeout: 600_000, interval: 10 });
});

/** What the process holds when that has stopped changing. */
async function settledHoldings(): Promise<Holdings> {
  let last = holdings();
  for (let same = 0; same < 20; ) {
    await sleep(5);
    const now = holdings();
    same = now.descriptors === last.descriptors ? same + 1 : 0;
    last = now;
  }
  return last;
}

/** Opens the device as after a reset. */
function open(): PciDevice {
  const device = PciDevice.open(emulator.address);
  device.reset();
  return device;
}

async function waitForInterrupt(device: PciDevice): Promise<void> {
  using interrupts = device.enableInterrupts({ count: 1 });
  await interrupts.vectors[0]?.once();
}

async function inject(...faults: EduFault[]): Promise<void> {
  for (const fault of faults) await emulator.order({ kind: "inject", fault });
}

describe("a driver of a device with a fault", () => {
  test("reads the wrong value", async () => {
    await inject({ kind: "wrong-value", where: "identification", fields: { major: 7 } });
    using device = open();
    using edu = new Edu(device);
    expect(edu.version).toBe("7.0");
  });

  test("gets a TimeoutError from a wait that never comes true", async () => {
    await inject({ kind: "stuck", where: "interruptStatus" });
    using device = open();
    using edu = new Edu(device, TIMEOUT);
    await expect(edu.factorial(5)).rejects.toMatchObject(timeout);
  });

  test("gets a TimeoutError if its command is lost, and can try again", async () => {
    await inject({ kind: "write-lost", where: "factorial", nth: 1 });
    using device = open();
    {
      using edu = new Edu(device, TIMEOUT);
      await expect(edu.factorial(5)).rejects.toMatchObject(timeout);
    }
    using edu = new Edu(device);
    expect(await edu.factorial(5)).toBe(120);
  });

  test("gets a DeviceGoneError if everything reads all ones, and can go on when that ends", async () => {
    using device = open();
    using edu = new Edu(device);
    await inject({ kind: "all-ones" });
    expect(edu.isAlive()).toBe(false);
    await expect(edu.factorial(5)).rejects.toMatchObject(gone);
    await expect(edu.write(0, Uint8Array.of(1))).rejects.toMatchObject(gone);
    expect(device.signal.reason).toMatchObject(gone);
  });

  test("sees a BAR that reads all ones, without an error: the device answers in configuration space", async () => {
    await inject({ kind: "all-ones", bar: 0 });
    using device = open();
    using edu = new Edu(device);
    expect([edu.version, edu.isAlive()]).toEqual(["255.255", false]);
    expect(device.signal.aborted).toBe(false);
  });

  test("survives a lost interrupt, because its wait also reads the register", async () => {
    await inject({ kind: "interrupt-lost" });
    using device = open();
    using edu = new Edu(device);
    expect(await edu.factorial(5)).toBe(120);
  });

  test("gets a TimeoutError from a wait for an interrupt that is lost, and later ones", async () => {
    await inject({ kind: "interrupt-lost", nth: 2 });
    using device = open();
    device.config.busMaster = true;
    using interrupts = device.enableInterrupts({ count: 1 });
    const raise = (): void => device.bar(0).write32(EduRegister.interruptRaise, 1);
    raise();
    expect(await interrupts.vectors[0]?.once()).toBe(1);
    raise();
    await expect(interrupts.vectors[0]?.once(TIMEOUT)).rejects.toMatchObject(timeout);
    raise();
    expect(await interrupts.vectors[0]?.once()).toBe(1);
  });

  test("takes an interrupt that comes late", async () => {
    await inject({ kind: "interrupt-latency", latencyMs: 30 });
    using device = open();
    using edu = new Edu(device);
    expect(await edu.factorial(5)).toBe(120);
    expect(await edu.factorial(6)).toBe(720);
  });

  test("gets an interrupt that nothing has caused, at once or at an access", async () => {
    using device = open();
    device.config.busMaster = true;
    using interrupts = device.enableInterrupts({ count: 1 });
    const [vector] = interrupts.vectors;
    await inject({ kind: "interrupt-unasked" });
    expect(await vector?.once()).toBe(1);
    await inject({ kind: "interrupt-unasked", where: "liveness", nth: 2 });
    device.bar(0).read32(EduRegister.liveness);
    await expect(vector?.once(TIMEOUT)).rejects.toMatchObject(timeout);
    device.bar(0).read32(EduRegister.liveness);
    expect(await vector?.once()).toBe(1);
  });

  test("works through an interrupt storm, and its event loop stays alive", async () => {
    using device = open();
    using edu = new Edu(device);
    await inject({ kind: "interrupt-storm" });
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    for (let n = 0; n < 20; n++) expect(await edu.factorial(5)).toBe(120);
    await eventually(() => (turns > 5 ? true : undefined));
    clearInterval(timer);
  });

  test("takes a flood of interrupts without holding memory", async () => {
    using device = open();
    device.config.busMaster = true;
    using interrupts = device.enableInterrupts({ count: 1 });
    let calls = 0;
    using _watch = interrupts.watch(0, () => calls++);
    await inject({ kind: "interrupt-storm" });
    const heapAfter = async (count: number): Promise<number> => {
      await eventually(() => (calls >= count ? true : undefined));
      collectGarbage();
      return process.memoryUsage().heapUsed;
    };
    const before = await heapAfter(300);
    expect((await heapAfter(3000)) - before).toBeLessThan(256 * 1024);
  });

  test("finds that a transfer wasn't done, or went elsewhere", async () => {
    using device = open();
    using edu = new Edu(device);
    await inject({ kind: "dma-lost", direction: "read", nth: 1 });
    await edu.write(0, Buffer.from("after!"));
    expect(await edu.read(0, 6)).toEqual(new Uint8Array(6));
    await edu.write(0, Buffer.from("after!"));
    expect(Buffer.from(await edu.read(0, 6)).toString()).toBe("after!");
    await inject({ kind: "dma-wrong-address", direction: "write", deltaBytes: 2 ** 40 });
    await edu.write(0, Buffer.from("newest"));
    // The IOMMU keeps the device from writing there, which it doesn't notice.
    expect(Buffer.from(await edu.read(0, 6)).toString()).toBe("newest");
    await edu.write(8, Buffer.from("......"));
    expect(Buffer.from(await edu.read(0, 6)).toString()).toBe("......");
  });

  test.each(["dmaCommand", "dmaSource", "interruptStatus"] as const)(
    "gets a DeviceGoneError if the device vanishes at an access to %s, and so do those that wait",
    async (where) => {
      using device = open();
      using edu = new Edu(device);
      const aborted = new Promise((resolve) => device.signal.addEventListener("abort", resolve));
      await inject({ kind: "remove", where });
      await expect(edu.write(0, Buffer.from("hello"))).rejects.toMatchObject(gone);
      await aborted;
      expect(device.signal.reason).toMatchObject(gone);
      await expect(edu.factorial(5)).rejects.toMatchObject(gone);
    },
  );

  test("gets a DeviceGoneError if the device vanishes while it waits", async () => {
    using device = open();
    using edu = new Edu(device);
    await inject({ kind: "stuck", where: "interruptStatus" });
    const waiting = expect(edu.factorial(5)).rejects.toMatchObject(gone);
    await inject({ kind: "remove" });
    await waiting;
  });

  test.each<[string, (device: PciDevice) => unknown]>([
    ["a register is read", (device) => device.bar(0).read32(EduRegister.liveness)],
    ["a register is written", (device) => device.bar(0).write32(EduRegister.liveness, 1)],
    ["a register of 64 bits is written", (device) => device.bar(0).writeWhole64(EduRegister.dmaSource, 1n)],
    ["configuration space is read", (device) => device.config.read16(0)],
    ["configuration space is decoded", (device) => device.config.dump()],
    ["configuration space is written", (device) => device.config.write16(4, 7)],
    ["its power state is asked for", (device) => device.power.state],
    ["interrupts are enabled", (device) => device.enableInterrupts()],
    ["an interrupt is waited for", (device) => waitForInterrupt(device)],
    ["memory is mapped", (device) => device.dma.alloc(8 << 20)],
    ["it is reset", (device) => device.reset()],
    ["it is reset without blocking", (device) => device.resetAsync()],
  ])("throws a DeviceGoneError when %s and the device has vanished, and can be closed", async (_, step) => {
    using device = open();
    using edu = new Edu(device);
    expect(await edu.factorial(3)).toBe(6);
    await inject({ kind: "remove" });
    // Each step is the first to notice, unless the event loop was faster.
    await expect((async () => step(device))()).rejects.toMatchObject(gone);
    await expect(edu.read(0, 4)).rejects.toMatchObject(gone);
  });

  test("can open the device again when it has been plugged in again", async () => {
    using device = open();
    await inject({ kind: "remove" });
    await eventually(() => (device.signal.aborted ? true : undefined));
    expect(open).toThrow(DeviceGoneError);
    await emulator.order({ kind: "clearFaults" });
    using again = PciDevice.open(emulator.address);
    using edu = new Edu(again);
    expect(await edu.factorial(5)).toBe(120);
  });

  test("opens a device whose configuration space is garbage, or gets an error that says so", async () => {
    for (let seed = 1; seed < 30; seed++) {
      await inject({ kind: "config-garbage", offset: 0x34, seed });
      using device = open();
      device.config.capabilities();
      device.config.dump();
      await emulator.order({ kind: "clearFaults" });
    }
  });
});

test("edu takes faults as options, and refuses those that are wrong", async () => {
  const faults: EduFault[] = [{ kind: "wrong-value", where: "identification", value: 5 }];
  const other = await emulate({ device: "edu", options: { faults } });
  try {
    using device = PciDevice.open(other.address);
    expect(device.bar(0).read32(EduRegister.identification)).toBe(5);
    const fault = { kind: "stuck", where: "nothing" };
    await expect(other.order({ kind: "inject", fault: fault as unknown as EduFault })).rejects.toThrow(
      ConfigError,
    );
    await expect(other.order({ kind: "captureTelemetry", reason: "none" })).rejects.toThrow(ConfigError);
  } finally {
    await other.close();
  }
});

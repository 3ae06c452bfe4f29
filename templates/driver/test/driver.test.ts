/** Tests the driver on the model: no hardware, no root. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DeviceGoneError, PciDevice, TimeoutError } from "iova";
import { type RunningEmulator, startEmulator } from "iova/emulator";
import { TemplateDriver } from "../src/driver.js";
import { registers } from "../src/registers.js";

const folder = mkdtempSync(join(tmpdir(), "template-"));
let emulator: RunningEmulator;

// The model runs on a thread of its own, because a driver blocks while it reads a register.
before(async () => {
  const device = new URL("./model.js", import.meta.url);
  emulator = await startEmulator({ socket: join(folder, "socket"), device });
});
after(async () => {
  await emulator?.close();
  rmSync(folder, { recursive: true });
});

test("the driver reads the version", () => {
  using device = PciDevice.open(emulator.address);
  using driver = new TemplateDriver(device);
  assert.equal(driver.version, "1.2");
});

test("the device adds up bytes of the driver's memory", async () => {
  using device = PciDevice.open(emulator.address);
  using driver = new TemplateDriver(device);
  assert.equal(await driver.sum(Uint8Array.of(1, 2, 3)), 6);
  assert.equal(await driver.sum(new Uint8Array(4096).fill(255)), 4096 * 255);
});

test("the driver rejects more bytes than its buffer holds", async () => {
  using device = PciDevice.open(emulator.address);
  using driver = new TemplateDriver(device);
  await assert.rejects(driver.sum(new Uint8Array(4097)), /at most 4096 bytes, got 4097/);
});

test("the driver reports that the device can't read the memory", async () => {
  using device = PciDevice.open(emulator.address);
  using driver = new TemplateDriver(device);
  device.config.busMaster = false;
  await assert.rejects(driver.sum(Uint8Array.of(1)), /can't read the memory/);
});

test("the driver goes on when an interrupt is lost", async () => {
  using device = PciDevice.open(emulator.address);
  using driver = new TemplateDriver(device);
  await emulator.order({ kind: "inject", fault: { kind: "interrupt-lost", count: 1 } });
  assert.equal(await driver.sum(Uint8Array.of(1)), 1);
});

test("a device that never finishes is a TimeoutError", async () => {
  using device = PciDevice.open(emulator.address);
  using driver = new TemplateDriver(device, 50);
  await emulator.order({ kind: "inject", fault: { kind: "write-lost", where: "start", count: 1 } });
  await assert.rejects(driver.sum(Uint8Array.of(1)), TimeoutError);
});

test("an unplugged device is a DeviceGoneError, and the driver closes", async () => {
  {
    using device = PciDevice.open(emulator.address);
    using driver = new TemplateDriver(device);
    await emulator.order({ kind: "inject", fault: { kind: "remove", where: "start" } });
    await assert.rejects(driver.sum(Uint8Array.of(1)), DeviceGoneError);
  }
  await emulator.order({ kind: "clearFaults" });
});

test("the device forgets its work at a reset", async () => {
  using device = PciDevice.open(emulator.address);
  {
    using driver = new TemplateDriver(device);
    await driver.sum(Uint8Array.of(1));
  }
  device.reset();
  assert.equal(registers.on(device.bar(0)).sum.read(), 0);
});

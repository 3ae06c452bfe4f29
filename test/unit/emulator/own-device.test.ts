/** startEmulator() with a device of the user's own. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ArgumentError } from "../../../src/core/errors.js";
import { type EmulatorRequest, type RunningEmulator, startEmulator } from "../../../src/emulator/worker.js";
import { PciDevice } from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { COMPILE_MS, socketFolder, socketPath } from "../../support/emulators.js";
import { runNode } from "../../support/run.js";

const THROWS = "test/unit/fixtures/own-device-throws.ts";
const DEVICE = "test/unit/fixtures/own-device.ts";
const THREAD = "src/emulator/worker-main.ts";
let tree: CompiledTree;
// In one tree, as in the package: the device and its thread share the library.
beforeAll(() => {
  tree = compileTree(THROWS, DEVICE, THREAD);
}, COMPILE_MS);
afterAll(() => tree[Symbol.dispose]());

const deviceModule = (): URL => pathToFileURL(tree.file(DEVICE));

const thread = (): URL => pathToFileURL(tree.file(THREAD));

function emulate(request: { readonly device: URL; readonly options?: unknown }): Promise<RunningEmulator> {
  const whole: EmulatorRequest = { socket: socketPath(), ...request };
  return startEmulator(whole, thread());
}

/** The URL of a module with this text. */
function moduleOf(text: string): URL {
  const file = join(socketFolder(), "device.mjs");
  writeFileSync(file, text);
  return pathToFileURL(file);
}

test("startEmulator serves a device of one's own, made with its options", async () => {
  await using emulator = await emulate({ device: deviceModule(), options: { value: 7 } });
  using device = PciDevice.open(emulator.address);
  expect(device.function).toMatchObject({ vendorId: 0x1234, deviceId: 0xabcd });
  expect(device.bar(0).read32(0)).toBe(7);
  await expect(emulator.order({ kind: "clearFaults" })).rejects.toThrow(
    "own device has no order clearFaults",
  );
});

test("startEmulator serves a device with its faults, and passes orders on to them", async () => {
  await using emulator = await emulate({ device: deviceModule(), options: { value: 7, faults: true } });
  using device = PciDevice.open(emulator.address);
  const bar = device.bar(0);
  await emulator.order({ kind: "inject", fault: { kind: "wrong-value", where: "value", value: 9 } });
  expect(bar.read32(0)).toBe(9);
  await emulator.order({ kind: "clearFaults" });
  expect(bar.read32(0)).toBe(7);
  const wrong = emulator.order({ kind: "inject", fault: { kind: "stuck", where: "colour" } });
  await expect(wrong).rejects.toThrow("colour");
});

test("an emulator closes although its device has a timer left", async () => {
  const device = moduleOf(`import Own from ${JSON.stringify(deviceModule().href)};
    export default class extends Own { timer = setInterval(() => {}, 1000); }`);
  const emulator = await emulate({ device, options: { value: 7 } });
  await emulator.close();
  await expect(emulator.order({ kind: "clearFaults" })).rejects.toThrow("the emulator is closed");
});

test("startEmulator refuses a device whose faults are something else with an ArgumentError", async () => {
  const error = await caught(emulate({ device: deviceModule(), options: { value: 7, faults: [] } }));
  expect(error).toBeInstanceOf(ArgumentError);
  expect(String(error)).toContain("faults of the device must be a DeviceFaults");
});

test("startEmulator rejects with what the device's constructor throws", async () => {
  const error = await caught(emulate({ device: deviceModule(), options: { value: 0 } }));
  expect(error).toBeInstanceOf(RangeError);
  expect(String(error)).toContain("the value must not be 0");
});

test("startEmulator rejects with what the device's module throws, or that there is none", async () => {
  expect(String(await caught(emulate({ device: moduleOf("throw new Error('no module');") })))).toContain(
    "no module",
  );
  const error = await caught(emulate({ device: new URL("missing.js", deviceModule()) }));
  expect(error).toMatchObject({ code: "ERR_MODULE_NOT_FOUND" });
});

test.each([
  ["a module without a default export", "export const a = 1;", "default export, got undefined"],
  ["a default export that isn't a class", "export default { name: 'x' };", "default export, got"],
  ["an arrow function", "export default () => {};", "must have the class of a device"],
  ["a class that isn't a device", "export default class {}", "device must be an EmulatedDevice"],
])("startEmulator refuses %s with an ArgumentError", async (_what, text, words) => {
  const error = await caught(emulate({ device: moduleOf(text) }));
  expect(error).toBeInstanceOf(ArgumentError);
  expect(String(error)).toContain(words);
});

test("startEmulator refuses a URL that is no file's with an ArgumentError", async () => {
  const device = new URL("https://example.com/device.js");
  const error = await caught(startEmulator({ socket: socketPath(), device }));
  expect(error).toBeInstanceOf(ArgumentError);
  expect(String(error)).toContain('must begin with file:, got "https://example.com/device.js"');
});

test("a device of one's own that throws ends the process with its error", async () => {
  const { status, stderr } = await runNode(
    tree.file(THROWS),
    socketPath(),
    deviceModule().href,
    thread().href,
  );
  expect(stderr).toContain("the device can't take 8");
  expect(status).toBe(1);
});

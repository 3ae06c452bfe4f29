/** startEmulator() and `iova emulate` with a device of the user's own. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ArgumentError, ClosedError } from "../../../src/core/errors.js";
import { type EmulatorRequest, type RunningEmulator, startEmulator } from "../../../src/emulator/worker.js";
import { PciDevice } from "../../../src/index.js";
import { memoryBar } from "../../../src/vfio-user/server/memory-bar.js";
import { caught } from "../../support/caught.js";
import { Child } from "../../support/child.js";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { socketFolder, socketPath } from "../../support/emulators.js";
import { runNode } from "../../support/run.js";

const THROWS = "test/unit/fixtures/own-device-throws.ts";
const DEVICE = "test/unit/fixtures/own-device.ts";
const MEMORY_BAR = "src/vfio-user/server/memory-bar.ts";
const CLI = "src/cli/main.ts";
const THREAD = "src/emulator/worker-main.ts";
let tree: CompiledTree;
// In one tree, as in the package: the device and its thread share the library.
beforeAll(() => {
  tree = compileTree(THROWS, DEVICE, THREAD, CLI, MEMORY_BAR);
});
afterAll(() => tree[Symbol.dispose]());

const deviceModule = (): URL => pathToFileURL(tree.file(DEVICE));

const thread = (): URL => pathToFileURL(tree.file(THREAD));

function emulate(request: { readonly device: URL; readonly options?: unknown }): Promise<RunningEmulator> {
  const whole: EmulatorRequest = { socket: socketPath(), ...request };
  return startEmulator(whole, thread());
}

/** The path of a module with this text. */
const fileOf = (text: string): string => fileURLToPath(moduleOf(text));

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

test("an ordered fault counts its hits, and ends without the others", async () => {
  await using emulator = await emulate({ device: deviceModule(), options: { value: 7, faults: true } });
  using device = PciDevice.open(emulator.address);
  const bar = device.bar(0);
  const first = await emulator.order({
    kind: "inject",
    fault: { kind: "wrong-value", where: "value", value: 9 },
  });
  const second = await emulator.order({
    kind: "inject",
    fault: { kind: "wrong-value", where: "status", value: 1 },
  });
  expect([bar.read32(0), bar.read32(0), bar.read32(16)]).toEqual([9, 9, 1]);
  expect([await first.hits(), await second.hits()]).toEqual([2, 1]);
  await first.remove();
  expect([bar.read32(0), bar.read32(16)]).toEqual([7, 1]);
  expect([await first.hits(), await second.hits()]).toEqual([2, 2]);
  await second[Symbol.asyncDispose]();
  await first.remove();
  expect(bar.read32(16)).toBe(0);
  await emulator.close();
  await expect(second.hits()).rejects.toThrow("the emulator is closed");
});

test("an order of a fault of a vector that the device lacks is refused", async () => {
  await using emulator = await emulate({ device: deviceModule(), options: { value: 7, faults: true } });
  for (const kind of ["interrupt-lost", "interrupt-storm"] as const) {
    const error = await caught(emulator.order({ kind: "inject", fault: { kind, vector: 99 } }));
    expect(error).toBeInstanceOf(ArgumentError);
    expect(String(error)).toContain(
      `fault ${kind}: vector: the device has vector 0 of "msi", vector 0 of "intx", got 99`,
    );
  }
});

test("a message reaches the method order() of a device of one's own, whose result or error comes back", async () => {
  const device = moduleOf(`import Own from ${JSON.stringify(deviceModule().href)};
    export default class extends Own {
      frames = [];
      order(message) {
        if (message === "bad") throw new RangeError("no such button");
        if (message === "late") return new Promise((resolve) => setImmediate(resolve, this.frames.length));
        if (message === "function") return () => {};
        this.frames.push(message);
        return { last: message };
      }
    }`);
  await using emulator = await emulate({ device, options: { value: 7, faults: true } });
  const frame = { frame: Uint8Array.of(1, 2, 3) };
  expect(await emulator.order({ kind: "device", message: frame })).toEqual({ last: frame });
  expect(await emulator.order({ kind: "device", message: "late" })).toBe(1);
  const error = await caught(emulator.order({ kind: "device", message: "bad" }));
  expect(error).toMatchObject({ name: "RangeError", message: "no such button" });
  expect((await caught(emulator.order({ kind: "device", message: "function" }))) as Error).toMatchObject({
    name: "DataCloneError",
  });
  const unsent = await caught(emulator.order({ kind: "device", message: () => {} }));
  expect(unsent).toBeInstanceOf(ArgumentError);
  expect(String(unsent)).toContain("can't be copied to the emulator's thread");
  expect(await emulator.order({ kind: "device", message: "late" })).toBe(1);
});

test("a message to a device without a method order() is refused, and so is what isn't an order", async () => {
  await using emulator = await emulate({ device: deviceModule(), options: { value: 7 } });
  const error = await caught(emulator.order({ kind: "device", message: 1 }));
  expect(error).toBeInstanceOf(ArgumentError);
  expect(String(error)).toContain("own device takes no message: its class has no method order(message)");
  for (const wrong of [null, 1, { kind: "dance" }])
    expect(await caught(Reflect.apply(emulator.order, emulator, [wrong]))).toBeInstanceOf(ArgumentError);
  await using edu = await startEmulator({ socket: socketPath(), device: "edu", options: {} }, thread());
  await expect(edu.order({ kind: "device", message: 1 })).rejects.toThrow("has no order device");
});

test("startEmulator refuses a device whose order is no method with an ArgumentError", async () => {
  const device = moduleOf(`import Own from ${JSON.stringify(deviceModule().href)};
    export default class extends Own { order = 5; }`);
  const error = await caught(emulate({ device, options: { value: 7 } }));
  expect(error).toBeInstanceOf(ArgumentError);
  expect(String(error)).toContain("order of the device must be a function, got 5");
});

test("where a program goes on after its device has thrown, the driver's error and the emulator's tell of it", async () => {
  const handled = "handled";
  const { stdout } = await runNode(
    tree.file(THROWS),
    socketPath(),
    deviceModule().href,
    thread().href,
    "1",
    handled,
  );
  expect(stdout).toMatch(/driver: .* was closed from the other side: .*look for an uncaught exception/);
  expect(stdout).toMatch(/uncaught: .*register value/);
  expect(stdout).toMatch(/order: the emulator is closed because of: .*register value/);
});

test("an emulator whose thread has ended by itself closes, and takes no more orders", async () => {
  const device = moduleOf(`import Own from ${JSON.stringify(deviceModule().href)};
    export default class extends Own { order() { process.exit(0); } }`);
  const emulator = await emulate({ device, options: { value: 7 } });
  expect(await caught(emulator.order({ kind: "device", message: 1 }))).toBeInstanceOf(ClosedError);
  await emulator.close();
  expect(await caught(emulator.order({ kind: "clearFaults" }))).toBeInstanceOf(ClosedError);
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
  expect(error).toMatchObject({ name: "ConfigError", cause: { code: "ERR_MODULE_NOT_FOUND" } });
  expect(String(error)).toMatch(
    /there is no file .*missing\.js: .* compile its TypeScript first \(npx tsc\)/,
  );
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

test.each([
  ["throws an error of its own", 8, "the device can't take 8"],
  ["sets a register to a value that is too wide", 1, "register value"],
  ["sets a field that isn't declared", 2, "register status has no field dun"],
  ["sets a register of 64 bits to a number", 3, "register wide"],
  ["returns a bigint for a register of 32 bits", 4, "register value"],
  [
    "raises an interrupt that it lacks",
    5,
    'no interrupt 20 of "msix": the device has vector 0 of "msi", vector 0 of "intx"',
  ],
  ["makes a mistake later", 6, "register value"],
])("a device of one's own that %s ends the process with its error", async (_what, written, words) => {
  const { status, stderr } = await runNode(
    tree.file(THROWS),
    socketPath(),
    deviceModule().href,
    thread().href,
    String(written),
  );
  expect(stderr).toContain(words);
  // The line of the device.
  expect(stderr).toContain("own-device.js:");
  expect(status).toBe(1);
});

test("iova emulate serves a device of one's own with faults, until it is stopped", async () => {
  const socket = socketPath();
  const fault = "wrong-value,where=value,value=9,count=1";
  const child = new Child(tree.file(CLI), "emulate", tree.file(DEVICE), "--socket", socket, "--fault", fault);
  await child.says(`own device at vfio-user:${socket}`);
  {
    using device = PciDevice.open(`vfio-user:${socket}`);
    expect([device.bar(0).read32(0), device.bar(0).read32(0)]).toEqual([9, 5]);
  }
  process.kill(child.pid, "SIGTERM");
  expect(await child.ended).toBe(0);
});

test.each([
  ["a file that isn't there", () => "./missing.js", [], "there is no file ./missing.js"],
  [
    "a fault of a register that the device lacks",
    () => tree.file(DEVICE),
    ["--fault", "stuck,where=colour"],
    "colour",
  ],
  [
    "faults for a device that takes none",
    () =>
      new URL(
        moduleOf(`import Own from ${JSON.stringify(deviceModule().href)};
      export default class extends Own { constructor() { super({ value: 1 }); } }`),
      ).pathname,
    ["--fault", "stuck,where=value"],
    "takes no --fault",
  ],
  [
    "a syntax error",
    () => fileOf("\nexport default class {\n  foo( {}\n}"),
    [],
    /SyntaxError: .*, at \S+device\.mjs:[34]$/,
  ],
  [
    "a syntax error in what the module imports",
    () => fileOf(`import ${JSON.stringify(moduleOf("export const a = ;"))};`),
    [],
    /SyntaxError: .*, at \S+device\.mjs:1$/,
  ],
  [
    "an import of what there isn't",
    () => fileOf(`import fs from "node:fs";\nimport { nothing } from "node:fs";`),
    [],
    /does not provide an export named 'nothing', at \S+device\.mjs:2$/,
  ],
  [
    "a module that throws while it is loaded",
    () => fileOf("\nthrow new RangeError('too\\nmuch');"),
    [],
    /^iova: \S+device\.mjs: RangeError: too much, at \S+device\.mjs:2$/,
  ],
  [
    "a module that throws something else than an error",
    () => fileOf("throw 'enough';"),
    [],
    /^iova: \S+device\.mjs: enough$/,
  ],
  [
    "a class whose constructor throws",
    () => fileOf("export default class {\n  constructor() {\n    undefined.x;\n  }\n}"),
    [],
    /TypeError: Cannot read .*, at \S+device\.mjs:3$/,
  ],
  [
    "a class that misuses the library",
    () => {
      const library = pathToFileURL(tree.file("src/vfio-user/server/initial-config-space.ts")).href;
      return fileOf(`import { initialConfigSpace } from ${JSON.stringify(library)};
        export default class { configSpace = initialConfigSpace({ vendorId: -1 }); }`);
    },
    [],
    /^iova: \S+device\.mjs: vendorId .*, at \S+device\.mjs:2$/,
  ],
  [
    "a module without a default export",
    () => fileOf("export const a = 1;"),
    [],
    /device\.mjs must have the class of a device as its default export, got undefined$/,
  ],
])("iova emulate refuses %s in one line", async (_what, file, options, words) => {
  const { status, stderr } = await runNode(
    tree.file(CLI),
    "emulate",
    file(),
    "--socket",
    socketPath(),
    ...options,
  );
  expect(stderr.trim()).toMatch(words);
  expect(stderr.trim().split("\n")).toHaveLength(1);
  expect(status).toBe(2);
});

test("a device of one's own keeps MSI-X's table and pending bits in a memoryBar", async () => {
  const imports = ["src/vfio-user/server/initial-config-space.ts", MEMORY_BAR]
    .map((source) => `export * from ${JSON.stringify(pathToFileURL(tree.file(source)).href)};`)
    .join("\n");
  const parts = moduleOf(imports);
  const device = moduleOf(`import Own from ${JSON.stringify(deviceModule().href)};
    import { initialConfigSpace, memoryBar } from ${JSON.stringify(parts.href)};
    export default class extends Own {
      configSpace = initialConfigSpace({ vendorId: 1, deviceId: 2, msix: { vectors: 2, bar: 1 } });
      vectors = { intx: 1, msi: 1, msix: 2 };
      bars = [{ sizeBytes: 16, read() {}, write: (offset, source) => this.host.raise(source[0], "msix") }, memoryBar(4096)];
      constructor() { super({ value: 1 }); }
      connect(host) { this.host = host; }
    }`);
  await using emulator = await emulate({ device });
  using function_ = PciDevice.open(emulator.address);
  function_.config.busMaster = true;
  using interrupts = function_.enableInterrupts({ kind: "msix", count: 2 });
  const registers = function_.bar(0);
  const table = function_.bar(1);
  registers.write32(0, 1);
  expect(await interrupts.vectors[1]?.once()).toBe(1);
  const MASK_OF_VECTOR_1 = 16 + 12;
  const PENDING = 2 * 16;
  table.write32(MASK_OF_VECTOR_1, 1);
  registers.write32(0, 1);
  expect(table.read32(PENDING)).toBe(2);
  table.write32(MASK_OF_VECTOR_1, 0);
  expect(await interrupts.vectors[1]?.once()).toBe(1);
  expect(table.read32(PENDING)).toBe(0);
  table.write32(PENDING, 3);
  expect(table.read32(PENDING)).toBe(0);
});

test.each([8, 100, 2 ** 31])("memoryBar refuses %d bytes with an ArgumentError", (sizeBytes) => {
  expect(() => memoryBar(sizeBytes)).toThrow(ArgumentError);
});

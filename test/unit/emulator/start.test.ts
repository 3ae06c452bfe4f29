/** What startEmulator() refuses before it starts a thread. */
import { describe, expect, test } from "vitest";
import { ArgumentError, ConfigError } from "../../../src/core/errors.js";
import { EmulatedEdu } from "../../../src/emulator/edu/device.js";
import { type EmulatorRequest, startEmulator } from "../../../src/emulator/worker.js";
import { caught } from "../../support/caught.js";
import { emulate, socketPath } from "../../support/emulators.js";

/** What a program in JavaScript may give. */
const wrong = (request: unknown): EmulatorRequest => request as EmulatorRequest;

describe("startEmulator", () => {
  test.each([
    [
      "an unknown device",
      { socket: socketPath(), device: "nvm", options: {} },
      '"nvme", "edu" or the URL of a module, such as new URL("./device.js", import.meta.url), got "nvm"',
    ],
    [
      "no device",
      { socket: socketPath(), options: {} },
      '"nvme", "edu" or the URL of a module, such as new URL("./device.js", import.meta.url), got undefined',
    ],
    ["no socket", { device: "nvme", options: {} }, "socket must be a string, got undefined"],
    ["no request", null, "must be an object, got null"],
  ])("refuses %s with an ArgumentError", async (_what, request, words) => {
    const error = await caught(startEmulator(wrong(request)));
    expect(error).toBeInstanceOf(ArgumentError);
    expect(String(error)).toContain(words);
  });

  test("refuses options that the device doesn't have", async () => {
    const error = await caught(emulate(wrong({ device: "edu", options: { sizeBytes: 4096 } })));
    expect(error).toBeInstanceOf(ConfigError);
    expect(String(error)).toContain("edu options: sizeBytes: unknown option");
  });
});

test.each([11, 53, 28.5])("EmulatedEdu refuses %d as dmaBits", (dmaBits) => {
  expect(() => new EmulatedEdu({ dmaBits })).toThrow(ConfigError);
  expect(() => new EmulatedEdu({ dmaBits })).toThrow(`got ${dmaBits}`);
});

/** Defaults and checks of the options of NvmeController.open(). */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../../src/core/errors.js";
import { NvmeController } from "../../../src/nvme/controller.js";
import { parseNvmeOptions } from "../../../src/nvme/engine/options.js";

/** Options as a JavaScript program may pass them, with wrong types. */
function parse(json: string): ReturnType<typeof parseNvmeOptions> {
  return parseNvmeOptions(JSON.parse(json));
}

describe("NVMe options", () => {
  test("have a default for every option", () => {
    expect(parseNvmeOptions({})).toEqual({
      queues: 1,
      adminQueueEntries: 32,
      spinMicroseconds: 50,
      shadowDoorbells: false,
      restoreFeatures: true,
      arbitration: "round-robin",
      bounceBytes: 64 * 1024 * 1024,
      timeoutMs: 30_000,
      quirks: "auto",
      recovery: { attempts: 0, delayMs: 100, retry: "fail" },
    });
  });

  test("mean the same if all or some are left out", () => {
    expect(parseNvmeOptions({ queues: undefined })).toEqual(parseNvmeOptions({}));
  });

  test("count an undefined option as left out", () => {
    expect(
      parseNvmeOptions({ backend: undefined, adminQueueEntries: undefined, timeoutMs: undefined }),
    ).toMatchObject({
      adminQueueEntries: 32,
      timeoutMs: 30_000,
    });
  });

  test.each([
    [{ backend: "iommufd", completion: "poll", queueEntries: 2, timeoutMs: 1 }],
    [{ backend: "type1", completion: "interrupt", queueEntries: 65536, timeoutMs: 600_000 }],
    [{ queues: 16, vectors: 4, memoryPageBytes: 65536, commandSets: "nvm", adminQueueEntries: 4096 }],
    [{ arbitration: { low: 1, medium: 8, high: 256, burst: 4 } }],
    [{ recovery: { attempts: 5, delayMs: 0, retry: "reads" } }],
    [{ vfToken: "52ac9bff-3a88-4fbd-901a-0d767c3b6c97", restoreFeatures: false }],
  ])("accept %j", (options) => {
    expect(parse(JSON.stringify(options))).toMatchObject(options);
  });

  test.each([
    ['{ "backend": "vfio" }', "backend"],
    ['{ "backend": null }', "backend"],
    ['{ "completion": "irq" }', "completion"],
    ['{ "vfToken": "secret" }', "vfToken"],
    ['{ "vfToken": "52ac9bff3a884fbd901a0d767c3b6c97" }', "vfToken"],
    ['{ "restoreFeatures": 1 }', "restoreFeatures"],
    ['{ "queueEntries": 1 }', "queueEntries"],
    ['{ "queueEntries": 0 }', "queueEntries"],
    ['{ "queueEntries": -16 }', "queueEntries"],
    ['{ "queueEntries": 65537 }', "queueEntries"],
    ['{ "queueEntries": 16.5 }', "queueEntries"],
    ['{ "queueEntries": "16" }', "queueEntries"],
    ['{ "timeoutMs": 0 }', "timeoutMs"],
    ['{ "timeoutMs": -1 }', "timeoutMs"],
    ['{ "timeoutMs": 600001 }', "timeoutMs"],
    ['{ "queues": -1 }', "queues"],
    ['{ "queues": 65536 }', "queues"],
    ['{ "vectors": 0 }', "vectors"],
    ['{ "adminQueueEntries": 4097 }', "adminQueueEntries"],
    ['{ "memoryPageBytes": 2048 }', "memoryPageBytes"],
    ['{ "memoryPageBytes": 12288 }', "memoryPageBytes"],
    ['{ "arbitration": "weighted" }', "arbitration"],
    ['{ "arbitration": { "low": 0 } }', "arbitration.low"],
    ['{ "arbitration": null }', "arbitration"],
    ['{ "arbitration": { "burst": 3 } }', "arbitration.burst"],
    ['{ "commandSets": "zns" }', "commandSets"],
    ['{ "commandSets": "admin", "queues": 1 }', "queues"],
    ['{ "recovery": { "attempts": -1 } }', "recovery.attempts"],
    ['{ "recovery": { "retry": "writes" } }', "recovery.retry"],
    ['{ "spinMicroseconds": -1 }', "spinMicroseconds"],
    ['{ "keepAliveMs": 0 }', "keepAliveMs"],
    ['{ "shadowDoorbells": 1 }', "shadowDoorbells"],
    ['{ "interruptKind": "pin" }', "interruptKind"],
    ['{ "vfToken": "secret" }', "vfToken"],
    ['{ "interruptKind": "intx", "completion": "poll" }', "interruptKind"],
    // A misspelt option must not silently become the default.
    ['{ "timeout": 100 }', "timeout: unknown option"],
    ['{ "timeout": null, "queues": 1 }', "timeout: unknown option"],
    ["5", "options"],
    ["null", "options"],
  ])("reject %s with a message that names %s", (json, name) => {
    expect(() => parse(json)).toThrow(ConfigError);
    expect(() => parse(json)).toThrow(name);
  });

  test.each([
    ['{ "quirks": ["bogus"] }', /quirks\.0: .*"no-write-zeroes".*, got "bogus"$/],
    ['{ "quirks": { "add": ["bogus"] } }', /quirks\.add\.0: .*"no-write-zeroes".*, got "bogus"$/],
    ['{ "quirks": { "ad": [] } }', /quirks: .*"ad"$/],
    ['{ "quirks": "bogus" }', /quirks: expected one of "auto", array, object, got "bogus"$/],
    ['{ "completion": "fast" }', /completion: .*"interrupt"\|"poll"\|"adaptive", got "fast"$/],
    ['{ "queues": -1 }', /queues: .*>=0, got -1$/],
  ])("reject %s with a message that says the value and what is expected", (json, message) => {
    expect(() => parse(json)).toThrow(message);
  });

  test("are rejected without showing a secret", () => {
    expect(() => parse('{ "vfToken": "top secret" }')).toThrow(/vfToken: must be a UUID$/);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])("reject %d as a number", (value) => {
    expect(() => parseNvmeOptions({ timeoutMs: value })).toThrow("timeoutMs");
    expect(() => parseNvmeOptions({ queueEntries: value })).toThrow("queueEntries");
  });

  test("are rejected with every wrong option in one message", () => {
    const wrong = '{ "queueEntries": 1, "timeoutMs": 0, "backend": "none" }';
    expect(() => parse(wrong)).toThrow(/backend.*queueEntries.*timeoutMs/s);
  });

  test("are checked by open() before it looks for a device", async () => {
    await expect(NvmeController.open("0000:ff:1f.7", { timeoutMs: 0 })).rejects.toThrow(ConfigError);
  });
});

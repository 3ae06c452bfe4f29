/** `iova nvme kv` on an emulated controller with keys and values. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { ArgumentError, ConfigError } from "../../../../src/core/errors.js";
import { emulate } from "../../../support/emulators.js";
import { iova, iovaJson } from "../../../support/nvme-cli.js";

const folder = mkdtempSync(join(tmpdir(), "iova-kv-"));
const path = (name: string): string => join(folder, name);
let emulator: { readonly address: string; close(): Promise<void> };
beforeAll(async () => {
  emulator = await emulate({ device: "nvme", options: { sizeBytes: 16 << 20, keyValue: true } });
  writeFileSync(path("value"), "hello");
});
afterAll(async () => {
  await emulator.close();
  rmSync(folder, { recursive: true, force: true });
});
afterEach(() => {
  process.exitCode = undefined;
});

test("values are stored, listed, retrieved and deleted", async () => {
  const { address } = emulator;
  const kv = (verb: string, ...args: string[]) => iovaJson("kv", verb, address, ...args);
  expect(await kv("store", "-k", "name", "-d", path("value"), "--new", "--yes")).toEqual({
    key: "name",
    bytes: 5,
  });
  await kv("store", "--key-hex", "0x0001", "-d", path("value"), "--yes");
  expect(await kv("list")).toEqual({ nsid: 1, keys: ["0x0001", "name"] });
  expect(await kv("list", "-k", "n", "--limit", "1")).toMatchObject({ keys: ["name"] });
  expect(await kv("retrieve", "-k", "name")).toEqual({ key: "name", bytes: 5, value: "68656c6c6f" });
  await kv("retrieve", "-k", "name", "-d", path("copy"));
  expect(readFileSync(path("copy"), "utf8")).toBe("hello");
  expect(await kv("exist", "-k", "name")).toEqual({ key: "name", exists: true });
  expect(process.exitCode).toBeUndefined();
  const again = iova("kv", "store", address, "-k", "name", "-d", path("value"), "--new", "--yes");
  await expect(again).rejects.toThrow(/has the key name: nothing was stored/);
  expect(await kv("delete", "-k", "name", "--yes")).toEqual({ key: "name" });
  expect(await kv("exist", "-k", "name")).toEqual({ key: "name", exists: false });
  expect(process.exitCode).toBe(1);
  await expect(iova("kv", "retrieve", address, "-k", "name")).rejects.toThrow(ArgumentError);
  // Unless feature Key Value Configuration says otherwise, a controller doesn't report that there was none.
  expect(await kv("delete", "-k", "name", "--yes")).toEqual({ key: "name" });
  const missing = iova("kv", "store", address, "-k", "no", "-d", path("value"), "--existing", "--yes");
  await expect(missing).rejects.toThrow(/doesn't have the key no/);
});

test.each([
  [["keep"], "needs one of store"],
  [["retrieve"], "needs --key KEY"],
  [["retrieve", "-k", ""], "0 bytes"],
  [["retrieve", "-k", "12345678901234567"], "17 bytes"],
  [["retrieve", "-k", "a", "--key-hex", "00"], "not both"],
  [["retrieve", "--key-hex", "0g"], "--key-hex 0g"],
  [["store", "-k", "a", "--yes"], "needs --data FILE"],
  [["store", "-k", "a", "--new", "--existing", "--yes"], "not both"],
  [["list", "--limit", "0"], "--limit 0"],
] as const)("nvme kv %j is refused before anything is opened", async ([verb, ...args], reason) => {
  const refusal = iova("kv", verb, "vfio-user:/nowhere", ...args);
  await expect(refusal).rejects.toThrow(ConfigError);
  await expect(refusal).rejects.toThrow(reason);
});

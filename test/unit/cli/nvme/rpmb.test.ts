/** `iova nvme rpmb` on an emulated controller. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { iova, iovaJson } from "../../../support/nvme-cli.js";

useEmulatedNvme();

const folder = mkdtempSync(join(tmpdir(), "iova-rpmb-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string, bytes?: Uint8Array): string => {
  const file = join(folder, name);
  if (bytes !== undefined) writeFileSync(file, bytes);
  return file;
};

const KEY = "0123456789abcdef0123456789ABCDEF";
const keyFile = path("key", Buffer.from(KEY));

test("rpmb programs a key, writes and reads with it, and locks boot partitions", async () => {
  const { address } = await startController({ rpmbTargets: 1 });
  const rpmb = (...args: string[]) => iova("rpmb", address, ...args);
  expect(await iovaJson("rpmb", address)).toEqual({
    targets: 1,
    authentication: 0,
    size: 128 << 10,
    access_size: 8192,
  });
  expect(await rpmb("-c", "program-key", "-k", KEY, "--yes")).toContain("programmed the key of target 0");
  const data = path("data", Buffer.alloc(1024, 3));
  expect(await rpmb("-c", "write-data", "-f", data, "-o", "4", "-g", keyFile, "--yes")).toContain(
    "wrote 2 sectors from 4",
  );
  expect(await rpmb("-c", "read-counter")).toBe("Write Counter is: 1\n");
  const back = path("back");
  await rpmb("-c", "read-data", "-b", "2", "-o", "4", "-f", back, "-k", Buffer.from(KEY).toString("hex"));
  expect(readFileSync(back).equals(readFileSync(data))).toBe(true);
  expect(await rpmb("-c", "read-data", "-b", "1", "-o", "4")).toMatch(/03 03 03 03/);
  const configuration = path("configuration", Buffer.concat([Buffer.from([1, 2]), Buffer.alloc(510)]));
  await rpmb("-c", "write-config", "-f", configuration, "-k", KEY, "--yes");
  // The reset at the end of a run locks both.
  expect(await iovaJson("rpmb", address, "-c", "read-config", "-k", KEY)).toEqual({
    bp_protection: 1,
    bp0_locked: 1,
    bp1_locked: 1,
    write_protection_control: 0,
  });
  await rpmb("-c", "read-config", "-f", back);
  expect(readFileSync(back).subarray(0, 2)).toEqual(Buffer.from([1, 3]));
  await expect(rpmb("-c", "program-key", "-k", KEY, "--yes")).rejects.toThrow("write failure");
  await expect(rpmb("-c", "read-counter", "-k", KEY.toLowerCase())).rejects.toThrow("isn't authentic");
});

test("rpmb says that a controller has no targets", async () => {
  const { address } = await startController();
  expect(await iovaJson("rpmb", address, "-c", "info")).toMatchObject({ targets: 0 });
  await expect(iova("rpmb", address, "-c", "read-counter")).rejects.toThrow("has no RPMB targets");
});

const short = path("short", Buffer.alloc(31));
const odd = path("odd", Buffer.alloc(513));
test.each([
  [["-c", "erase"], "--cmd erase: expected one of info"],
  [["-t", "7"], "--target 7"],
  [["-c", "program-key", "--yes"], "needs --key"],
  [["-c", "program-key", "-k", "short", "--yes"], "the key has 5 bytes"],
  [["-c", "program-key", "-g", short, "--yes"], "the key has 31 bytes"],
  [["-c", "read-counter", "-k", KEY, "-g", keyFile], "can't be combined"],
  [["-c", "read-data"], "needs --blocks"],
  [["-c", "write-data", "-k", KEY, "--yes"], "needs --msgfile"],
  [["-c", "write-data", "-k", KEY, "-d", "text", "--yes"], "the data has 4 bytes"],
  [["-c", "write-data", "-k", KEY, "-f", odd, "-b", "2", "--yes"], "the data has 513 bytes"],
  [["-c", "write-data", "-k", KEY, "-d", "x", "-f", odd, "--yes"], "can't be combined"],
  [["-c", "write-data", "-f", keyFile, "-b", "1", "--yes"], "the data has 32 bytes"],
  [
    ["-c", "write-config", "-k", KEY, "-f", path("two", Buffer.alloc(1024)), "--yes"],
    "a configuration has 512",
  ],
  [["-c", "write-data", "-k", KEY, "-f", path("one", Buffer.alloc(512))], "--yes"],
])("rpmb %j is refused before the controller is opened", async (args, problem) => {
  await expect(iova("rpmb", "vfio-user:/nowhere", ...args)).rejects.toThrow(problem);
});

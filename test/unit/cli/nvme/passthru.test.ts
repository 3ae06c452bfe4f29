/** `iova nvme admin-passthru` and `io-passthru` on emulated controllers. */
import { randomFillSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ConfigError } from "../../../../src/core/errors.js";
import { emulate } from "../../../support/emulators.js";
import { iova, iovaJson } from "../../../support/nvme-cli.js";

const folder = mkdtempSync(join(tmpdir(), "iova-passthru-"));
const emulators: { close(): Promise<void> }[] = [];
const targets = { plain: "", metadata: "" };

beforeAll(async () => {
  const options = { plain: {}, metadata: { metadataBytes: 16 } } as const;
  for (const name of ["plain", "metadata"] as const) {
    const emulator = await emulate({ device: "nvme", options: { sizeBytes: 16 << 20, ...options[name] } });
    emulators.push(emulator);
    targets[name] = emulator.address;
  }
});
afterAll(async () => {
  for (const emulator of emulators) await emulator.close();
  rmSync(folder, { recursive: true, force: true });
});

function file(name: string, bytes: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

test("admin-passthru reads Identify as a hex dump, as JSON and to a file", async () => {
  const { plain } = targets;
  const identify = ["admin-passthru", plain, "-o", "6", "-4", "1", "-l", "4096", "--read"] as const;
  const text = await iova(...identify);
  expect(text).toContain("admin command 0x06 (Identify) succeeded, result 0x00000000\n0000: ");
  const { opcode, result, data } = await iovaJson(...identify);
  expect({ opcode, result }).toEqual({ opcode: 6, result: 0 });
  const path = join(folder, "identify");
  expect(await iova(...identify, "-i", path)).not.toContain("0000: ");
  expect(readFileSync(path).toString("hex")).toBe(data);
  expect(readFileSync(path).toString("latin1", 4, 12)).toBe("IOVA0001");
  expect(await iova(...identify, "--latency")).toMatch(/, after \d+ µs$/m);
});

test("io-passthru writes a file or hexadecimal digits, and reads them again", async () => {
  const { plain } = targets;
  const bytes = randomFillSync(Buffer.alloc(1024));
  const write = ["io-passthru", plain, "--opcode", "1", "--cdw10", "0x40", "--yes"] as const;
  const read = ["io-passthru", plain, "-o", "2", "--cdw10", "0x40", "-n", "1"] as const;
  expect(await iova(...write, "--cdw12", "1", "-i", file("two", bytes))).toContain("(Write) succeeded");
  expect((await iovaJson(...read, "--cdw12", "1", "-l", "1024"))["data"]).toBe(bytes.toString("hex"));
  await iova(...write, "--data-hex", `0x${"5a".repeat(512)}`);
  expect((await iovaJson(...read, "-l", "512"))["data"]).toBe("5a".repeat(512));
});

test("io-passthru transfers separate metadata from and to files", async () => {
  const target = targets.metadata;
  const [data, tags] = [randomFillSync(Buffer.alloc(512)), randomFillSync(Buffer.alloc(16))];
  const to = join(folder, "tags");
  await iova("io-passthru", target, "-o", "1", "-i", file("data", data), "-M", file("in", tags), "--yes");
  const shown = await iovaJson("io-passthru", target, "-o", "2", "-l", "512", "-m", "16", "-M", to);
  expect(shown).toMatchObject({ data: data.toString("hex"), metadata: tags.toString("hex") });
  expect(readFileSync(to).equals(tags)).toBe(true);
});

test("--dry-run shows the command and opens nothing", async () => {
  const args = ["admin-passthru", "vfio-user:/nowhere", "-o", "0x80", "-n", "1", "-4", "0x201", "--dry-run"];
  expect(await iova(...args)).toMatch(/^opcode +: 0x80\nnsid +: 0x01\n(.*\n)*cdw10 +: 0x201\n/);
  expect(await iovaJson(...args)).toMatchObject({ opcode: 0x80, nsid: 1, cdw10: 0x201, direction: "none" });
});

test("the controller's error is decoded", async () => {
  const { plain } = targets;
  const rejected = iova("admin-passthru", plain, "-o", "6", "-4", "0xff", "-l", "4096");
  await expect(rejected).rejects.toThrow(
    /Invalid Field in Command \(Generic Command Status 0x02\): .*field.*/i,
  );
  await expect(iova("io-passthru", plain, "-o", "2", "-n", "77", "-l", "512")).rejects.toThrow(
    /Invalid Namespace or Format/,
  );
});

describe("before the controller gets a command", () => {
  const nowhere = "vfio-user:/nowhere";
  const odd = file("odd", "123");
  test.each([
    [[], "needs --opcode"],
    [["-o", "256"], "--opcode 256 is not from 0 to 255"],
    [["-o", "six"], "expected a number such as 8 or 0x8"],
    [["-o", "6", "--cdw10", "0x100000000"], "--cdw10"],
    [["-o", "6", "-l=-1"], "--data-len"],
    [["-o", "6", "-r", "-w"], "not both"],
    [["-o", "6", "--write", "-l", "512"], "data goes to the host"],
    [["-o", "0x80", "-r"], "data goes nowhere"],
    [["-o", "0x80", "-l", "512", "--yes"], "transfers no data"],
    [["-o", "0x81", "-l", "512", "--yes"], "no data to send is given"],
    [["-o", "0x81", "-l", "512", "-i", odd, "--yes"], "the data to send has 3 bytes"],
    [["-o", "0x81", "-i", "/nowhere/at/all", "--yes"], "/nowhere/at/all"],
    [["-o", "0x81", "-i", file("empty", ""), "--yes"], "has no bytes"],
    [["-o", "0x81", "--data-hex", "12x4", "--yes"], "pairs of hexadecimal digits"],
    [["-o", "0x81", "--data-hex", "123", "--yes"], "pairs of hexadecimal digits"],
    [["-o", "0x81", "--data-hex", "12", "-i", odd, "--yes"], "not both"],
    [["-o", "6", "--data-hex", "12"], "sends no data"],
    [["-o", "6", "-i", odd], "give a length"],
    [["-o", "6", "-l", "512", "-i", "-"], "--raw-binary"],
    [["-o", "1", "-l", "4096", "--yes"], "the driver makes and deletes queues"],
    [["-o", "0xc"], "iova nvme events"],
    [["-o", "0x80", "-n", "1"], "--yes"],
    [["-o", "0xc2", "-l", "512"], "--yes"],
    [["-o", "0x81", "-i", "-"], "standard input holds the data"],
  ])("admin-passthru refuses %j", async (args, reason) => {
    const refusal = iova("admin-passthru", nowhere, ...args);
    await expect(refusal).rejects.toThrow(ConfigError);
    await expect(refusal).rejects.toThrow(reason);
  });

  test("data longer than one command carries is refused", async () => {
    const { plain } = targets;
    const long = iova("admin-passthru", plain, "-o", "6", "-4", "1", "-l", String(8 << 20));
    await expect(long).rejects.toThrow("8388608 bytes are more than one command");
  });
});

/** `iova nvme flush`, `compare`, `copy`, `verify`, `write-zeroes`, `write-uncor`, `dsm` and `resv-*` on an emulated controller. */
import { randomFillSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ConfigError } from "../../../../src/core/errors.js";
import { emulate } from "../../../support/emulators.js";
import { iova, iovaJson } from "../../../support/nvme-cli.js";

const folder = mkdtempSync(join(tmpdir(), "iova-blocks-"));
const emulators: { close(): Promise<void> }[] = [];
let target: string;
let protectedTarget: string;

beforeAll(async () => {
  const one = await emulate({ device: "nvme", options: { sizeBytes: 64 << 20 } });
  const two = await emulate({
    device: "nvme",
    options: { sizeBytes: 16 << 20, metadataBytes: 8, protection: 1 },
  });
  emulators.push(one, two);
  [target, protectedTarget] = [one.address, two.address];
});
afterAll(async () => {
  for (const emulator of emulators) await emulator.close();
  rmSync(folder, { recursive: true, force: true });
});

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

async function blocks(first: number, count: number): Promise<Buffer> {
  const path = join(folder, "back");
  await iova("read", target, "-s", String(first), "--blocks", String(count), "-d", path);
  return readFileSync(path);
}

test("flush flushes one namespace, or all of them", async () => {
  expect(await iova("flush", target)).toBe("flushed namespace 1\n");
  expect(await iovaJson("flush", target, "-n", "0xffffffff")).toEqual({ nsid: 0xffff_ffff });
  await expect(iova("flush", target, "-n", "9")).rejects.toThrow("has no active namespace 9");
});

test("compare, verify, copy, dsm and write-zeroes do what they say", async () => {
  const data = randomFillSync(Buffer.alloc(8192));
  const path = file("data", data);
  await iova("write", target, "-s", "8", "-d", path, "--yes");
  expect(await iova("compare", target, "-s", "8", "-d", path)).toContain("equal to blocks 8 to 23");
  await expect(iova("compare", target, "-s", "9", "-d", path)).rejects.toThrow("differs from blocks 9 to 24");
  expect(await iovaJson("verify", target, "-s", "8", "-c", "15")).toEqual({ nsid: 1, slba: 8, blocks: 16 });

  expect(await iova("copy", target, "-d", "100", "-s", "8,16", "-b", "3,7", "--yes")).toContain(
    "blocks 100 to 111",
  );
  const copied = Buffer.concat([data.subarray(0, 4 * 512), data.subarray(8 * 512)]);
  expect((await blocks(100, 12)).equals(copied)).toBe(true);

  await iova("write-zeroes", target, "-s", "9", "--blocks", "2", "-d", "-f", "--yes");
  data.fill(0, 512, 1536);
  await iova("dsm", target, "-s", "12,20", "-b", "1,2", "-d", "--yes");
  data.fill(0, 4 * 512, 5 * 512);
  data.fill(0, 12 * 512, 14 * 512);
  expect((await blocks(8, 16)).equals(data)).toBe(true);
});

test("copy takes ranges of other namespaces", async () => {
  const { address, close } = await emulate({
    device: "nvme",
    options: { sizeBytes: 16 << 20, namespaces: 2 },
  });
  emulators.push({ close });
  const data = file("from-two", randomFillSync(Buffer.alloc(1024)));
  await iova("write", address, "-n", "2", "-s", "8", "-d", data, "--yes");
  const copy = (...args: string[]) =>
    iova("copy", address, "-n", "1", "-d", "0", "-s", "8,9", "-b", "0,0", ...args, "--yes");
  expect(await copy("-N", "2,2")).toContain("copied to blocks 0 to 1");
  const back = join(folder, "from-two-back");
  await iova("read", address, "-n", "1", "--blocks", "2", "-d", back);
  expect(readFileSync(back).equals(readFileSync(data))).toBe(true);
  await expect(copy("-N", "2")).rejects.toThrow("--slbs has 2 ranges, --snsids has 1");
  await expect(copy("-N", "2,3")).rejects.toThrow("no active namespace 3");
  await expect(copy("-N", "2,2", "-F", "0")).rejects.toThrow("need descriptor format 2 or 3");
});

test("a range longer than one command takes several", async () => {
  await iova("write", target, "-s", "70000", "-d", file("late", Buffer.alloc(512, 1)), "--yes");
  expect(await iovaJson("write-zeroes", target, "--blocks", "131072", "--yes")).toMatchObject({
    blocks: 131_072,
  });
  expect((await blocks(70_000, 1)).equals(Buffer.alloc(512))).toBe(true);
});

test("write-uncor makes a block unreadable until it is written", async () => {
  await iova("write-uncor", target, "-s", "40", "-c", "0", "--yes");
  await expect(iova("verify", target, "-s", "40", "--blocks", "1")).rejects.toThrow(/Unrecovered Read Error/);
  const again = file("again", Buffer.alloc(512));
  // A file system could be in the block, which lies where one is looked for.
  await expect(iova("write", target, "-s", "40", "-d", again, "--yes")).rejects.toThrow(
    "--force doesn't look",
  );
  await iova("write", target, "-s", "40", "-d", again, "--yes", "--force");
  await iova("verify", target, "-s", "40", "--blocks", "1");
});

test("protection information is generated and checked as --prinfo says", async () => {
  await iova("write-zeroes", protectedTarget, "--blocks", "4", "-p", "8", "--yes");
  await iova("verify", protectedTarget, "--blocks", "4", "-p", "5");
  await expect(iova("verify", protectedTarget, "--blocks", "4", "-p", "2", "-a", "7")).rejects.toThrow(
    /Application Tag Check/,
  );
  await expect(iova("verify", target, "--blocks", "4", "-p", "1")).rejects.toThrow("end-to-end protection");
});

test("read, write and compare carry metadata, tags and checks as they say", async () => {
  const data = file("pi-data", randomFillSync(Buffer.alloc(4 * 512)));
  const back = join(folder, "pi-back");
  // The controller generates the information, with the tags that the host gives.
  await iova(
    "write",
    protectedTarget,
    "-s",
    "64",
    "-d",
    data,
    "-p",
    "8",
    "-a",
    "0x1234",
    "-r",
    "64",
    "-f",
    "--yes",
  );
  const metadata = join(folder, "pi-metadata");
  await iova(
    "read",
    protectedTarget,
    "-s",
    "64",
    "--blocks",
    "4",
    "-d",
    back,
    "-p",
    "5",
    "-M",
    metadata,
    "-y",
    "32",
  );
  expect(readFileSync(back).equals(readFileSync(data))).toBe(true);
  const information = readFileSync(metadata);
  expect(information).toHaveLength(32);
  for (let block = 0; block < 4; block++) {
    expect(information.readUInt16BE(8 * block + 2)).toBe(0x1234);
    expect(information.readUInt32BE(8 * block + 4)).toBe(64 + block);
  }
  // What is read back can be written elsewhere only with the right reference tags.
  const same = ["-d", data, "-M", metadata] as const;
  await expect(iova("write", protectedTarget, "-s", "80", ...same, "-p", "5", "--yes")).rejects.toThrow(
    /Reference Tag Check/,
  );
  await iova("write", protectedTarget, "-s", "80", ...same, "-p", "4", "--yes");
  await expect(iova("read", protectedTarget, "-s", "80", "-p", "1")).rejects.toThrow(/Reference Tag Check/);
  // Type 1 takes no other reference tag than the block's.
  await expect(iova("read", protectedTarget, "-s", "80", "-p", "1", "-r", "64")).rejects.toThrow(
    /Invalid Protection Information/,
  );
  const compare = (...more: string[]) => iova("compare", protectedTarget, "-s", "64", ...same, ...more);
  expect(await compare("-p", "7", "-a", "0x1234", "-l")).toContain("equal to blocks 64 to 67");
  await expect(compare("-p", "7", "-a", "0x1235")).rejects.toThrow(/Application Tag Check/);
  expect(await compare("-p", "7", "-a", "0x1200", "-m", "0xff00")).toContain("equal");
  information[9] = (information[9] ?? 0) ^ 1;
  file("pi-metadata", information);
  await expect(compare("-p", "0")).rejects.toThrow("differs from blocks 64 to 67");
});

test("metadata that is interleaved with the data comes with it", async () => {
  const { address, close } = await emulate({
    device: "nvme",
    options: { sizeBytes: 16 << 20, metadataBytes: 16, extendedMetadata: true },
  });
  emulators.push({ close });
  const data = file("mixed", randomFillSync(Buffer.alloc(2 * 528)));
  const back = join(folder, "mixed-back");
  await iova("write", address, "-d", data, "-f", "--yes");
  await iova("read", address, "--blocks", "2", "-d", back, "-l");
  expect(readFileSync(back).equals(readFileSync(data))).toBe(true);
  expect(await iova("compare", address, "-d", data)).toContain("equal to blocks 0 to 1");
  await expect(iova("read", address, "-M", back, "-d", back)).rejects.toThrow("leave out --metadata");
});

test("a write carries a placement identifier or a stream", async () => {
  const { address, close } = await emulate({
    device: "nvme",
    options: { sizeBytes: 16 << 20, placementHandles: 2 },
  });
  emulators.push({ close });
  const data = file("placed", Buffer.alloc(512, 5));
  await iova("write", address, "-d", data, "-T", "2", "-S", "1", "--yes");
  const { ruhss } = await iovaJson("fdp", "status", address);
  const [first, second] = Array.isArray(ruhss) ? ruhss.map(({ ruamw }) => Number(ruamw)) : [];
  expect(second).toBe((first ?? 0) - 1);
});

test("details that don't fit the namespace are refused before a command is sent", async () => {
  const data = file("two-blocks", Buffer.alloc(1024));
  const metadata = file("short-metadata", Buffer.alloc(8));
  const write = (...args: string[]) =>
    iova("write", protectedTarget, "-d", data, ...args, "--yes", "--force");
  await expect(write("-p", "0")).rejects.toThrow("add --metadata FILE, or --prinfo 8");
  await expect(write("-p", "0", "-M", metadata)).rejects.toThrow("--metadata has 8 bytes; 2 blocks");
  await expect(write("-p", "8", "-M", metadata)).rejects.toThrow("leave out --metadata");
  await expect(write("-M", metadata, "-y", "8")).rejects.toThrow("2 blocks have 16 bytes of metadata");
  await expect(write("-p", "8", "--blocks", "3")).rejects.toThrow("3 blocks of 512 bytes are 1536");
  await expect(iova("read", target, "-M", metadata)).rejects.toThrow("leave out --metadata");
  await expect(iova("read", target, "-p", "1")).rejects.toThrow("end-to-end protection");
  await expect(iova("read", target, "--blocks", "131073", "-f")).rejects.toThrow("beyond the end");
});

test.each([
  [["read", "-M", "-"], "--metadata needs the name"],
  [["read", "-y", "8"], "needs --metadata FILE"],
  [["read", "-C"], "needs --storage-tag N"],
  [["read", "-p", "16"], "--prinfo"],
  [["read", "-m", "0x10000"], "--app-tag-mask"],
  [["write", "-d", "/dev/null", "-S", "1", "--yes"], "needs --dir-type N"],
  [["write", "-d", "/dev/null", "-T", "1", "--yes"], "needs --dir-spec N"],
  [["write", "-d", "/dev/null", "-T", "3", "-S", "1", "--yes"], "--dir-type 3"],
  [["write", "-d", "/dev/null", "-f", "--yes"], "has no bytes"],
  [["compare"], "needs --data FILE"],
  [["compare", "-d", "/nowhere/at/all"], "/nowhere/at/all"],
  [["verify"], "needs --blocks N"],
  [["verify", "--blocks", "1", "--prinfo", "16"], "--prinfo"],
  [["write-zeroes", "--blocks", "1"], "--yes"],
  [["write-uncor", "--blocks", "1"], "--yes"],
  [["copy", "-s", "1", "-b", "1", "--yes"], "needs --sdlba N"],
  [["copy", "-d", "1", "-s", "1,2", "-b", "1", "--yes"], "--slbs has 2 ranges, --blocks has 1"],
  [["copy", "-d", "1", "-s", "1,x", "-b", "1,1", "--yes"], "expected a number"],
  [["dsm", "-s", "1", "-b", "1", "--yes"], "needs --ad, --idr or --idw"],
  [["dsm", "-s", "1", "-b", "0", "-d", "--yes"], "--blocks"],
  [["resv-register", "--yes"], "needs --nrkey KEY"],
  [["resv-register", "-k", "1", "-p", "1", "--yes"], "reserved"],
  [["resv-register", "-k", "1"], "--yes"],
  [["resv-acquire", "-c", "1", "--yes"], "needs --rtype"],
  [["resv-acquire", "-c", "1", "-t", "7", "--yes"], "--rtype"],
  [["resv-acquire", "-c", "1", "-t", "1", "-a", "1", "--yes"], "needs --prkey KEY"],
  [["resv-release", "--yes"], "needs --crkey KEY"],
  [["resv-report", "--hostid", "12"], "16 or 32 hexadecimal digits"],
] as const)("nvme %j is refused before anything is opened", async ([name, ...args], reason) => {
  const refusal = iova(name, "vfio-user:/nowhere", ...args);
  await expect(refusal).rejects.toThrow(ConfigError);
  await expect(refusal).rejects.toThrow(reason);
});

test("data and ranges that don't fit the namespace are refused before a command is sent", async () => {
  const odd = file("odd", Buffer.alloc(700));
  await expect(iova("compare", target, "-d", odd)).rejects.toThrow("no whole number of blocks of 512");
  await expect(iova("compare", target, "--blocks", "2", "-d", odd)).rejects.toThrow("2 blocks are 1024");
  await expect(iova("verify", target, "-s", "131071", "--blocks", "2")).rejects.toThrow("beyond the end");
  await expect(iova("copy", target, "-d", "131071", "-s", "0", "-b", "1", "--yes")).rejects.toThrow(
    "beyond the end",
  );
  await expect(iova("dsm", target, "-s", "131072", "-b", "1", "-d", "--yes")).rejects.toThrow(
    "beyond the end",
  );
});

test("reservations are registered, acquired, preempted, released and reported", async () => {
  await iova("resv-register", target, "-k", "0x11", "--yes");
  await iova("resv-acquire", target, "-c", "0x11", "-t", "1", "--yes");
  const report = await iovaJson("resv-report", target);
  expect(report).toMatchObject({ rtype: 1, regctl: 1, ptpls: 0 });
  expect(Object.values(report)).toContainEqual([expect.objectContaining({ rcsts: 1, rkey: 0x11 })]);
  await iova("resv-register", target, "-r", "2", "-c", "0x11", "-k", "0x12", "--yes");
  await iova("resv-acquire", target, "-c", "0x12", "-p", "0x12", "-a", "1", "-t", "2", "--yes");
  expect(await iova("resv-report", target)).toMatch(/^rtype +: 2$/m);
  await expect(iova("resv-release", target, "-c", "0x99", "-t", "2", "--yes")).rejects.toThrow(
    /Reservation Conflict/,
  );
  await iova("resv-release", target, "-c", "0x12", "-t", "2", "--yes");
  await iova("resv-release", target, "-c", "0x12", "-a", "1", "--yes");
  expect(await iovaJson("resv-report", target)).toMatchObject({ rtype: 0, regctl: 0 });
  await iova("resv-register", target, "-k", "0x11", "--yes");
  await iova("resv-register", target, "-r", "1", "-i", "--yes");
  expect(await iovaJson("resv-report", target)).toMatchObject({ regctl: 0 });
});

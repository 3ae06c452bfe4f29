/** `iova nvme get-lba-status`, `io-mgmt-*` and other commands on bytes, and namespaces that go meanwhile. */
import { randomFillSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { lbaStatusJson, lbaStatusLogJson } from "../../../../src/cli/nvme/admin/data.js";
import { decodeLbaStatus, decodeLbaStatusLog } from "../../../../src/nvme/command/lba-status.js";
import { AdminOpcode } from "../../../../src/nvme/spec/opcodes.js";
import { startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { iova, iovaJson } from "../../../support/nvme-cli.js";

useEmulatedNvme();

const folder = mkdtempSync(join(tmpdir(), "iova-data-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("Get LBA Status is decoded, as far as its bytes go", () => {
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 1_000_000, true);
  view.setUint8(4, 2);
  view.setBigUint64(8, 0x1234n, true);
  view.setUint32(16, 7, true);
  view.setUint8(21, 1);
  expect(lbaStatusJson(decodeLbaStatus(bytes))).toEqual({
    "Number of LBA Status Descriptors (NLSD)": 1_000_000,
    "Completion Condition (CMPC)": 2,
    "LSD entry 0": { DSLBA: "0x0000000000001234", NLB: "0x00000007", status: "0x01" },
  });
});

test("the LBA status log is decoded, as far as its bytes go", () => {
  const bytes = new Uint8Array(64);
  const view = new DataView(bytes.buffer);
  for (const [at, value] of [
    [0, 64],
    [4, 0xffff_ffff],
    [8, 9],
    [16, 1],
    [20, 1],
    [48, 2],
    [52, 0xffff_ffff],
  ] as const)
    view.setUint32(at, value, true);
  view.setUint8(24, 0x11);
  view.setBigUint64(32, 5n, true);
  view.setUint32(40, 3, true);
  expect(lbaStatusLogJson(decodeLbaStatusLog(bytes))).toEqual({
    lslplen: 64,
    nlslne: 0xffff_ffff,
    estulb: 9,
    lsgc: 0,
    ns_elements: [
      { neid: 1, nlrd: 1, ratype: 0x11, descs: [{ rslba: 5n, rnlb: 3 }] },
      { neid: 2, nlrd: 0xffff_ffff, ratype: 0, descs: [] },
    ],
  });
});

test("io-mgmt-recv reads reclaim unit handles, and io-mgmt-send has them replaced", async () => {
  const { address } = await startController({ placementHandles: 2 });
  const { data, length } = await iovaJson("io-mgmt-recv", address, "-m", "1", "-l", "80");
  expect(length).toBe(80);
  // NRUHSD, at byte 14.
  expect(Buffer.from(String(data), "hex").readUInt16LE(14)).toBe(2);
  const handles = join(folder, "handles");
  writeFileSync(handles, Buffer.from([1, 0]));
  await expect(iova("io-mgmt-send", address, "-m", "1", "-d", handles)).rejects.toThrow("--yes");
  const sent = await iovaJson("io-mgmt-send", address, "-m", "1", "-d", handles, "--yes");
  expect(sent).toEqual({ nsid: 1, result: 0 });
  // nvme-cli's other ways: a file for what is received, and a part of what is sent.
  const back = join(folder, "back");
  expect(await iovaJson("io-mgmt-recv", address, "-m", "1", "-l", "80", "-d", back)).toEqual({
    length: 80,
    file: back,
  });
  expect(readFileSync(back).toString("hex")).toBe(data);
  writeFileSync(handles, Buffer.from([1, 0, 0xff, 0xff]));
  await iova("io-mgmt-send", address, "-m", "1", "-d", handles, "-l", "2", "--yes");
});

test.each([
  ["get-lba-status"],
  ["nvme-mi-recv", "-O", "1"],
  ["nvme-mi-send", "-O", "3", "--yes"],
  ["boot-part-log"],
  ["boot-part-log", "--registers"],
])("%s %s says what a controller without it answers", async (name, ...args) => {
  const { getLbaStatus, nvmeMiReceive, nvmeMiSend } = AdminOpcode;
  const { address } = await startController({
    odd: { refusedAdmin: [getLbaStatus, nvmeMiReceive, nvmeMiSend] },
  });
  await expect(iova(name, address, ...args)).rejects.toThrow(/Invalid|no boot partitions/i);
});

test("get-lba-status and lba-status-log tell which blocks can't be read", async () => {
  const { address } = await startController({ namespaces: 2 });
  const nothing = { lslplen: 16, nlslne: 0, estulb: 0, lsgc: 0, ns_elements: [] };
  expect(await iovaJson("lba-status-log", address)).toEqual(nothing);
  for (const [first, blocks] of [
    ["40", "3"],
    ["100", "1"],
    ["64", "64"],
  ] as const)
    await iova("write-uncor", address, "-n", "2", "-s", first, "--blocks", blocks, "--yes", "--force");
  const found = (...args: string[]) => iovaJson("get-lba-status", address, "-n", "2", ...args);
  expect(await found()).toEqual({
    "Number of LBA Status Descriptors (NLSD)": 2,
    "Completion Condition (CMPC)": 2,
    "LSD entry 0": { DSLBA: "0x0000000000000028", NLB: "0x00000003", status: "0x00" },
    "LSD entry 1": { DSLBA: "0x0000000000000040", NLB: "0x00000040", status: "0x00" },
  });
  // A range, and room for one descriptor of two.
  expect(await found("-s", "41", "-l", "30", "-m", "5")).toEqual({
    "Number of LBA Status Descriptors (NLSD)": 1,
    "Completion Condition (CMPC)": 1,
    "LSD entry 0": { DSLBA: "0x0000000000000029", NLB: "0x00000002", status: "0x00" },
  });
  expect(await iovaJson("get-lba-status", address, "-n", "1")).toMatchObject({
    "Number of LBA Status Descriptors (NLSD)": 0,
  });
  const log = await iovaJson("lba-status-log", address, "--rae");
  expect(log).toMatchObject({ lslplen: 64, nlslne: 1, estulb: 67, lsgc: 1 });
  expect(log["ns_elements"]).toEqual([
    {
      neid: 2,
      nlrd: 2,
      ratype: 17,
      descs: [
        { rslba: 40, rnlb: 3 },
        { rslba: 64, rnlb: 64 },
      ],
    },
  ]);
  await expect(found("-a", "3")).rejects.toThrow(/Invalid Field/);
  await expect(found("-s", "16384")).rejects.toThrow(/LBA Out of Range/);
});

test("nvme-mi-recv and nvme-mi-send read and change what the emulated controller has", async () => {
  const { address } = await startController();
  const receive = (...args: string[]) => iovaJson("nvme-mi-recv", address, ...args);
  // Subsystem information: one port, NVMe-MI 1.2.
  expect(await receive("-O", "0", "--nmd0", "0", "-l", "32")).toEqual({
    length: 32,
    data: "000102".padEnd(64, "0"),
    response: 32,
  });
  expect(await receive("-O", "1", "-l", "8")).toMatchObject({ data: "30ff230001000000" });
  const vpd = join(folder, "vpd");
  writeFileSync(vpd, "iova's own");
  await iova("nvme-mi-send", address, "-O", "6", "-0", "16", "-1", "10", "-i", vpd, "--yes");
  const { data } = await receive("-O", "5", "-0", "12", "-1", "0x14", "-l", "20");
  expect(Buffer.from(String(data), "hex").toString()).toBe("\0\0\0\0iova's own\0\0\0\0\0\0");
  await iova("nvme-mi-send", address, "-O", "3", "-0", "3", "-1", "128", "--yes");
  expect(await receive("-O", "4", "-0", "3", "-l", "4")).toMatchObject({ response: 128 });
  await expect(receive("-O", "5", "-0", "250", "-1", "7")).rejects.toThrow(
    "NVMe-MI command 5 failed: invalid parameter",
  );
  await expect(receive("-O", "9")).rejects.toThrow("invalid command opcode");
  await expect(receive("-O", "1", "-m", "2")).rejects.toThrow(/Invalid Field/);
  await expect(iova("nvme-mi-send", address, "-O", "3", "-0", "3", "-1", "10", "--yes")).rejects.toThrow(
    "invalid parameter",
  );
});

test("boot partitions are written by fw-download and fw-commit, and read by the log page and by registers", async () => {
  const { address } = await startController({ bootPartitionBytes: 384 << 10 });
  const image = randomFillSync(Buffer.alloc(300 << 10));
  const path = join(folder, "boot");
  writeFileSync(path, image);
  const commit = ["fw-commit", address, "--fw", path, "-a", "6", "-b", "1", "--yes"];
  await expect(iova(...commit)).rejects.toThrow(/Boot Partition Write Prohibited/);
  await iova("set-feature", address, "-f", "0x85", "-V", "9", "--yes");
  await iova(...commit);
  await iova("fw-commit", address, "-a", "7", "-b", "1", "--yes");
  const back = join(folder, "boot-back");
  const whole = Buffer.concat([image, Buffer.alloc(84 << 10)]);
  for (const way of [[], ["--registers"]]) {
    expect(await iovaJson("boot-part-log", address, ...way)).toMatchObject({ abpid: 1, bpsz: 3 });
    expect(await iova("boot-part-log", address, "-s", "1", "-f", back, ...way)).toContain(
      "wrote 393216 bytes",
    );
    expect(readFileSync(back).equals(whole)).toBe(true);
    await iova("boot-part-log", address, "-f", back, ...way);
    expect(readFileSync(back).equals(Buffer.alloc(384 << 10))).toBe(true);
  }
  const long = join(folder, "boot-long");
  writeFileSync(long, Buffer.alloc(388 << 10, 1));
  await expect(iova("fw-commit", address, "--fw", long, "-a", "6", "--yes")).rejects.toThrow(
    /Invalid Firmware Image/,
  );
});

test.each([
  [["nvme-mi-recv"], "needs --opcode"],
  [["io-mgmt-recv", "-l", "6"], "a multiple of 4"],
  [["io-mgmt-recv", "-d", "-"], "--raw-binary"],
  [["io-mgmt-send", "-l", "2", "--yes"], "--data has 0 bytes"],
  [["get-lba-status", "-s", "all"], "expected a number"],
  [["boot-part-log", "-f", "-"], "goes to a file"],
])("%j is refused before the controller is opened", async ([name = "", ...args], problem) => {
  await expect(iova(name, "vfio-user:/nowhere", ...args)).rejects.toThrow(problem);
});

test("a namespace that goes while it is listed is a note, and the others are listed", async () => {
  // Its Identify Namespace is refused as if it had been deleted after the list of ids was read.
  const fault = { kind: "status", queue: "admin", opcode: 0x06, nsid: 2, every: 1, status: 0x000b } as const;
  const { address } = await startController({ namespaces: 3, faults: [fault] });
  const { Devices } = await iovaJson("list", address);
  expect(Devices).toMatchObject([
    {
      Namespaces: [{ NameSpace: 1 }, { NameSpace: 3 }],
      Notes: [expect.stringMatching(/^namespace 2: .*Invalid Namespace/)],
    },
  ]);
});

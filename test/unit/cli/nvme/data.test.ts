/** `iova nvme get-lba-status`, `io-mgmt-*` and other commands on bytes, and namespaces that go meanwhile. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { lbaStatusJson, lbaStatusLogJson } from "../../../../src/cli/nvme/admin/data.js";
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
  expect(lbaStatusJson(bytes)).toEqual({
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
  expect(lbaStatusLogJson(bytes)).toEqual({
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
  ["lba-status-log"],
  ["boot-part-log"],
])("%s says what a controller without it answers", async (name, ...args) => {
  const { address } = await startController();
  await expect(iova(name, address, ...args)).rejects.toThrow(/Invalid|no such|doesn't|lacks/i);
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

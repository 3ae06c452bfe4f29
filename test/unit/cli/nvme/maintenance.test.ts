/** `iova nvme fw-commit`, `sanitize`, `device-self-test`, `security-*`, `lockdown`, `fdp`, `events`, ... on an emulated controller. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ConfigError, UnsupportedError } from "../../../../src/core/errors.js";
import { emulatedFirmware } from "../../../../src/emulator/nvme/medium/firmware-image.js";
import { emulate } from "../../../support/emulators.js";
import { iova, iovaJson } from "../../../support/nvme-cli.js";

const folder = mkdtempSync(join(tmpdir(), "iova-maintenance-"));
const file = (name: string, bytes: Uint8Array): string => {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
};
let emulator: { readonly address: string; close(): Promise<void> };
beforeAll(async () => {
  const options = { sizeBytes: 16 << 20, shortSelfTestMs: 50, sanitizeMs: 50, placementHandles: 2 };
  emulator = await emulate({ device: "nvme", options });
});
afterAll(async () => {
  await emulator.close();
  rmSync(folder, { recursive: true, force: true });
});

test("fw-commit sends and activates an image; fw-download says whether the controller takes it", async () => {
  const { address } = emulator;
  const image = file("image", emulatedFirmware({ revision: "2.0" }));
  expect(await iovaJson("fw-download", address, "-f", image, "--yes")).toMatchObject({
    bytes: expect.any(Number),
  });
  expect(await iovaJson("fw-commit", address, "-f", image, "-a", "1", "-s", "2", "--yes")).toMatchObject({
    action: "replaceAndActivate",
    slot: 2,
  });
  expect(await iova("id-ctrl", address)).toMatch(/^fr +: 2\.0/m);
  const cut = file("cut", emulatedFirmware({ revision: "2.0" }).subarray(0, 4096 - 512));
  await expect(iova("fw-commit", address, "-f", cut, "-a", "0", "-s", "2", "--yes")).rejects.toThrow(
    /Invalid Firmware Image|Invalid Field/,
  );
});

test("device-self-test waits for a short test, and shows what runs", async () => {
  const { address } = emulator;
  expect(await iovaJson("device-self-test", address, "-s", "1", "--yes")).toEqual({
    operation: 0,
    percent: 0,
    result: "Success",
  });
  expect(await iova("device-self-test", address, "-s", "0")).toBe("no test runs; the last one: Success\n");
});

test("sanitize-ns erases one namespace", async () => {
  const { address } = emulator;
  const args = ["sanitize-ns", address, "-n", "1", "-a", "4", "--yes"] as const;
  expect(await iovaJson(...args)).toEqual({ action: "cryptoErase", nsid: 1 });
});

test("sanitize starts, and its log shows the end", async () => {
  const { address } = emulator;
  expect(await iovaJson("sanitize", address, "-a", "2", "--yes")).toEqual({ action: "blockErase" });
  await expect
    .poll(async () => JSON.stringify(await iovaJson("sanitize-log", address)), { timeout: 60_000 })
    .toMatch(/"sprog":65535/);
});

test("security-recv lists the protocols, lockdown prohibits a command and allows it again", async () => {
  const { address } = emulator;
  expect(await iovaJson("security-recv", address, "-p", "0", "-x", "16")).toMatchObject({ length: 16 });
  await iova("lockdown", address, "-o", "0x80", "-p", "1", "--yes");
  await expect(iova("format", address, "--yes")).rejects.toThrow(/Prohibited/);
  await iova("lockdown", address, "-o", "0x80", "-p", "0", "--yes");
  await iova("format", address, "--yes");
});

test("fdp shows the handles of a namespace, and updates one", async () => {
  const { address } = emulator;
  const status = await iovaJson("fdp", "status", address);
  expect(status).toEqual({
    nruhsd: 2,
    ruhss: [expect.objectContaining({ pid: 0 }), expect.objectContaining({ pid: 1 })],
  });
  expect(await iovaJson("fdp", "update", address, "-p", "0,1", "--yes")).toEqual({ nsid: 1, pids: [0, 1] });
  expect(await iova("fdp", "status", address)).toMatch(/^ *pid +ruhid +earutr +ruamw$/m);
  for (const verb of ["configs", "usage", "stats", "events"])
    await expect(iova("fdp", verb, address)).rejects.toThrow(/Invalid Log Page/);
});

test("events ends after a time, or at an event", async () => {
  const { address } = emulator;
  expect(await iova("events", address, "--seconds", "1")).toBe("");
});

test("what the controller lacks is said before a command is sent", async () => {
  const { address } = emulator;
  await expect(iova("dir-receive", address, "-D", "0", "-O", "1")).rejects.toThrow(UnsupportedError);
  await expect(
    iova("dir-send", address, "-D", "0", "-O", "1", "-T", "1", "-e", "1", "--yes"),
  ).rejects.toThrow(UnsupportedError);
  await expect(iova("capacity-mgmt", address, "-O", "1", "-l", "4096", "--yes")).rejects.toThrow(
    UnsupportedError,
  );
});

test.each([
  [["fw-download", "--yes"], "needs --fw FILE"],
  [["fw-download", "-f", file("odd", new Uint8Array(3)), "--yes"], "no multiple of 4"],
  [["fw-commit", "--yes"], "needs --action"],
  [["fw-commit", "-a", "5", "--yes"], "expected one of 0, 1, 2, 3, 6, 7"],
  [["fw-commit", "-a", "1", "-s", "8", "--yes"], "--slot 8"],
  [["sanitize", "-a", "9", "--yes"], "--sanact 9"],
  [["sanitize-ns", "-n", "1", "-a", "2", "--yes"], "--sanact 2"],
  [["sanitize-ns", "-a", "4", "--yes"], "--namespace-id"],
  [["sanitize", "-a", "3", "-n", "17", "--yes"], "--owpass 17"],
  [["sanitize", "-a", "2"], "--yes"],
  [["device-self-test", "-s", "5", "--yes"], "--self-test-code 5"],
  [["device-self-test", "-s", "1"], "--yes"],
  [["security-send", "-p", "1", "--yes"], "needs --file FILE"],
  [["security-send", "-p", "1", "-f", "-"], "standard input"],
  [["security-recv"], "needs --secp"],
  [["dir-send", "-D", "0", "-O", "1", "--yes"], "needs --endir N"],
  [["dir-receive", "-D", "1", "-O", "3"], "needs --req-resource N"],
  [["lockdown", "-o", "1", "--yes"], "needs --prhbt"],
  [["lockdown", "-o", "1", "-p", "1", "-s", "1", "--yes"], "--scp 1"],
  [["capacity-mgmt", "-O", "5", "--yes"], "--operation 5"],
  [["events", "--count", "0"], "--count 0"],
] as const)("nvme %j is refused before anything is opened", async ([name, ...args], reason) => {
  const refusal = iova(name, "vfio-user:/nowhere", ...args);
  await expect(refusal).rejects.toThrow(ConfigError);
  await expect(refusal).rejects.toThrow(reason);
});

test.each([
  [[], "fdp needs one of configs, usage"],
  [["gossip"], "fdp needs one of configs, usage"],
  [["update", "vfio-user:/nowhere", "--yes"], "needs --pids LIST"],
  [["update", "vfio-user:/nowhere", "-p", "1"], "--yes"],
  [["set-events", "vfio-user:/nowhere", "--yes"], "needs --event-types LIST"],
])("nvme fdp %j is refused before anything is opened", async (args, reason) => {
  await expect(iova("fdp", ...args)).rejects.toThrow(reason);
});

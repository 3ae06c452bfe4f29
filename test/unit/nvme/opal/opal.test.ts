/** TCG Opal: the library against the emulated controller, and against replies that are cut short. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ArgumentError, type NvmeController, NvmeError, UnsupportedError } from "../../../../src/index.js";
import type { SecurityChannel } from "../../../../src/nvme/command/security-channel.js";
import { NvmeOpal } from "../../../../src/nvme/opal/opal.js";
import { NvmeOpalError } from "../../../../src/nvme/opal/session.js";
import { OpalFeature, OpalStatus } from "../../../../src/nvme/spec/opal/numbers.js";
import { NvmeStatus } from "../../../../src/nvme/spec/status.js";
import { caught } from "../../../support/caught.js";
import { openController, startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { iova, iovaJson } from "../../../support/nvme-cli.js";
import { RecordingController } from "../../../support/recording-controller.js";

useEmulatedNvme();

async function statusOf(refused: Promise<unknown>): Promise<number> {
  const error = await caught(refused);
  if (!(error instanceof NvmeError)) throw error;
  return (error.statusCodeType << 8) | error.statusCode;
}

async function opalStatusOf(refused: Promise<unknown>): Promise<number | undefined> {
  const error = await caught(refused);
  if (!(error instanceof NvmeOpalError)) throw error;
  return error.status;
}

/** A controller whose locking is active, with eight blocks of sevens. */
async function owned(): Promise<{ nvme: NvmeController; opal: NvmeOpal }> {
  const nvme = await openController({ opal: true });
  const opal = nvme.security.opal();
  await opal.takeOwnership("secret");
  await opal.activate("secret");
  await (await nvme.namespace(1)).write(0, new Uint8Array(8 * 512).fill(7));
  return { nvme, opal };
}

test("a locked range refuses reads and writes with Access Denied, and nothing else does", async () => {
  const { nvme, opal } = await owned();
  const ns = await nvme.namespace(1);
  const enabled = { readLockEnabled: true, writeLockEnabled: true };
  await opal.setRange("secret", 1, { start: 4, blocks: 100, ...enabled });
  expect(await opal.range("secret", 1)).toEqual({
    start: 4,
    blocks: 100,
    ...enabled,
    readLocked: false,
    writeLocked: false,
  });
  await opal.lock("secret", 1, "locked");
  const { locking, features, opal: ssc } = await opal.discover();
  expect(locking).toMatchObject({ enabled: true, locked: true });
  expect(features.map(({ code }) => code)).toEqual(
    Object.values(OpalFeature).filter((code) => code !== OpalFeature.opal1),
  );
  expect(ssc).toMatchObject({ version: 2, comIds: 1 });
  expect((await ns.read(0, 4 * 512))[0]).toBe(7);
  expect(await statusOf(ns.read(3, 2 * 512))).toBe(NvmeStatus.accessDenied);
  expect(await statusOf(ns.write(103, new Uint8Array(512)))).toBe(NvmeStatus.accessDenied);
  expect(await statusOf(ns.writeZeroes(4, 1))).toBe(NvmeStatus.accessDenied);
  expect(await statusOf(ns.deallocate([{ lba: 0, blocks: 5 }]))).toBe(NvmeStatus.accessDenied);
  expect(await statusOf(ns.copy(200, [{ lba: 4, blocks: 1 }]))).toBe(NvmeStatus.accessDenied);
  expect(await statusOf(nvme.maintenance.format(1))).toBe(NvmeStatus.operationDenied);
  await opal.lock("secret", 1, "readOnly");
  expect((await ns.read(4, 512))[0]).toBe(7);
  expect(await statusOf(ns.write(4, new Uint8Array(512)))).toBe(NvmeStatus.accessDenied);
  await opal.lock("secret", 1, "unlocked");
  await ns.write(4, new Uint8Array(512));
  // Ranges don't overlap.
  expect(await opalStatusOf(opal.setRange("secret", 2, { start: 50, blocks: 100 }))).toBe(
    OpalStatus.invalidParameter,
  );
});

test("wrong passwords are refused, and lock out; the factory's state comes back by the PSID, without data", async () => {
  const { nvme, opal } = await owned();
  await expect(opal.takeOwnership("other")).rejects.toThrow("it has an owner already");
  for (let i = 0; i < 5; i++)
    expect(await opalStatusOf(opal.lock("wrong", 0, "locked"))).toBe(OpalStatus.notAuthorized);
  expect(await opalStatusOf(opal.lock("secret", 0, "locked"))).toBe(OpalStatus.authorityLockedOut);
  expect(await opalStatusOf(opal.revert("PSID-wrong", true))).toBe(OpalStatus.notAuthorized);
  await opal.revert("PSID-IOVA0001", true);
  expect((await opal.discover()).locking).toMatchObject({ enabled: false, locked: false });
  expect(await (await nvme.namespace(1)).read(0, 512)).toEqual(Buffer.alloc(512));
  await opal.takeOwnership("again");
  await opal.activate("again");
  await opal.changePassword("again", "new");
  expect(await opalStatusOf(opal.activate("again"))).toBe(OpalStatus.notAuthorized);
  await opal.lock("new", 0, "unlocked");
  await opal.revert("new");
});

test("arguments are checked, and a controller without Opal is told apart", async () => {
  const { opal } = await owned();
  for (const wrong of [
    () => opal.takeOwnership(""),
    () => opal.activate("x".repeat(33)),
    () => opal.changePassword("secret", new Uint8Array(33)),
    () => opal.range("secret", 255),
    () => opal.setRange("secret", 0, { start: 1 }),
    () => opal.setRange("secret", 1, {}),
    () => opal.setRange("secret", 1, { blocks: -1 }),
  ])
    expect(await caught(wrong())).toBeInstanceOf(ArgumentError);
  const without = (await openController()).security.opal();
  expect(await statusOf(without.discover())).toBe(NvmeStatus.invalidField);
  const fresh = (await openController({ opal: true })).security.opal();
  expect(await caught(fresh.lock("secret", 0, "locked"))).toBeInstanceOf(UnsupportedError);
});

test("replies that are cut short are errors", async () => {
  const { nvme } = await owned();
  const whole = await nvme.security.receive({ protocol: 1, specific: 1 }, 2048);
  const controller = new RecordingController({ oacs: 1 });
  const replying = (...replies: Uint8Array[]): NvmeOpal => {
    const channel: SecurityChannel = { send: async () => {}, receive: async () => replies.shift() ?? whole };
    return new NvmeOpal(controller, channel);
  };
  await expect(replying(whole.slice(0, 47)).discover()).rejects.toThrow("only 47 bytes");
  await expect(replying(whole.slice(0, 60)).discover()).rejects.toThrow("cut short");
  const reply = new Uint8Array(60);
  reply[19] = 200;
  await expect(replying(whole, reply).activate("secret")).rejects.toThrow("its length is 200");
  reply[19] = 40;
  await expect(replying(whole, reply.slice()).activate("secret")).rejects.toThrow("0xf0 is missing");
  reply.set([3, 0xf0, 0xa8, 0], 55);
  await expect(replying(whole, reply.slice()).activate("secret")).rejects.toThrow("cut short");
  reply[55] = 4;
  reply.fill(0xf2, 56);
  await expect(replying(whole, reply.slice()).activate("secret")).rejects.toThrow("malformed");
  controller.close();
});

test("what Opal keeps is in the file, and a drive that loses its power is locked again", async () => {
  const folder = mkdtempSync(join(tmpdir(), "iova-opal-"));
  const options = { opal: true, file: join(folder, "disk") };
  const first = await startController(options);
  const sed = (...args: string[]) => iova("sed", ...args);
  await sed("initialize", first.address, "-k", "secret", "--yes");
  expect(await iovaJson("sed", "discover", first.address)).toMatchObject({
    opal_version: 2,
    locking_enabled: true,
    locked: false,
  });
  await first.close();
  const { address } = await startController(options);
  expect(await iovaJson("sed", "range", address, "-k", "secret")).toMatchObject({ read_locked: true });
  await expect(iova("read", address, "--blocks", "1")).rejects.toThrow("Access Denied");
  await expect(sed("unlock", address, "-k", "wrong", "--yes")).rejects.toThrow("NOT_AUTHORIZED");
  expect(await sed("unlock", address, "-k", "secret", "--yes")).toContain("locking range 0 is unlocked");
  expect(await sed("lock", address, "-k", "secret", "--read-only", "--yes")).toContain("is readOnly");
  await sed("password", address, "-k", "secret", "--new-key", "other", "--yes");
  expect(await sed("revert", address, "-k", "other", "--yes")).toContain("all data is erased");
  for (const [args, problem] of [
    [["lock"], "needs --key"],
    [["lock", "-k", "x".repeat(33)], "33 bytes"],
    [["password", "-k", "a"], "needs --new-key"],
  ] as const)
    await expect(iova("sed", args[0], "vfio-user:/nowhere", ...args.slice(1), "--yes")).rejects.toThrow(
      problem,
    );
  rmSync(folder, { recursive: true });
});

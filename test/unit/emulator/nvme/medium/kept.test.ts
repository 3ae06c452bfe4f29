/** RPMB targets and boot partitions outlive `iova emulate nvme --file`; files that don't hold them are refused. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, expect, test } from "vitest";
import { ConfigError } from "../../../../../src/core/errors.js";
import { EmulatedNvme } from "../../../../../src/emulator/nvme/controller.js";
import type { NvmeEmulatorOptions } from "../../../../../src/emulator/nvme/options.js";
import { NvmeController } from "../../../../../src/index.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { caught } from "../../../../support/caught.js";
import { compileCli } from "../../../../support/iova-cli.js";

const KIB = 1024;
const options = { sizeBytes: 4 * KIB * KIB, rpmbTargets: 2, bootPartitionBytes: 128 * KIB };
const key = randomBytes(32);
const cli = compileCli();
afterAll(() => cli[Symbol.dispose]());

let folder: string;
let file: string;
let running: ChildProcess | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "iova-kept-"));
  file = join(folder, "disk");
});
afterEach(async () => {
  await end("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

/** Starts the command, with the medium in the file. */
async function start(): Promise<NvmeController> {
  const socket = join(folder, "socket");
  rmSync(socket, { force: true });
  const args = ["emulate", "nvme", "--socket", socket, "--size", "4M", "--file", file];
  args.push("--rpmb", "2", "--boot-partitions", "128K");
  const child = spawn(process.execPath, [cli.path, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  running = child;
  const ended = once(child, "exit").then(([code]) => {
    throw new Error(`iova emulate ended with status ${code}`);
  });
  await Promise.race([once(child.stdout, "data"), ended]);
  return NvmeController.open(`vfio-user:${socket}`);
}

async function end(signal: NodeJS.Signals): Promise<void> {
  const child = running;
  running = undefined;
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill(signal);
  await ended;
}

/** Makes the medium and the files beside it. */
async function fill(): Promise<Buffer> {
  const image = randomBytes(100 * KIB);
  await using nvme = await start();
  const rpmb = nvme.security.rpmb(1);
  await rpmb.programKey(key);
  await rpmb.write(3, randomBytes(512).fill(7), key);
  await nvme.firmware.download(image);
  await nvme.firmware.commit("replaceBootPartition", { bootPartition: 1 });
  await nvme.firmware.commit("activateBootPartition", { bootPartition: 1 });
  return image;
}

test("keys, counters, data and boot partitions are there after a restart", async () => {
  const image = await fill();
  await end("SIGTERM");
  for (const name of ["rpmb", "boot"]) expect(statSync(`${file}.${name}`).mode & 0o777).toBe(0o600);
  await using nvme = await start();
  expect(nvme.bootPartitions.properties.active).toBe(1);
  expect(image.equals((await nvme.bootPartitions.read(1)).subarray(0, image.length))).toBe(true);
  const rpmb = nvme.security.rpmb(1);
  expect(await rpmb.readCounter(key)).toBe(1);
  expect(await rpmb.read(3, 1, key)).toEqual(new Uint8Array(512).fill(7));
  expect(await rpmb.read(4, 1, key)).toEqual(new Uint8Array(512));
});

test("a kill between any two writes, or in one, loses none that succeeded", async () => {
  await fill();
  await end("SIGTERM");
  let done = 1;
  for (let round = 0; round < 3; round++) {
    const nvme = await start();
    const rpmb = nvme.security.rpmb(1);
    const before = await rpmb.readCounter(key);
    // A write that was under way when the process ended may have been done, or not.
    expect([done, done + 1]).toContain(before);
    done = before;
    const write = (): Promise<void> => rpmb.write(3, new Uint8Array(512).fill(done & 0xff), key);
    await write();
    done++;
    const killed = new Promise<void>((resolve) => setTimeout(resolve, 15 * round)).then(() => end("SIGKILL"));
    for (;;) {
      try {
        await write();
      } catch {
        break;
      }
      done++;
    }
    await killed;
    await nvme.close().catch(() => {});
  }
  await using nvme = await start();
  const rpmb = nvme.security.rpmb(1);
  const counter = await rpmb.readCounter(key);
  expect([done, done + 1]).toContain(counter);
  expect(await rpmb.read(3, 1, key)).toEqual(new Uint8Array(512).fill((counter - 1) & 0xff));
});

test("damaged and foreign files, and those that don't fit, are errors and stay as they are", async () => {
  await fill();
  await end("SIGTERM");
  const refusal = (changes: NvmeEmulatorOptions = {}): string => {
    try {
      EmulatedNvme.create({ ...options, file, ...changes }).close();
    } catch (error) {
      if (error instanceof ConfigError) return error.message;
      throw error;
    }
    return "";
  };
  for (const name of ["rpmb", "boot"]) {
    const path = `${file}.${name}`;
    const right = readFileSync(path);
    const flipped = Uint8Array.from(right, (byte, i) => (i === right.length - 3 ? byte ^ 1 : byte));
    for (const [wrong, text] of [
      [flipped, `${path} is damaged`],
      [right.subarray(0, right.length - 1), `${path} is damaged`],
      [Buffer.from("notes of mine"), `${path} does not hold the`],
      [Buffer.alloc(0), `${path} does not hold the`],
    ] as const) {
      writeFileSync(path, wrong);
      expect(refusal()).toContain(text);
      expect(readFileSync(path).equals(wrong)).toBe(true);
    }
    writeFileSync(path, right);
    expect(refusal()).toBe("");
  }
  expect(refusal({ rpmbTargets: 1 })).toContain("holds 2 RPMB targets, and there would be 1");
  // Without the options the files are left alone.
  expect(refusal({ rpmbTargets: 0, bootPartitionBytes: 0 })).toBe("");
  rmSync(file);
  expect(refusal()).toContain("belongs to a medium that");
  expect(existsSync(file)).toBe(false);
});

test("a change that can't be kept fails, and nothing has changed", async () => {
  await fill();
  await end("SIGTERM");
  await using nvme = await start();
  // The fresh file can't be made where a folder is.
  for (const name of ["rpmb", "boot"]) mkdirSync(`${file}.${name}.new`);
  const rpmb = nvme.security.rpmb(1);
  expect(String(await caught(rpmb.write(3, new Uint8Array(512), key)))).toContain("write failure");
  expect(await rpmb.readCounter(key)).toBe(1);
  expect(await rpmb.read(3, 1, key)).toEqual(new Uint8Array(512).fill(7));
  expect(await caught(nvme.firmware.commit("activateBootPartition", { bootPartition: 0 }))).toMatchObject({
    statusCode: NvmeStatus.internalError,
  });
  expect(nvme.bootPartitions.properties.active).toBe(1);
});

#!/usr/bin/env node
/** `npm run demo`: drives an NVMe controller, emulated in this process, in a guest, or real. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BackendName, bindToVfio, IovaError, listPciFunctions, type VfioBinding } from "iova";
import { startEmulator } from "iova/emulator";
import { doctor } from "iova/host";
import { parseBdf, usersOf } from "iova/pci";
import { GuestToolError } from "../../guest/errors.js";
import { StderrProgress } from "../../guest/progress.js";
import { runGuest } from "../../guest/run.js";
import { exercise, type RunResult } from "./exercise.js";
import { type DemoOptions, HELP, parseDemoOptions } from "./options.js";
import { confirmed, refusePartitioned, refuseUsedDisk } from "./safety.js";
import { table } from "./table.js";

const NVME_CLASS = 0x010802;
const GUEST_TIMEOUT_MS = 300_000;
const DEMO_BYTES = 64 * 1024 * 1024;

/** A run's result, or the reason why it failed. */
type Outcome = RunResult | { backend: BackendName; ok: false; error: string };

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function inGuest(json: boolean): Promise<number> {
  say("Booting a QEMU guest: Linux with iommufd, an emulated IOMMU and an NVMe controller of its own.");
  const script = fileURLToPath(import.meta.url);
  const result = await runGuest({
    command: [process.execPath, script, "first", "--destroy-data", "--yes", ...(json ? ["--json"] : [])],
    timeoutMs: GUEST_TIMEOUT_MS,
    progress: new StderrProgress(),
  });
  if (result.problem !== undefined) process.stderr.write(`demo: ${result.problem}\n`);
  return result.status;
}

function chooseTarget(target: string): string {
  if (target !== "first") return parseBdf(target);
  const free = listPciFunctions().find((fn) => fn.classCode === NVME_CLASS && usersOf(fn.bdf).length === 0);
  if (free === undefined) throw new IovaError("ERR_DEMO", "there is no unused NVMe controller");
  return free.bdf;
}

/** Uses an emulated controller on a thread of its own. */
async function onEmulator(json: boolean): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "iova-demo-"));
  try {
    say("Emulating an NVMe controller on a thread of its own, and driving it over vfio-user ...");
    const request = {
      socket: join(folder, "nvme"),
      device: "nvme",
      options: { sizeBytes: DEMO_BYTES },
    } as const;
    await using emulator = await startEmulator(request);
    const outcome = await attempt(emulator.address, undefined, true);
    report([outcome]);
    say("On a real kernel with an IOMMU, in a guest:  npm run demo -- --guest");
    say("On an NVMe controller of this host, reading: npm run demo -- 0000:00:03.0");
    return finish([outcome], json);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function onSocket(address: string, write: boolean, json: boolean): Promise<number> {
  const outcome = await attempt(address, undefined, write);
  report([outcome]);
  return finish([outcome], json);
}

/** Prints the JSON as the last line. @returns the exit status */
function finish(outcomes: readonly Outcome[], json: boolean): number {
  if (json) say(JSON.stringify({ runs: outcomes }));
  return outcomes.every(({ ok }) => ok) ? 0 : 1;
}

async function onDevice(options: DemoOptions, target: string): Promise<number> {
  const bdf = chooseTarget(target);
  if (options.destroyData) {
    refusePartitioned(bdf);
    if (!options.yes && !(await confirmed(bdf))) {
      process.stderr.write("nothing was written\n");
      return 1;
    }
  }
  using binding: VfioBinding = bindToVfio(bdf);
  const before = binding.previousDriver ?? "no driver";
  say(`${bdf} is bound to vfio-pci (before: ${before}).`);
  const backends = doctor({ devices: [bdf] }).devices.flatMap((device) => device.backends);
  if (backends.length === 0)
    throw new IovaError("ERR_DEMO", `no backend works here: npx iova doctor ${bdf} says how to mend that`);
  if (options.destroyData) await refuseUsedDisk(bdf, backends[0]);
  const outcomes: Outcome[] = [];
  for (const backend of backends) {
    say(
      `${backend}: ${options.destroyData ? "writing, reading back and comparing" : "reading twice and comparing"} ...`,
    );
    outcomes.push(await attempt(bdf, backend, options.destroyData));
  }
  report(outcomes);
  return finish(outcomes, options.json);
}

async function attempt(target: string, backend: BackendName | undefined, write: boolean): Promise<Outcome> {
  try {
    return await exercise(target, backend, write);
  } catch (error) {
    if (!(error instanceof IovaError)) throw error;
    return { backend: backend ?? "vfio-user", ok: false, error: error.message };
  }
}

function report(outcomes: readonly Outcome[]): void {
  const number = (value: number): string => Math.round(value).toLocaleString("en");
  const rows = outcomes.map((outcome) =>
    "model" in outcome
      ? [
          outcome.backend,
          outcome.model,
          outcome.ok ? "yes" : "NO",
          number(outcome.bytesVerified),
          number(outcome.mibPerSecond),
          number(outcome.iops),
        ]
      : [outcome.backend, "-", "NO", "-", "-", "-"],
  );
  say("");
  say(
    table(
      ["backend", "model", "verified", "bytes verified", "MiB/s", "IOPS (4K random read, QD 32)"],
      rows,
      3,
    ),
  );
  for (const outcome of outcomes)
    if (outcome.error !== undefined) say(`${outcome.backend}: ${outcome.error}`);
  say("");
}

async function main(): Promise<number> {
  const options = parseDemoOptions(process.argv.slice(2));
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const { target, guest, json, destroyData, yes } = options;
  if (guest) return await inGuest(json);
  if (target === undefined) return await onEmulator(json);
  if (!target.startsWith("vfio-user:")) return await onDevice(options, target);
  if (destroyData && !yes && !(await confirmed(target))) {
    process.stderr.write("nothing was written\n");
    return 1;
  }
  return await onSocket(target, destroyData, json);
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof IovaError || error instanceof GuestToolError)) throw error;
  process.stderr.write(`demo: ${error.message}\n`);
  process.exitCode = 1;
}

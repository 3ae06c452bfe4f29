/** Follows what doctor advises, to the letter, until the NVMe demo runs on the device; and takes it back. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { packageRoot } from "../../guest/paths.js";
import type { CheckResult, DoctorReport, Fix, FixStep, HostBackend } from "../../src/doors/host.js";
import { driverOf } from "../../src/pci/sysfs.js";
import { nvmeBdf } from "./functions.js";
import { kernelDisk, writeDisk } from "./kernel-disk.js";
import { moduleParameters, restoreModuleParameters } from "./module-parameters.js";
import { type Outcome, run, runNode } from "./run.js";
import { unloadVfio } from "./vfio-modules.js";

const cli = join(packageRoot(), "dist", "lib", "cli.js");
const demo = join(packageRoot(), "dist", "examples", "demo", "main.js");
const RECORD = "/var/lib/iova";
const MIB = 2 ** 20;

/** What runs a Node.js program: this process's user, or another one's login. */
type Runner = (args: readonly string[]) => Promise<Outcome>;
const asRoot: Runner = (args) => runNode(...args);

/** doctor's report on the NVMe controller, as the command prints it. */
export async function reportOf(runner: Runner = asRoot): Promise<DoctorReport> {
  const { status, stdout } = await runner([cli, "doctor", nvmeBdf(), "--json"]);
  const report: DoctorReport = JSON.parse(stdout);
  expect(status).toBe(report.usable ? 0 : 1);
  return report;
}

const first = ({ fixes }: CheckResult): Fix | undefined => fixes[0];

/** What a check that is a problem advises, in the order of the report. */
function advised(report: DoctorReport, pick: (check: CheckResult) => Fix | undefined): Fix[] {
  return report.checks.flatMap((check) =>
    check.state === "problem" ? (pick(check) ?? first(check) ?? []) : [],
  );
}

/** Also of warnings, as far as it takes no person and no other kernel. */
function allAdvised({ checks }: DoctorReport): Fix[] {
  const fixes = checks
    .filter(({ state }) => state === "problem" || state === "warning")
    .flatMap((check) => first(check) ?? []);
  return fixes.filter(
    ({ steps, effect }) => effect !== "reboot" && steps.every(({ kind }) => kind !== "manual"),
  );
}

/** Does what the fixes say, each once and to the end, in a folder where `npx iova` is the compiled package. */
export function follow(fixes: readonly Fix[]): void {
  const folder = mkdtempSync(join(tmpdir(), "iova-advice-"));
  try {
    mkdirSync(join(folder, "node_modules", ".bin"), { recursive: true });
    const command = `#!/bin/sh\nexec '${process.execPath}' '${cli}' "$@"\n`;
    writeFileSync(join(folder, "node_modules", ".bin", "iova"), command, { mode: 0o755 });
    const different = new Map(fixes.map(({ steps }) => [JSON.stringify(steps), steps]));
    for (const step of [...different.values()].flat()) doStep(step, folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function doStep(step: FixStep, cwd: string): void {
  if (step.kind === "manual") throw new Error(`this takes a person: ${step.text}`);
  if (step.kind === "file") {
    mkdirSync(dirname(step.path), { recursive: true });
    writeFileSync(step.path, step.content);
    return;
  }
  const [program = "", ...args] = step.argv;
  const folders = [process.env["PATH"], "/usr/sbin", "/sbin", dirname(process.execPath)].join(delimiter);
  execFileSync(program, args, { cwd, env: { ...process.env, PATH: folders }, stdio: "pipe" });
}

/** Runs the demo on the controller, whose data it overwrites. */
async function demoRuns(backends: readonly HostBackend[], runner: Runner = asRoot): Promise<void> {
  const { status, stdout, stderr } = await runner([demo, nvmeBdf(), "--destroy-data", "--yes", "--json"]);
  // It says on standard output which run failed, and why.
  expect({ status, stderr }, stdout).toEqual({ status: 0, stderr: "" });
  const { runs } = JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
  expect(runs).toEqual(
    backends.map((backend) => expect.objectContaining({ backend, ok: true, bytesVerified: 16 * MIB })),
  );
}

/** The demo refuses a disk that holds anything. */
async function emptyDisk(): Promise<void> {
  writeDisk(await kernelDisk(nvmeBdf()), 0, new Uint8Array(MIB));
}

interface Advice {
  /** Backends of the demo afterwards. */
  readonly backends: readonly HostBackend[];
  /** Checks that are problems before, besides the device's driver. */
  readonly problems: readonly string[];
  /** The fix that is followed of a check, where it isn't the first one. */
  readonly pick?: (check: CheckResult) => Fix | undefined;
}

/** Tests of doctor's advice on a machine that can be mended while it runs. */
export function adviceSuite({ backends, problems, pick }: Advice): void {
  describe("doctor's advice, followed to the letter", () => {
    let parameters: Map<string, string>;
    beforeEach(async () => {
      parameters = moduleParameters();
      await unloadVfio();
      await emptyDisk();
    });
    afterEach(async () => {
      expect(await runNode(cli, "restore")).toMatchObject({ status: 0 });
      rmSync(RECORD, { recursive: true, force: true });
      expect(await runNode(cli, "unbind", nvmeBdf())).toMatchObject({ status: 0 });
      rmSync("/etc/modules-load.d/iova-vfio-pci.conf", { force: true });
      restoreModuleParameters(parameters);
      await kernelDisk(nvmeBdf());
    });

    test("makes the demo run, by the commands that it prints", async () => {
      const before = await reportOf();
      const found = before.checks.filter(({ state }) => state === "problem").map(({ id }) => id);
      expect(found).toEqual([...problems, "device.driver"]);
      follow(advised(before, pick ?? first));
      expect((await reportOf()).devices).toEqual([{ bdf: nvmeBdf(), usable: true, backends }]);
      await demoRuns(backends);
    });

    // Only the first fixes are made by --fix.
    if (pick !== undefined) return;
    test("makes the demo run, by iova doctor --fix, and iova restore takes it back", async () => {
      expect(await runNode(cli, "doctor", nvmeBdf(), "--fix")).toMatchObject({ status: 0 });
      await demoRuns(backends);
      expect(await runNode(cli, "restore")).toMatchObject({ status: 0 });
      expect(driverOf(nvmeBdf())).toBe("nvme");
      const after = await reportOf();
      expect(after.usable).toBe(false);
      expect(existsSync("/etc/modules-load.d/iova-vfio-pci.conf")).toBe(false);
    });
  });
}

const USER = "iova-login";

/** A login of an ordinary user, by PAM: it takes the groups and limits that the system's files give. */
const asLogin: Runner = (args) =>
  run("su", [
    "-",
    USER,
    "-c",
    [process.execPath, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" "),
  ]);

/** Tests of doctor's advice to an ordinary user whose memlock limit is small. udev must be there. */
export function ordinaryAdviceSuite(backends: readonly HostBackend[]): void {
  describe("doctor's advice to an ordinary user", () => {
    const shared = new Map<string, Stats>();
    beforeAll(async () => {
      execFileSync("useradd", ["--create-home", USER]);
      writeFileSync("/etc/security/limits.d/10-small.conf", `${USER} - memlock 64\n`);
      execFileSync("/lib/systemd/systemd-udevd", ["--daemon"]);
      await emptyDisk();
      expect(await runNode(cli, "bind", nvmeBdf())).toMatchObject({ status: 0 });
      for (const node of ["/dev/iommu", "/dev/vfio/vfio"].filter((path) => existsSync(path)))
        shared.set(node, statSync(node));
    });
    afterAll(async () => {
      execFileSync("udevadm", ["control", "--exit"]);
      rmSync("/etc/security/limits.d/10-small.conf");
      expect(await runNode(cli, "unbind", nvmeBdf())).toMatchObject({ status: 0 });
      execFileSync("userdel", [USER]);
      // It exists if a node that devices share was closed to the user.
      await run("groupdel", ["iova"]);
      rmSync("/etc/security/limits.d/90-iova.conf");
      for (const name of readdirSync("/etc/udev/rules.d"))
        if (name.includes("iova")) rmSync(join("/etc/udev/rules.d", name));
      for (const [node, { uid, gid, mode }] of shared) {
        chownSync(node, uid, gid);
        chmodSync(node, mode & 0o777);
      }
      await kernelDisk(nvmeBdf());
    });

    test("makes the demo run in the next login, with a memlock limit of 64 KiB before", async () => {
      const before = await reportOf(asLogin);
      expect(before.user).toBe(USER);
      expect(before.checks.find(({ id }) => id === "limits.memlock")).toMatchObject({
        state: "problem",
        found: expect.stringContaining("64 KiB"),
      });
      follow(allAdvised(before));
      execFileSync("udevadm", ["settle"]);
      const after = await reportOf(asLogin);
      expect(after.checks.filter(({ state }) => state === "problem")).toEqual([]);
      expect(after.devices[0]).toMatchObject({ usable: true });
      await demoRuns(backends, asLogin);
    });
  });
}

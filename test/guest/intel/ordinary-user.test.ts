/** Without root: a user of /etc/passwd, without any right of root and with the usual memlock limit, uses a device after `iova permissions`. */
import { execFileSync } from "node:child_process";
import { existsSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { readPciFunction } from "../../../src/doors/pci.js";
import { nvmeBdf } from "../../support/functions.js";
import { guestProgram } from "../../support/guest-programs.js";
import { kernelDisk } from "../../support/kernel-disk.js";
import { type Outcome, run, runNode } from "../../support/run.js";

const cli = join(packageRoot(), "dist", "lib", "cli.js");
const USER = "iova-ordinary";
const MIB = 2 ** 20;
/** What the kernel gives to every process where nobody has set anything else. */
const USUAL_MEMLOCK = 8 * MIB;

/** A program as a login of the user would start it: the user's groups of now, no capabilities, and none to be had. */
function asUser(args: readonly string[], memlockBytes = USUAL_MEMLOCK): Promise<Outcome> {
  const limits = ["prlimit", `--memlock=${memlockBytes}:${memlockBytes}`];
  const nothing = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"];
  const login = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups", ...nothing];
  return run("env", [...limits, ...login, process.execPath, ...args]);
}

async function io(options: object, memlockBytes?: number): Promise<unknown> {
  const { status, stdout, stderr } = await asUser(
    [guestProgram("ordinary-io"), nvmeBdf(), JSON.stringify(options)],
    memlockBytes,
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const { who, what } = JSON.parse(stdout);
  expect(who).toEqual({
    uid: Number(execFileSync("id", ["-u", USER], { encoding: "utf8" })),
    rights: "0".repeat(16),
  });
  return what;
}

async function asRoot(...args: string[]): Promise<void> {
  const { status, stderr } = await runNode(cli, ...args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
}

const groupNode = (): string => `/dev/vfio/${readPciFunction(nvmeBdf()).iommuGroup}`;

beforeAll(() => {
  execFileSync("useradd", ["--system", "--user-group", USER]);
});
afterAll(() => {
  execFileSync("userdel", [USER]);
});
beforeEach(() => asRoot("bind", nvmeBdf()));
afterEach(async () => {
  await asRoot("restore");
  rmSync("/var/lib/iova", { recursive: true, force: true });
  await asRoot("unbind", nvmeBdf());
  await kernelDisk(nvmeBdf());
});

/** What the user is told of a node. */
function closed(node: string): unknown {
  const advice = "EACCES \\(give this user read and write permission on it: sudo npx iova permissions --user";
  return {
    name: "SysError",
    code: "EACCES",
    message: expect.stringMatching(new RegExp(`^open on ${node}: ${advice}`)),
  };
}

const backends = ["iommufd", "type1"] as const;

test("without permissions, an ordinary user gets an error that names the node and iova permissions", async () => {
  expect(await io({ backend: "iommufd" })).toEqual(closed("/dev/iommu"));
  expect(await io({ backend: "type1" })).toEqual(closed(groupNode()));
  expect(await asUser([cli, "doctor", nvmeBdf()])).toMatchObject({
    status: 1,
    stdout: expect.stringContaining(`${nvmeBdf()} can't be used now by ${USER}`),
  });
});

describe.each(["--user", "--group"] as const)("after iova permissions %s", (option) => {
  test.each(backends)("an ordinary user reads and writes through %s", async (backend) => {
    await asRoot("permissions", option, USER, nvmeBdf());
    expect(await io({ backend })).toEqual({ backend, data: "same" });
    await asRoot("permissions", option, USER, "--remove");
    expect(await io({ backend })).toEqual(closed(backend === "iommufd" ? "/dev/iommu" : groupNode()));
  });

  test("doctor and the commands on NVMe controllers work for that user, and nobody else may open the nodes", async () => {
    await asRoot("permissions", option, USER, nvmeBdf());
    expect(await asUser([cli, "doctor", nvmeBdf()])).toMatchObject({
      status: 0,
      stdout: expect.stringContaining(`can be used now by ${USER}, through iommufd, type1`),
    });
    expect(await asUser([cli, "nvme", "identify", nvmeBdf()])).toMatchObject({
      status: 0,
      stdout: expect.stringContaining("deadbeef"),
    });
    expect(statSync(groupNode()).mode & 0o007).toBe(0);
    expect(statSync("/dev/iommu").mode & 0o007).toBe(0);
  });
});

test("an ordinary user who may bind nothing is told that it takes root", async () => {
  expect(await asUser([cli, "unbind", nvmeBdf()])).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("needs root"),
  });
  expect(await asUser([cli, "permissions", "--user", USER, nvmeBdf()])).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("root"),
  });
  expect(existsSync("/var/lib/iova")).toBe(false);
});

test.each(backends)("a memlock limit that is too small for a driver is named, with %s", async (backend) => {
  await asRoot("permissions", "--user", USER, nvmeBdf());
  expect(await io({ backend }, 64 * 1024)).toMatchObject({
    code: "ERR_IOVA_MEMLOCK",
    message: expect.stringContaining("the memlock limit is 65536 bytes"),
  });
});

/** The `iova` command as a process: its version, and options that a command doesn't have. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { stepOf } from "../../../src/cli/host/first-step.js";
import { compileCli } from "../../support/iova-cli.js";
import { run } from "../../support/run.js";

const cli = compileCli();
afterAll(() => cli[Symbol.dispose]());

test("iova --version prints the version of the package", async () => {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8"));
  const { status, stdout, stderr } = await cli.run(["--version"]);
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
});

test("iova without a command prints its help, as iova --help does, and what to do first on this host", async () => {
  const { status, stdout } = await cli.run([]);
  expect(status).toBe(0);
  expect(stdout).toContain("Usage: iova COMMAND");
  const [overview = "", first] = stdout.split("\nFirst on this host: ");
  expect(first).toMatch(/^(?:iova (?:doctor|list|show)\b.*\n)Without a device: iova emulate .*\n$/);
  for (const args of [["help"], ["--help"], ["-h"]]) expect((await cli.run(args)).stdout).toBe(overview);
});

test("what to do first is to use a device that is ready, else to mend what is wrong, else to bind one", () => {
  const check = { id: "a.b", title: "IOMMU", device: undefined, where: "/x", why: "", fixes: [] };
  const report = { kernel: "7", distribution: "D", user: "u", checks: [], devices: [], usable: false };
  const device = { bdf: "0000:01:00.0", usable: false, backends: [] };
  expect(stepOf(report)).toContain("iova list");
  expect(stepOf({ ...report, devices: [device] })).toBe("iova doctor 0000:01:00.0");
  const checks = [
    { ...check, state: "ok", found: "x" },
    { ...check, state: "problem", found: "off\x1b" },
  ] as const;
  const mended = stepOf({ ...report, checks, devices: [device] });
  expect(mended).toContain("iova doctor, which says how to mend");
  expect(mended).toMatch(/IOMMU: off\\x1b$/);
  expect(
    stepOf({ ...report, checks, devices: [device, { ...device, usable: true, backends: ["type1"] }] }),
  ).toBe("iova show 0000:01:00.0. It can be used now, through type1.");
});

test("iova list says so where it can't see any device, as in a namespace without sysfs", async () => {
  const hide = 'mount -t tmpfs none /sys && exec "$@"';
  const namespace = [
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    hide,
    "sh",
    process.execPath,
    cli.path,
    "list",
  ];
  for (const [option, printed] of [
    ["--json", "[]\n"],
    ["--tree", "\n"],
  ] as const) {
    const { status, stdout, stderr } = await run("unshare", [...namespace, option]);
    expect({ status, stdout }).toEqual({ status: 0, stdout: printed });
    expect(stderr).toContain("it has none, or /sys isn't mounted");
  }
});

test.each([
  ["list --svg /dev/full", "--svg: writing /dev/full: ENOSPC"],
  ["list --html /dev/full", "--html: writing /dev/full: ENOSPC"],
  // Its status is 1 already, since no device of this host can be used by a user who may do nothing.
  ["doctor --user 65534 --json > /dev/full", "standard output: ENOSPC"],
])("iova %s on a full disk has status 1, and one line says why", async (words, reason) => {
  const { status, stderr } = await run("sh", ["-c", `"${process.execPath}" "${cli.path}" ${words}`]);
  expect(status).toBe(1);
  expect(stderr).toMatch(new RegExp(`^iova: ${reason}[^\\n]*\\n$`));
});

test.each([
  [["bind", "0000:00:03.0", "--svg"], "Unknown option '--svg'; see iova bind --help"],
  [["list", "--timeout", "5"], "Unknown option '--timeout'; see iova list --help"],
  [["bind", "0000:00:03.0", "--create", "1"], "Unknown option '--create'; see iova bind --help"],
  [["vfs"], "vfs takes one BDF; see iova vfs --help"],
  [["vfs", "0000:00:03.0", "--create", "1"], "Unknown option '--create'; see iova vfs --help"],
  [["sriov", "0000:00:03.0", "two"], '"two": expected a number of virtual functions; see iova sriov --help'],
  [
    ["sriov", "0000:00:03.0", "1", "--driver", "nvme"],
    '--driver "nvme": expected vfio-pci; see iova sriov --help',
  ],
  [["mdev", "--remove"], "mdev --remove needs the UUID; see iova mdev --help"],
  [["mdev", "mtty", "--uuid", "x"], "--uuid is for what --create makes; see iova mdev --help"],
  [["mdev", "mtty"], "mdev takes an operand with --create or --remove only; see iova mdev --help"],
  [["list", "0000:00:03.0"], "list takes no operand, got 0000:00:03.0; see iova list --help"],
  [["toString"], 'unknown command "toString"; see iova help'],
  [["help", "toString"], 'unknown command "toString"; see iova help'],
  [["nvme", "toString", "--help"], 'unknown subcommand "toString" of nvme; see iova nvme --help'],
  [["completion", "tcsh"], "completion takes one of bash, zsh, fish, got tcsh; see iova completion --help"],
])("iova refuses %j", async (args, message) => {
  const { status, stdout, stderr } = await cli.run(args);
  expect({ status, stdout, stderr }).toEqual({ status: 2, stdout: "", stderr: `iova: ${message}\n` });
});

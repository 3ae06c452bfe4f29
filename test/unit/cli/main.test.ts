/** The `iova` command as a process: its version, and options that a command doesn't have. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { compileCli } from "../../support/iova-cli.js";

const cli = compileCli();
afterAll(() => cli[Symbol.dispose]());

test("iova --version prints the version of the package", async () => {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8"));
  const { status, stdout, stderr } = await cli.run(["--version"]);
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
});

test("iova without a command prints its help, as iova --help does", async () => {
  const { status, stdout } = await cli.run([]);
  expect(status).toBe(0);
  expect(stdout).toContain("Usage: iova COMMAND");
  for (const args of [["help"], ["--help"], ["-h"]]) expect((await cli.run(args)).stdout).toBe(stdout);
});

test.each([
  [["bind", "0000:00:03.0", "--json"], "Unknown option '--json'; see iova bind --help"],
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

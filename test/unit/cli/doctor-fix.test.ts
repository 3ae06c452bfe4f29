/** `iova doctor --fix` and `iova restore`: what they print and do, on trees of files, and as processes on this host. */
import { appendFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { painted } from "../../../src/cli/colour.js";
import { type FixOutcome, fixHost } from "../../../src/cli/host/doctor-fix.js";
import type { Line } from "../../../src/cli/host/doctor-lines.js";
import { changeText, restoreAndTell, restoredText } from "../../../src/cli/host/restore.js";
import { applySteps, listChanges, restoreChanges } from "../../../src/doors/host.js";
import { arch, pciFunction } from "../../support/example-hosts.js";
import { type HostTree, hostTree, program } from "../../support/host-tree.js";
import { compileCli, type IovaCli } from "../../support/iova-cli.js";

/** Arch with its IOMMU off, whose programs do what the real ones do to the files that doctor() reads. */
const off = {
  ...arch,
  "/etc/modprobe.d/no-vfio.conf": "",
  "/usr/sbin/modprobe": program("echo 'vfio_pci 1 0 - Live 0x0' >> proc/modules"),
  "/usr/bin/npx": program('ln -sfn ../drivers/vfio-pci "sys/bus/pci/devices/$3/driver"'),
};
const dep = "/lib/modules/7.3.1-arch1-1/modules.dep";
/** The same with its IOMMU on, and all modules. */
const host = {
  ...off,
  "/proc/cmdline": "root=LABEL=arch rw\n",
  "/sys/class/iommu/dmar0/devices/0000:02:00.0": "",
  ...pciFunction("0000:02:00.0", { driver: "nvme", group: "4" }),
  [dep]: `${arch[dep]}kernel/drivers/iommu/iommufd/iommufd.ko.zst:\n`,
};

async function fix(
  tree: HostTree,
  more: { readonly boot?: boolean; readonly isDryRun?: boolean } = {},
): Promise<FixOutcome & { readonly said: string }> {
  const said: string[] = [];
  const say = (lines: readonly Line[]): void => {
    said.push(...lines.map((line) => painted(line, false)));
  };
  const device = { devices: ["0000:02:00.0"], root: tree.root.path };
  const outcome = await fixHost({ device, boot: false, isDryRun: false, say, ...more });
  return { ...outcome, said: said.join("\n") };
}

describe("--fix", () => {
  test("says what it will do, does it, and says how to take it back", async () => {
    using tree = hostTree(host);
    const { said, rounds, report } = await fix(tree);
    expect(said).toContain(
      "Will: load vfio-pci, now and at boot; load iommufd, now and at boot; bind 0000:02:00.0 to vfio-pci",
    );
    expect(said).toContain(
      "    sudo modprobe vfio-pci\n    sudo tee /etc/modules-load.d/iova-vfio-pci.conf <<'EOF'",
    );
    expect(said).toContain("Done, as change 1. It is taken back by: sudo npx iova restore 1");
    expect(rounds[0]?.change).toMatchObject({ id: 1, purpose: "iova doctor --fix", about: ["doctor"] });
    expect(report.checks.find(({ id }) => id === "device.driver")?.state).toBe("ok");
    expect(existsSync(join(tree.root.path, "etc/modules-load.d/iova-vfio-pci.conf"))).toBe(true);
  });

  test("binds nothing while the IOMMU is off, and says what a person has to do first", async () => {
    using tree = hostTree(off);
    const { said } = await fix(tree);
    expect(said).toMatch(/For a person:\n {2}- remove intel_iommu=off from the kernel command line/);
    expect(said).toContain("mend iommu.on, then bind 0000:02:00.0 to vfio-pci");
    expect(said).not.toMatch(/^Will: .*bind/m);
  });

  test("a dry run says the same, and changes nothing", async () => {
    using tree = hostTree(host);
    const { said, rounds } = await fix(tree, { isDryRun: true });
    expect(said).toContain("Would: load vfio-pci, now and at boot");
    expect(said).not.toContain("Done");
    expect(rounds).toMatchObject([{ change: undefined }]);
    expect(listChanges({ root: tree.root.path }).changes).toEqual([]);
    expect(existsSync(join(tree.root.path, "etc/modules-load.d"))).toBe(false);
  });

  test("the boot configuration is named without --yes, and changed with it", async () => {
    const files = {
      ...off,
      "/etc/os-release": "ID=fedora\n",
      "/proc/cmdline": "quiet\n",
      "/proc/config.gz": "",
      "/usr/sbin/grubby": program('echo "$*" >> arguments'),
    };
    using careful = hostTree(files);
    expect((await fix(careful)).said).toContain("Only with --yes, since it changes how the machine starts:");
    expect(existsSync(join(careful.root.path, "arguments"))).toBe(false);
    using bold = hostTree(files);
    await fix(bold, { boot: true });
    expect(existsSync(join(bold.root.path, "arguments"))).toBe(true);
    const { said } = await fix(bold, { boot: true });
    expect(said).toContain("takes effect at the next start of the machine");
  });

  test("a host where nothing helps is told so", async () => {
    using tree = hostTree({ ...host, "/usr/bin/npx": program("exit 0") });
    await fix(tree);
    // Binding reported success and did nothing: it isn't tried again and again.
    expect(listChanges({ root: tree.root.path }).changes).toHaveLength(1);
  });
});

test("changes and what became of them are printed in words", async () => {
  using tree = hostTree(host);
  const root = tree.root.path;
  await fix(tree);
  const [change] = listChanges({ root }).changes;
  if (change === undefined) throw new Error("no change");
  expect(changeText(change)).toMatch(
    /^1 {2}\d{4}-.*Z {2}applied: iova doctor --fix\n {5}modprobe vfio-pci\n/,
  );
  const [planned] = await restoreChanges({ root, dryRun: true });
  if (planned === undefined) throw new Error("no plan");
  expect(restoredText(planned, true)).toContain("would be taken back:\n  npx iova unbind 0000:02:00.0");
  const left = [{ step: "a", reason: "b" }];
  expect(restoredText({ ...planned, left }, false)).toBe(
    "change 1 (iova doctor --fix) is taken back in part, and stays in the list",
  );
  expect(restoredText(planned, false)).toBe("change 1 (iova doctor --fix) is taken back");
});

test("iova restore takes back what it can read of a damaged record, names the rest, and fails", async () => {
  using tree = hostTree(arch);
  const { path: root } = tree.root;
  await applySteps([{ kind: "file", path: "/etc/iova.conf", content: "a\n" }], { purpose: "a test", root });
  appendFileSync(join(root, "var/lib/iova/changes"), "nonsense\nmore nonsense\n");
  const said: string[] = [];
  const write = (text: string | Uint8Array): boolean => said.push(String(text)) > 0;
  const spies = [process.stdout, process.stderr].map((stream) =>
    vi.spyOn(stream, "write").mockImplementation(write),
  );
  const status = process.exitCode;
  try {
    for (const whatIsSaid of ["is taken back", "nothing to take back"]) {
      await restoreAndTell({ root }, false);
      expect(process.exitCode).toBe(1);
      expect(said.splice(0).join("")).toMatch(
        new RegExp(`can't be read, and changes may be missing: 5, 6\\. [^]*${whatIsSaid}`),
      );
      process.exitCode = 0;
    }
  } finally {
    for (const spy of spies) spy.mockRestore();
    process.exitCode = status;
  }
  expect(existsSync(join(root, "etc/iova.conf"))).toBe(false);
});

describe("as processes", () => {
  let cli: IovaCli;
  beforeAll(() => {
    cli = compileCli();
  });
  afterAll(() => cli[Symbol.dispose]());

  test("a dry run prints a plan of this host, also as JSON", async () => {
    const { stdout, stderr } = await cli.run(["doctor", "--fix", "--dry-run", "--json"]);
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toMatchObject({
      rounds: [{ plan: { steps: expect.any(Array) } }],
      report: {},
    });
    expect((await cli.run(["doctor", "--fix", "--dry-run"])).stdout).toMatch(/^(?:Would: |There is nothing)/);
  });

  test("wrong usage has status 2, and a change that doesn't exist status 1", async () => {
    expect(await cli.run(["doctor", "--yes"])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("--fix"),
    });
    expect(await cli.run(["doctor", "--dry-run"])).toMatchObject({ status: 2 });
    expect(await cli.run(["restore", "first"])).toMatchObject({ status: 2 });
    expect(await cli.run(["restore", "--list", "1"])).toMatchObject({ status: 2 });
    expect(await cli.run(["restore", "999999999"])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("there is no change 999999999"),
    });
    expect(await cli.run(["restore", "--list"])).toMatchObject({ status: 0, stdout: expect.any(String) });
  });
});

/** planFixes(): which fixes a program does by itself, on hosts of several kinds; applied and taken back on their trees. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  applySteps,
  type CheckResult,
  doctor,
  type Fix,
  type FixPlan,
  type FixPlanOptions,
  planFixes,
  restoreChanges,
} from "../../../src/doors/host.js";
import { ArgumentError } from "../../../src/index.js";
import { alpine, arch, container, debian, fedora, pciFunction } from "../../support/example-hosts.js";
import { type HostTree, hostTree, program, type TreeFiles } from "../../support/host-tree.js";

function plan(tree: HostTree, device: string, options: FixPlanOptions = {}): FixPlan {
  const root = tree.root.path;
  return planFixes(doctor({ devices: [device], root }), { ...options, root });
}

/** Steps as words. */
function words({ steps }: FixPlan): string[] {
  return steps.map((step) => (step.kind === "file" ? step.path : step.argv.join(" ")));
}

function ids(planned: FixPlan["fixes"]): string[] {
  return planned.map(({ check }) => check);
}

/** A program of a tree that notes how it was called. */
function noted(name: string): TreeFiles {
  return { [`/usr/sbin/${name}`]: program(`echo ${name} $* >> calls`) };
}

const grub: TreeFiles = {
  ...arch,
  ...noted("modprobe"),
  ...noted("npx"),
  ...noted("update-grub"),
  "/usr/bin/sed": program('/bin/sed "$1" "$2" "./$3"'),
  "/etc/os-release": "ID=debian\n",
  "/etc/default/grub": 'GRUB_CMDLINE_LINUX="quiet"\n',
  "/etc/modprobe.d/no-vfio.conf": "",
  "/proc/cmdline": "quiet\n",
  "/proc/config.gz": "",
};

test("loading a module is planned; the boot configuration only if it is asked for", () => {
  using tree = hostTree(grub);
  const careful = plan(tree, "0000:02:00.0");
  expect(words(careful)).toEqual(["modprobe vfio-pci", "/etc/modules-load.d/iova-vfio-pci.conf"]);
  expect(ids(careful.fixes)).toEqual(["modules.vfio-pci", "nodes.container"]);
  // Without an IOMMU, vfio-pci takes no device.
  expect(ids(careful.manual)).toContain("device.driver");
  expect(ids(careful.withheld)).toEqual(["iommu.on"]);
  const whole = plan(tree, "0000:02:00.0", { boot: true });
  expect(words(whole)).toContain("update-grub");
  expect(whole.withheld).toEqual([]);
});

test("what was planned is done, isn't planned again before the restart, and is taken back", async () => {
  using tree = hostTree(grub);
  const root = tree.root.path;
  const { steps } = plan(tree, "0000:02:00.0", { boot: true });
  await applySteps(steps, { root, purpose: "a test" });
  const config = (): string => readFileSync(join(root, "etc/default/grub"), "utf8");
  expect(config()).toBe('GRUB_CMDLINE_LINUX="intel_iommu=on quiet"\n');
  const again = plan(tree, "0000:02:00.0", { boot: true });
  expect(ids(again.pending)).toEqual(["iommu.on"]);
  expect(words(again)).not.toContain("update-grub");
  await restoreChanges({ root });
  expect(config()).toBe('GRUB_CMDLINE_LINUX="quiet"\n');
  expect(existsSync(join(root, "etc/modules-load.d"))).toBe(false);
  expect(readFileSync(join(root, "calls"), "utf8").trim().split("\n")).toEqual([
    "update-grub",
    "modprobe vfio-pci",
    "modprobe -r vfio-pci",
    "update-grub",
  ]);
  expect(ids(plan(tree, "0000:02:00.0", { boot: true }).pending)).toEqual([]);
});

test("texts for a person stay texts, and what comes after one waits for it", () => {
  using inContainer = hostTree(container);
  const contained = plan(inContainer, "0000:00:03.0");
  expect(contained.steps).toEqual([]);
  expect(ids(contained.manual)).toContain("limits.memlock");
  using nixos = hostTree({ ...grub, "/etc/os-release": "ID=nixos\n" });
  const declared = plan(nixos, "0000:02:00.0", { boot: true });
  expect(ids(declared.manual)).toContain("iommu.on");
  expect(words(declared).join()).not.toContain("nixos-rebuild");
  using openrc = hostTree(alpine);
  const partly = plan(openrc, "0000:00:04.0");
  expect(words(partly)).toContain("modprobe vfio-pci");
  expect(ids(partly.manual)).toContain("modules.vfio-pci");
});

test("a step that several checks ask for is planned once, and every member of a group is bound", () => {
  using tree = hostTree(fedora);
  const steps = words(plan(tree, "0000:01:00.0"));
  expect(steps.filter((step) => step === "gpasswd --add alice iova")).toHaveLength(1);
  expect(steps[0]).toBe("groupadd --system iova");
  writeFileSync(join(tree.root.path, "etc/group"), "iova:x:999:alice\n");
  expect(words(plan(tree, "0000:01:00.0")).slice(0, 2)).toEqual([
    "/etc/udev/rules.d/91-iova-shared.rules",
    "udevadm control --reload",
  ]);
  using grouped = hostTree({
    ...debian,
    ...pciFunction("0000:00:03.1", { driver: "e1000e", group: "3" }),
    ...pciFunction("0000:00:03.2", { driver: "nvme", group: "3" }),
  });
  expect(words(plan(grouped, "0000:00:03.0"))).toEqual([
    "npx iova bind 0000:00:03.1",
    "npx iova bind 0000:00:03.2",
  ]);
});

test("what brings something up to date follows each change that it reads", () => {
  const refresh = { kind: "command", argv: ["udevadm", "trigger"], undo: ["udevadm", "trigger"] } as const;
  const rule = (path: string) => ({ kind: "file", path, content: "" }) as const;
  const fix = (path: string): Fix => ({ summary: path, steps: [rule(path), refresh], effect: "now" });
  const about = (id: string, path: string): CheckResult => ({
    ...{ id, title: id, state: "problem", found: "", where: "", why: "", device: undefined },
    fixes: [fix(path)],
  });
  using tree = hostTree(debian);
  const report = doctor({ root: tree.root.path, devices: ["0000:00:03.0"] });
  const checks = [about("one", "/etc/one"), about("two", "/etc/two"), about("again", "/etc/one")];
  expect(words(planFixes({ ...report, checks }, { root: tree.root.path }))).toEqual([
    "/etc/one",
    "udevadm trigger",
    "/etc/two",
    "udevadm trigger",
  ]);
});

test("warnings, and a host without problems, need nothing", () => {
  using tree = hostTree(debian);
  expect(plan(tree, "0000:00:03.0")).toMatchObject({ steps: [], fixes: [], withheld: [], pending: [] });
});

test("wrong arguments are ArgumentErrors", () => {
  using tree = hostTree(debian);
  expect(() => plan(tree, "0000:00:03.0", JSON.parse('{"boot": 1}'))).toThrow(ArgumentError);
  expect(() => planFixes(doctor({ root: tree.root.path }), { root: "relative" })).toThrow(ArgumentError);
});

test("what is no report of doctor() is an ArgumentError, which names the part", () => {
  const check = {
    id: "a",
    state: "problem",
    fixes: [{ effect: "now", steps: [{ kind: "command", argv: [] }] }],
  };
  for (const [report, part] of [
    [undefined, "report must be an object"],
    [{}, "report.checks must be an array"],
    [{ checks: [null] }, "report.checks[0] must be a check"],
    [{ checks: [{ ...check, fixes: undefined }] }, "report.checks[0].fixes must be an array"],
    [{ checks: [{ ...check, fixes: [1] }] }, "report.checks[0].fixes[0] must be a fix"],
    [
      { checks: [{ ...check, fixes: [{ effect: "now" }] }] },
      "report.checks[0].fixes[0].steps must be an array",
    ],
    [{ checks: [{ ...check, fixes: [{ effect: "now", steps: [{}] }] }] }, "steps[0] must be a step"],
    [{ checks: [{ ...check, fixes: [{ effect: "now", steps: [{ kind: "command" }] }] }] }, "steps[0].argv"],
    [
      { checks: [{ ...check, fixes: [{ effect: "now", steps: [{ kind: "file", path: "/a" }] }] }] },
      "with a file",
    ],
  ] as const) {
    // @ts-expect-error what JavaScript may pass
    const make = () => planFixes(report);
    expect(make).toThrow(ArgumentError);
    expect(make).toThrow(part);
  }
});

/** Bindings that last, on trees of files: what they write with driverctl and with udev, how it is taken back, and the script itself. */
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { plannedText } from "../../../src/cli/host/planned.js";
import {
  bindPersistently,
  endPersistentBinding,
  listPersistentBindings,
  planPersistentBinding,
  restoreChanges,
} from "../../../src/doors/host.js";
import { ArgumentError, UnsupportedError } from "../../../src/index.js";
import { pciFunction } from "../../support/example-hosts.js";
import { type HostTree, hostTree, program, snapshot, type TreeFiles } from "../../support/host-tree.js";

const first = "0000:01:00.0";
const second = "0000:02:00.0";
const bridge = "0000:00:01.0";

const files: TreeFiles = {
  ...pciFunction(first, { driver: "nvme" }),
  ...pciFunction(second, { driver: "nvme" }),
  ...pciFunction(bridge, { driver: "pcieport", classCode: "0x060400" }),
  "/etc/udev/rules.d/": "",
  "/run/udev/control": "",
  "/usr/bin/udevadm": program('echo "udevadm $*" >> calls'),
  "/usr/bin/npx": program(
    'echo "$*" >> calls; d=$5; [ "$d" ] || d=vfio-pci; [ "$2" = bind ] || d=nvme; ln -sfn ../drivers/$d "sys/bus/pci/devices/$3/driver"',
  ),
};

function text(tree: HostTree, path: string): string {
  return readFileSync(join(tree.root.path, path), "utf8");
}

const script = "/etc/iova/bind-0000-01-00.0.sh";
const rules = "/etc/udev/rules.d/70-iova-bind-0000-01-00.0.rules";

test("with udev, a rule and a script bind this model at this address, and everything is taken back", async () => {
  using tree = hostTree(files);
  const root = tree.root.path;
  const before = snapshot(tree);
  const changes = await bindPersistently({ devices: [first, second], root });
  expect(changes).toMatchObject([
    { id: 1, purpose: `${first} bound to vfio-pci at each start`, about: ["bind", first] },
    { id: 2, about: ["bind", second] },
  ]);
  const match = `ACTION=="add", SUBSYSTEM=="pci", KERNEL=="${first}", ATTR{vendor}=="0x1b36", ATTR{device}=="0x0010"`;
  expect(text(tree, rules)).toBe(
    `${match}, TEST!="driver", ATTR{driver_override}="vfio-pci"\n${match}, RUN+="/bin/sh ${script}"\n`,
  );
  execFileSync("sh", ["-n", join(root, script)]);
  expect(text(tree, "/calls").split("\n")).toEqual([
    `iova bind ${first}`,
    "udevadm control --reload",
    `iova bind ${second}`,
    "udevadm control --reload",
    "",
  ]);
  expect(await bindPersistently({ devices: [first, second], root })).toEqual([]);
  expect(listPersistentBindings({ root }).map(({ about }) => about[1])).toEqual([first, second]);

  const ended = await endPersistentBinding({ devices: [second], root });
  expect(ended).toMatchObject([{ change: { id: 2, state: "restored" }, left: [] }]);
  expect(await restoreChanges({ root })).toMatchObject([{ change: { id: 1 }, left: [] }]);
  expect(text(tree, "/calls")).toMatch(/iova unbind 0000:01:00.0\nudevadm control --reload\n$/);
  expect(snapshot(tree)).toEqual(before);
  await expect(endPersistentBinding({ root })).rejects.toThrow("the record has no persistent binding");
});

test("where driverctl is installed, its file is written, with the driver that was asked for", async () => {
  using tree = hostTree({ ...files, "/usr/sbin/driverctl": program("exit 1") });
  const root = tree.root.path;
  const before = snapshot(tree);
  await bindPersistently({ devices: [first], driver: "mlx5_vfio_pci", root });
  expect(text(tree, `/etc/driverctl.d/pci-${first}`)).toBe("mlx5_vfio_pci\n");
  expect(text(tree, "/calls")).toBe(`iova bind ${first} --driver mlx5_vfio_pci\n`);
  await endPersistentBinding({ root });
  expect(snapshot(tree)).toEqual(before);
});

test("a function that is bound already gets only the files, and a plan is the same as what is done", async () => {
  using tree = hostTree({ ...files, ...pciFunction(first, { driver: "vfio-pci" }) });
  const root = tree.root.path;
  const [plan] = planPersistentBinding({ devices: [first], root });
  expect(plan).toMatchObject({ bdf: first, driver: "vfio-pci" });
  expect(plan?.steps.map(({ kind }) => kind)).toEqual(["file", "file", "command"]);
  expect(plannedText(plan?.steps ?? [])).toContain(`${script}:\n    # Written by iova bind --persist\n`);
  expect(listPersistentBindings({ root })).toEqual([]);
  await bindPersistently({ devices: [first], root });
  expect(text(tree, "/calls")).toBe("udevadm control --reload\n");
  expect(planPersistentBinding({ devices: [first], root })).toMatchObject([{ steps: [] }]);
  expect(plannedText([])).toBe("everything is so already");
});

test("if one function can't be bound, none is", async () => {
  const npx = program(`[ "$3" = ${second} ] && { echo "it is busy" >&2; exit 1; }; exit 0`);
  using tree = hostTree({ ...files, "/usr/bin/npx": npx });
  const before = snapshot(tree);
  await expect(bindPersistently({ devices: [first, second], root: tree.root.path })).rejects.toThrow(
    `"npx iova bind ${second}" can't be done: npx iova bind ${second} ended with status 1: it is busy`,
  );
  expect(snapshot(tree)).toEqual(before);
  expect(listPersistentBindings({ root: tree.root.path })).toEqual([]);
});

test("refuses what can't be bound or can't last", async () => {
  using tree = hostTree(files);
  const root = tree.root.path;
  const plan = (devices: readonly string[], driver?: string) => () =>
    planPersistentBinding({ devices, driver, root });
  expect(plan([bridge])).toThrow(
    new UnsupportedError(`${bridge} can't be bound to a VFIO driver: it is a PCI bridge`),
  );
  expect(plan(["0000:7f:00.0"])).toThrow(ArgumentError);
  expect(plan([])).toThrow("devices must not be empty");
  expect(plan([first], "a b")).toThrow(ArgumentError);
  await expect(bindPersistently({ devices: [], root })).rejects.toThrow("devices must not be empty");
  await expect(endPersistentBinding({ devices: [first], root })).rejects.toThrow(
    `the record has no persistent binding of ${first}`,
  );
  rmSync(join(root, "usr/bin/udevadm"));
  expect(plan([first])).toThrow(`a script that runs at each start call "npx iova bind ${first}"`);
  expect(plan([first])).toThrow(UnsupportedError);
});

describe("the script that udev runs", () => {
  /** Runs the script of a tree on the tree's files. Returns its exit status. */
  function runIn(tree: HostTree): number {
    const root = tree.root.path;
    const steps = planPersistentBinding({ devices: [first], root }).flatMap((plan) => plan.steps);
    const file = steps.find((step) => step.kind === "file" && step.path === script);
    if (file?.kind !== "file") throw new Error("there is no script");
    const own = file.content
      .replaceAll(/(?<![\w$"}])\/(sys|proc)\//g, `${root}/$1/`)
      .replace("PATH=", `PATH=${root}/usr/bin:`);
    return spawnSync("sh", ["-c", own]).status ?? -1;
  }

  const at = `/sys/bus/pci/devices/${first}`;
  const disk: TreeFiles = {
    ...files,
    [`${at}/driver`]: { link: "../../drivers/nvme" },
    "/sys/bus/pci/drivers/nvme/unbind": "",
    "/sys/bus/pci/drivers_probe": "",
    [`${at}/nvme/nvme0/nvme0n1/dev`]: "259:0\n",
    [`${at}/nvme/nvme0/nvme0n1/holders/`]: "",
    "/usr/bin/modprobe": program(":"),
    "/proc/1/mountinfo": "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n",
    "/proc/swaps": "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n",
  };

  function probed(tree: HostTree): string {
    return text(tree, "/sys/bus/pci/drivers_probe");
  }

  test("takes the function from the driver that has it, and has it probed", () => {
    using tree = hostTree(disk);
    expect(runIn(tree)).toBe(0);
    expect(probed(tree)).toBe(`${first}\n`);
    expect(text(tree, `${at}/driver_override`)).toBe("vfio-pci\n");
    expect(text(tree, "/sys/bus/pci/drivers/nvme/unbind")).toBe(`${first}\n`);
  });

  test.each<readonly [string, TreeFiles]>([
    ["mounted", { "/proc/1/mountinfo": "1 0 259:0 / / rw - ext4 /dev/nvme0n1 rw\n" }],
    ["swap", { "/proc/swaps": "Filename\n/dev/nvme0n1 partition 1 0 -2\n" }],
    ["part of a volume", { [`${at}/nvme/nvme0/nvme0n1/holders/dm-0`]: "" }],
  ])("leaves a disk alone that is %s", (_, more) => {
    using tree = hostTree({ ...disk, ...more });
    expect(runIn(tree)).toBe(1);
    expect(probed(tree)).toBe("");
    expect(text(tree, `${at}/driver_override`)).toBe("(null)\n");
  });

  test("leaves a disk alone that is mounted through NVMe multipath", () => {
    const subsystem = "/sys/class/nvme-subsystem/nvme-subsys0";
    using tree = hostTree({
      ...disk,
      [`${subsystem}/nvme0`]: { link: `../../../bus/pci/devices/${first}/nvme/nvme0` },
      [`${subsystem}/nvme0n1/dev`]: "259:7\n",
      "/proc/1/mountinfo": "1 0 259:7 / / rw - ext4 /dev/nvme0n1 rw\n",
    });
    expect(runIn(tree)).toBe(1);
    expect(probed(tree)).toBe("");
  });

  test("does nothing if the driver has the function already", () => {
    using tree = hostTree({ ...disk, [`${at}/driver`]: { link: "../../drivers/vfio-pci" } });
    expect(runIn(tree)).toBe(0);
    expect(probed(tree)).toBe("");
  });
});

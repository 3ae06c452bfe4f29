/** Permissions for users and groups, on trees of files with programs that change them as the real ones do. */
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { memlockOf, planText } from "../../../src/cli/host/permissions.js";
import {
  grantPermissions,
  listChanges,
  type PermissionPlan,
  planPermissions,
  restoreChanges,
  revokePermissions,
} from "../../../src/doors/host.js";
import { ArgumentError, ConfigError, StateError } from "../../../src/index.js";
import { fedora, pciFunction } from "../../support/example-hosts.js";
import { type HostTree, hostTree, program, snapshot, type TreeFiles } from "../../support/host-tree.js";

// Only root may give files away, so alice and the groups have the numbers of who runs the tests.
const UID = process.getuid?.() ?? 0;
const GID = process.getgid?.() ?? 0;

const first = "0000:01:00.0";
const second = "0000:02:00.0";

const files: TreeFiles = {
  ...fedora,
  ...pciFunction(second, { driver: "nvme", group: "13" }),
  "/etc/passwd": `alice:x:${UID}:${GID + 1}::/home/alice:/bin/sh\nbob:x:${UID + 1}:${GID + 2}::/:/bin/sh\n"evil:x:7:7::/:/bin/sh\n`,
  "/etc/group": `drivers:x:${GID}:\n`,
  "/etc/security/limits.d/": "",
  "/etc/systemd/system/": "",
  "/dev/vfio/vfio": { mode: 0o666 },
  "/run/udev/control": "",
  "/usr/bin/udevadm": program('echo "udevadm $*" >> calls'),
  "/usr/bin/systemctl": program('echo "systemctl $*" >> calls'),
  "/usr/sbin/groupadd": program(`echo "$2:x:${GID}:" >> etc/group`),
  "/usr/sbin/groupdel": program('sed -i "/^$1:/d" etc/group'),
  "/usr/sbin/usermod": program('sed -i "s/^$3:.*/&,$4/; s/:,/:/" etc/group'),
  "/usr/bin/gpasswd": program('sed -i "/^$3:/s/,*$2//; s/:,/:/" etc/group'),
};

function text(tree: HostTree, path: string): string {
  return readFileSync(join(tree.root.path, path), "utf8");
}

function mode(tree: HostTree, path: string): string {
  return (statSync(join(tree.root.path, path)).mode & 0o777).toString(8);
}

function filesOf({ parts }: PermissionPlan): string[] {
  return parts.flatMap(({ steps }) => steps.flatMap((step) => (step.kind === "file" ? [step.path] : [])));
}

test("a user gets the nodes, the group and the limit, and everything is taken back", async () => {
  using tree = hostTree(files);
  const root = tree.root.path;
  const before = snapshot(tree);
  const changes = await grantPermissions({ user: "alice", devices: [first], root });
  expect(changes.map(({ purpose }) => purpose)).toEqual([
    "shared nodes for the group iova",
    "group and limits of the user alice",
    `${first} for the user alice`,
    "shared nodes for the group iova",
  ]);
  expect(text(tree, "/etc/udev/rules.d/91-iova-device-0000-01-00.0.rules")).toBe(
    'SUBSYSTEM=="vfio-dev", KERNELS=="0000:01:00.0", SUBSYSTEMS=="pci", OWNER="alice", MODE="0660"\n' +
      'SUBSYSTEM=="vfio", TEST=="/sys/kernel/iommu_groups/%k/devices/0000:01:00.0", OWNER="alice", MODE="0660"\n',
  );
  expect(text(tree, "/etc/udev/rules.d/91-iova-shared.rules")).toBe(
    'KERNEL=="iommu", SUBSYSTEM=="misc", GROUP="iova", MODE="0660"\n' +
      'KERNEL=="vfio", SUBSYSTEM=="misc", GROUP="iova", MODE="0666"\n',
  );
  expect(text(tree, "/etc/security/limits.d/91-iova-user-alice.conf")).toBe("alice - memlock 4194304\n");
  expect(text(tree, `/etc/systemd/system/user@${UID}.service.d/91-iova.conf`)).toBe(
    "[Service]\nLimitMEMLOCK=4294967296\n",
  );
  expect(text(tree, "/etc/group")).toContain(`iova:x:${GID}:alice\n`);
  for (const path of ["/dev/iommu", "/dev/vfio/12", "/dev/vfio/devices/vfio0"])
    expect(mode(tree, path)).toBe("660");
  expect(mode(tree, "/dev/vfio/vfio")).toBe("666");
  expect(text(tree, "/calls")).toContain("udevadm control --reload\n");
  expect(await grantPermissions({ user: "alice", devices: [first], root })).toMatchObject([]);

  const restored = await revokePermissions({ user: "alice", root });
  expect(restored.flatMap(({ left }) => left)).toEqual([]);
  expect(snapshot(tree)).toEqual(before);
  await expect(revokePermissions({ user: "alice", root })).rejects.toThrow("no permissions of alice");
});

test("the shared nodes, the group and the limit stay until the last device is taken back", async () => {
  using tree = hostTree(files);
  const root = tree.root.path;
  const before = snapshot(tree);
  await grantPermissions({ user: "alice", devices: [first], root });
  await grantPermissions({ user: "bob", devices: [second], root });
  await revokePermissions({ user: "alice", devices: [first], root });
  expect(existsSync(join(root, "etc/security/limits.d/91-iova-user-alice.conf"))).toBe(false);
  expect(text(tree, "/etc/udev/rules.d/91-iova-shared.rules")).toContain('GROUP="iova"');
  expect(text(tree, "/etc/group")).toContain(`iova:x:${GID}:bob\n`);
  await expect(revokePermissions({ user: "bob", devices: [first], root })).rejects.toThrow(ArgumentError);
  await revokePermissions({ user: "bob", devices: [second], root });
  expect(snapshot(tree)).toEqual(before);
});

test("a group gets all nodes, and then another group can't have /dev/iommu", async () => {
  using tree = hostTree(files);
  const root = tree.root.path;
  await grantPermissions({
    group: "drivers",
    devices: [first],
    memlockBytes: Number.POSITIVE_INFINITY,
    root,
  });
  expect(text(tree, "/etc/udev/rules.d/91-iova-shared.rules")).toContain('GROUP="drivers"');
  expect(text(tree, "/etc/udev/rules.d/91-iova-device-0000-01-00.0.rules")).toContain('GROUP="drivers"');
  expect(text(tree, "/etc/security/limits.d/91-iova-group-drivers.conf")).toBe(
    "@drivers - memlock unlimited\n",
  );
  expect(existsSync(join(root, "etc/systemd"))).toBe(true);
  expect(() => planPermissions({ user: "alice", devices: [second], root })).toThrow(StateError);
  await restoreChanges({ root });
  expect(() => planPermissions({ user: "alice", devices: [second], root })).not.toThrow();
});

test("an error in the last part takes the parts before it back", async () => {
  using tree = hostTree({
    ...files,
    "/etc/udev/rules.d/91-iova-device-0000-01-00.0.rules": { link: "/nowhere" },
  });
  const root = tree.root.path;
  await expect(grantPermissions({ user: "alice", devices: [first], root })).rejects.toThrow("symbolic link");
  expect(text(tree, "/etc/group")).not.toContain("iova");
  expect(existsSync(join(root, "etc/udev/rules.d/91-iova-shared.rules"))).toBe(false);
  expect(listChanges({ root }).changes.every(({ state }) => state === "restored")).toBe(true);
});

test("a plan says what it would write, and what else to know", () => {
  using tree = hostTree({ ...files, ...pciFunction("0000:02:00.1", { driver: "nvme", group: "13" }) });
  const root = tree.root.path;
  const plan = planPermissions({ user: "alice", devices: [second], root });
  expect(filesOf(plan)).toContain("/etc/udev/rules.d/91-iova-device-0000-02-00.0.rules");
  expect(plan.notes).toEqual([
    "alice is in the group iova from the next login on.",
    "The memlock limit takes effect at the next login.",
    `${second} gets its nodes when it is bound: iova bind ${second}.`,
    `${second} shares its IOMMU group, and so the group's node, with 0000:02:00.1.`,
  ]);
  const shown = planText(plan);
  expect(shown).toContain('91-iova-shared.rules:\n    KERNEL=="iommu"');
  expect(shown).toContain("usermod --append --groups iova alice");
  expect(snapshot(tree)).not.toHaveProperty("etc/udev");
  expect(planText({ parts: [], notes: [] })).toBe("everything is so already");
});

test("a host without udev and PAM is told what that means", () => {
  using tree = hostTree({ "/etc/passwd": "alice:x:5:5::/:/bin/sh\n", ...pciFunction(first, { group: "1" }) });
  const { notes, parts } = planPermissions({ user: "alice", devices: [first], root: tree.root.path });
  expect(notes.some((note) => note.startsWith("udev doesn't run"))).toBe(true);
  expect(notes.some((note) => note.startsWith("There is no /etc/security"))).toBe(true);
  const commands = parts.flatMap(({ steps }) => steps.filter(({ kind }) => kind === "command"));
  expect(commands).toHaveLength(2);
});

test("names that could mean something else in a rule, and unknown ones, are ArgumentErrors", () => {
  using tree = hostTree(files);
  const root = tree.root.path;
  const names = [
    '"evil',
    'a", RUN+="/bin/sh',
    "a\nb",
    "$name",
    "a b",
    "@a",
    "*",
    "",
    "-a",
    "nobody-of-this-name",
    String(UID),
  ];
  for (const name of names) {
    expect(() => planPermissions({ user: name, devices: [first], root })).toThrow(ArgumentError);
    expect(() => planPermissions({ group: name, devices: [first], root })).toThrow(ArgumentError);
  }
  const both = { user: "alice", group: "drivers", devices: [first], root };
  expect(() => planPermissions(both)).toThrow("either user or group");
  expect(() => planPermissions({ devices: [first], root })).toThrow("either user or group");
  expect(() => planPermissions({ user: "alice", devices: [], root })).toThrow(ArgumentError);
  expect(() => planPermissions({ user: "alice", devices: ["0000:09:00.0"], root })).toThrow(ArgumentError);
  expect(() => planPermissions({ user: "alice", devices: [first], memlockBytes: 1.5, root })).toThrow(
    ArgumentError,
  );
});

test("a rule that somebody has edited stays when permissions are taken back", async () => {
  using tree = hostTree(files);
  const root = tree.root.path;
  await grantPermissions({ user: "alice", devices: [first], root });
  const path = join(root, "etc/udev/rules.d/91-iova-device-0000-01-00.0.rules");
  writeFileSync(path, "# mine\n");
  const restored = await revokePermissions({ user: "alice", root });
  expect(restored.flatMap(({ left }) => left)).toHaveLength(1);
  expect(readFileSync(path, "utf8")).toBe("# mine\n");
});

test("sizes of --memlock have a unit", () => {
  expect(memlockOf("512M")).toBe(512 * 2 ** 20);
  expect(memlockOf("unlimited")).toBe(Number.POSITIVE_INFINITY);
  expect(memlockOf(undefined)).toBeUndefined();
  for (const wrong of ["512", "0G", "1.5G", "G", "4g "]) expect(() => memlockOf(wrong)).toThrow(ConfigError);
});

/** Permissions for users and groups, on trees of files with programs that change them as the real ones do. */
import { execFileSync } from "node:child_process";
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

/** How rules give nodes to them. */
const OWNER = UID > 999 ? `RUN+="/bin/chown ${UID} $devnode"` : 'OWNER="alice"';
const groupRule = (name: string): string =>
  GID > 999 ? `RUN+="/bin/chown :${GID} $devnode"` : `GROUP="${name}"`;

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
  "/usr/bin/gpasswd": program(
    'case $1 in --add) sed -i "s/^$3:.*/&,$2/; s/:,/:/" etc/group ;; *) sed -i "/^$3:/s/,*$2//; s/:,/:/" etc/group ;; esac',
  ),
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
    'ACTION!="remove", SUBSYSTEM=="vfio-dev", KERNELS=="0000:01:00.0", SUBSYSTEMS=="pci", MODE="0660", ' +
      `${OWNER}\n` +
      'ACTION!="remove", SUBSYSTEM=="vfio", TEST=="/sys/kernel/iommu_groups/%k/devices/0000:01:00.0", MODE="0660", ' +
      `${OWNER}\n`,
  );
  expect(text(tree, "/etc/udev/rules.d/91-iova-shared.rules")).toBe(
    'ACTION!="remove", KERNEL=="iommu", SUBSYSTEM=="misc", MODE="0660", ' +
      `${groupRule("iova")}\n` +
      'ACTION!="remove", KERNEL=="vfio", SUBSYSTEM=="misc", MODE="0666", ' +
      `${groupRule("iova")}\n`,
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
  expect(text(tree, "/etc/udev/rules.d/91-iova-shared.rules")).toContain(groupRule("iova"));
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
  const rule = groupRule("drivers");
  expect(text(tree, "/etc/udev/rules.d/91-iova-shared.rules")).toContain(rule);
  expect(text(tree, "/etc/udev/rules.d/91-iova-device-0000-01-00.0.rules")).toContain(rule);
  expect(text(tree, "/etc/security/limits.d/91-iova-group-drivers.conf")).toBe(
    "@drivers - memlock unlimited\n",
  );
  expect(existsSync(join(root, "etc/systemd"))).toBe(true);
  expect(() => planPermissions({ user: "alice", devices: [second], root })).toThrow(StateError);
  await restoreChanges({ root });
  expect(() => planPermissions({ user: "alice", devices: [second], root })).not.toThrow();
});

/** Lines of all rules for a user or a group. */
function rulesFor(tree: HostTree, whom: { readonly user: string } | { readonly group: string }): string[] {
  const { parts } = planPermissions({ ...whom, devices: [first], root: tree.root.path });
  const steps = parts.flatMap((part) => part.steps);
  return steps
    .flatMap((step) => (step.kind === "file" ? step.content.split("\n") : []))
    .filter((line) => line.includes("=="));
}

test("rules name users and groups of the system only, because udev of systemd 258 ignores the others", () => {
  using tree = hostTree({
    ...files,
    "/etc/passwd": "daemon:x:999:1::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nnobody:x:65534:1::/:/bin/sh\n",
    "/etc/group": "storage:x:999:\nstaff:x:1000:\n",
  });
  const ends = (whom: Parameters<typeof rulesFor>[1]): string[] => [
    ...new Set(rulesFor(tree, whom).map((line) => line.replace(/.*MODE="\d+", /, ""))),
  ];
  expect(ends({ user: "daemon" })).toEqual(['GROUP="iova"', 'OWNER="daemon"']);
  expect(ends({ user: "alice" })).toEqual(['GROUP="iova"', 'RUN+="/bin/chown 1000 $devnode"']);
  expect(ends({ user: "nobody" })).toEqual(['GROUP="iova"', 'RUN+="/bin/chown 65534 $devnode"']);
  expect(ends({ group: "storage" })).toEqual(['GROUP="storage"']);
  expect(ends({ group: "staff" })).toEqual(['RUN+="/bin/chown :1000 $devnode"']);
});

test("a distribution's login.defs says which users and groups are of the system", () => {
  using tree = hostTree({
    ...files,
    "/usr/etc/login.defs": "# SYS_UID_MAX 100\nSYS_UID_MAX\t\t  499\nSYS_GID_MAX 60000\n",
    "/etc/passwd": "daemon:x:500:1::/:/bin/sh\n",
    "/etc/group": "storage:x:999:\nstaff:x:1000:\n",
  });
  expect(rulesFor(tree, { user: "daemon" }).at(-1)).toContain("chown 500 $devnode");
  expect(rulesFor(tree, { group: "storage" }).at(-1)).toContain('GROUP="storage"');
  expect(rulesFor(tree, { group: "staff" }).at(-1)).toContain("chown :1000 $devnode");
});

test("a group iova that isn't of the system gets the shared nodes by its number, also if it is made just then", async () => {
  const gid = GID || 1;
  using tree = hostTree({
    ...files,
    "/etc/login.defs": "SYS_GID_MAX 0\nSYS_UID_MAX 0\n",
    "/usr/sbin/groupadd": program(`echo iova:x:${gid}:alice >> etc/group`),
  });
  const root = tree.root.path;
  await grantPermissions({ user: "alice", devices: [first], root });
  expect(text(tree, "/etc/udev/rules.d/91-iova-shared.rules")).toContain(`chown :${gid} $devnode`);
  expect(statSync(join(root, "dev/iommu")).gid).toBe(gid);
  expect(await grantPermissions({ user: "alice", devices: [first], root })).toMatchObject([]);
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
  expect(shown).toContain('91-iova-shared.rules:\n    ACTION!="remove", KERNEL=="iommu"');
  expect(shown).toContain("gpasswd --add alice iova");
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

test("a name that could mean something else in a file is a number there, and a word of a shell in what is shown", () => {
  const names = [
    "alice@example.com",
    "EXAMPLE\\bob smith",
    'a" RUN+="/bin/sh',
    '"evil',
    "it's",
    "$name%k{x}`id`",
    "a b # - memlock",
    "*",
    "@drivers",
    "../../etc/passwd",
    "Zoë",
  ];
  using tree = hostTree({
    ...files,
    "/etc/passwd": names.map((name, i) => `${name}:x:${70000 + i}:1::/:/bin/sh\n`).join(""),
    "/etc/group": names.map((name, i) => `${name}:x:${80000 + i}:\n`).join(""),
  });
  const root = tree.root.path;
  for (const [i, name] of names.entries()) {
    const user = planPermissions({ user: name, devices: [first], root });
    expect(contentsOf(user)).toEqual({
      "/etc/udev/rules.d/91-iova-shared.rules": expect.any(String),
      "/etc/udev/rules.d/91-iova-device-0000-01-00.0.rules": expect.stringMatching(
        new RegExp(`^(?:.*, RUN\\+="/bin/chown ${70000 + i} \\$devnode"\n){2}$`),
      ),
      [`/etc/security/limits.d/91-iova-user-${70000 + i}.conf`]: `:${70000 + i} - memlock 4194304\n`,
      [`/etc/systemd/system/user@${70000 + i}.service.d/91-iova.conf`]:
        "[Service]\nLimitMEMLOCK=4294967296\n",
    });
    expect(user.parts.flatMap(({ steps }) => steps)).toContainEqual({
      kind: "command",
      argv: ["gpasswd", "--add", name, "iova"],
      undo: ["gpasswd", "--delete", name, "iova"],
    });
    const [, shown = ""] = /^gpasswd --add (.*) iova$/m.exec(planText(user)) ?? [];
    expect(execFileSync("sh", ["-c", `printf %s ${shown}`], { encoding: "utf8" })).toBe(name);
    const group = contentsOf(planPermissions({ group: name, devices: [first], root }));
    const chown = expect.stringMatching(
      new RegExp(`^(?:.*, RUN\\+="/bin/chown :${80000 + i} \\$devnode"\n){2}$`),
    );
    expect(group).toEqual({
      "/etc/udev/rules.d/91-iova-shared.rules": chown,
      "/etc/udev/rules.d/91-iova-device-0000-01-00.0.rules": chown,
      [`/etc/security/limits.d/91-iova-group-${80000 + i}.conf`]: `@:${80000 + i} - memlock 4194304\n`,
    });
  }
});

/** The files of a plan. */
function contentsOf({ parts }: PermissionPlan): Readonly<Record<string, string>> {
  const steps = parts.flatMap((part) => part.steps);
  return Object.fromEntries(
    steps.flatMap((step) => (step.kind === "file" ? [[step.path, step.content]] : [])),
  );
}

test("names that /etc/group can't have, numbers, and unknown names are ArgumentErrors", () => {
  using tree = hostTree({
    ...files,
    "/etc/passwd": `alice:x:${UID}:1::/:/bin/sh\na,b:x:8:1::/:/bin/sh\n-a:x:9:1::/:/bin/sh\n\x1b[31m:x:10:1::/:/bin/sh\n4711:x:11:1::/:/bin/sh\n`,
  });
  const root = tree.root.path;
  const names = [
    "a,b",
    "\x1b[31m",
    "4711",
    "4712",
    "alice\n",
    "alice:x",
    " alice",
    "a\0b",
    'b", RUN+="/bin/sh',
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

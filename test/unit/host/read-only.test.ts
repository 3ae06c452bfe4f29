/** Folders that are mounted read-only, in a mount namespace of their own: each kind of change names the file, and says what to do. */
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { applySteps, type ChangeStep, listChanges, restoreChanges } from "../../../src/doors/host.js";
import { refusalHint } from "../../../src/pci/steps/kernel-steps.js";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { type HostTree, hostTree, program, snapshot, type TreeFiles } from "../../support/host-tree.js";
import { run } from "../../support/run.js";

const files: TreeFiles = {
  "/etc/old.conf": "before\n",
  "/etc/udev/": "",
  "/sys/kernel/attribute": "1\n",
  "/dev/node": { mode: 0o600 },
  "/var/lib/": "",
  "/opt/": "",
  "/usr/bin/touches": program("touch etc/new"),
};

let compiled: CompiledTree;
beforeAll(() => {
  compiled = compileTree("test/support/apply-steps-main.ts");
});
afterAll(() => compiled[Symbol.dispose]());

/** What a process prints that sees one folder of the tree read-only. It restores if there are no steps. */
async function readOnly(tree: HostTree, folder: string, steps?: readonly ChangeStep[]): Promise<string> {
  const { path: root } = tree.root;
  const main = compiled.file("test/support/apply-steps-main.ts");
  const options = steps === undefined ? { root } : { root, purpose: "a test" };
  const mount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"';
  const { stdout, stderr } = await run("unshare", [
    ...["--map-root-user", "--mount", "sh", "-c", mount, "sh", join(root, folder)],
    ...[process.execPath, main, JSON.stringify({ steps, options })],
  ]);
  expect(stderr).toBe("");
  return stdout;
}

const owner: ChangeStep = { kind: "owner", path: "/dev/node", uid: 0, gid: 0, mode: 0o660 };

test.each<readonly [string, ChangeStep, string, string]>([
  ["etc", { kind: "file", path: "/etc/old.conf", content: "x" }, "write /etc/old.conf", "of /etc/old.conf"],
  ["etc", { kind: "file", path: "/etc/a/b.conf", content: "x" }, "write /etc/a/b.conf", "of /etc/a/b.conf"],
  [
    "sys",
    { kind: "attribute", path: "/sys/kernel/attribute", value: "2" },
    "write 2 to /sys/kernel/attribute",
    "of /sys/kernel/attribute",
  ],
  ["dev", owner, "give /dev/node to 0:0, mode 0660", "of /dev/node"],
  ["etc", { kind: "command", argv: ["touches"], undo: undefined }, "touches", "that it writes to"],
])(
  "below a read-only %s, a step of the kind %o fails, and nothing is changed",
  async (folder, step, text, of) => {
    using tree = hostTree(files);
    const before = snapshot(tree);
    const said = await readOnly(tree, folder, [{ kind: "file", path: "/opt/first", content: "x" }, step]);
    expect(said).toContain(`failed: "${text}" can't be done: `);
    expect(said).toContain(
      `ile system ${of} is mounted read-only: mount it for writing (mount -o remount,rw)`,
    );
    expect(said).toContain("in a container, on its host");
    expect(snapshot(tree)).toEqual(before);
    expect(listChanges({ root: tree.root.path }).changes).toMatchObject([{ state: "restored" }]);
  },
);

test("a record that can't be written is named, and nothing is changed", async () => {
  using tree = hostTree(files);
  const before = snapshot(tree);
  const said = await readOnly(tree, "var", [{ kind: "file", path: "/etc/new.conf", content: "x" }]);
  const record = join(tree.root.path, "var/lib/iova/changes");
  expect(said).toContain(`failed: the record of changes ${record} can't be used: EROFS`);
  expect(said).toContain(`The file system of ${record} is mounted read-only`);
  expect(snapshot(tree)).toEqual(before);
});

test("a change that can't be taken back for it stays recorded, and the reason says what to do", async () => {
  using tree = hostTree(files);
  const before = snapshot(tree);
  const { path: root } = tree.root;
  await applySteps([{ kind: "file", path: "/etc/udev/x.rules", content: "x" }], { root, purpose: "a test" });
  const said = await readOnly(tree, "etc");
  expect(said).toContain("The file system of /etc/udev/x.rules is mounted read-only");
  expect(await restoreChanges({ root })).toMatchObject([{ left: [] }]);
  expect(snapshot(tree)).toEqual(before);
});

test("a sysfs that is read-only is told from missing rights", () => {
  expect(refusalHint("EROFS", "binding drivers")).toContain("sysfs is mounted read-only here");
  expect(refusalHint("EACCES", "binding drivers")).toBe("binding drivers needs root");
  expect(refusalHint("EPERM", "binding drivers")).toBe("binding drivers needs root");
  expect(refusalHint("EIO", "binding drivers")).toBeUndefined();
});

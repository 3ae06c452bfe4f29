/** Changes to a host, on trees of real files with real programs: all or none, recorded, and taken back. */
import { chmodSync, existsSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type ApplyOptions,
  applySteps,
  type ChangeStep,
  type CommandStep,
  HostChangeError,
  listChanges,
  restoreChanges,
} from "../../../src/doors/host.js";
import { lineOf, parseLine } from "../../../src/host/changes/entries.js";
import { OpenRecord, parseRecord } from "../../../src/host/changes/record.js";
import { ArgumentError, BusyError } from "../../../src/index.js";
import { type Child, runChild } from "../../support/child.js";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { type HostTree, hostTree, program, snapshot, type TreeFiles } from "../../support/host-tree.js";
import { run } from "../../support/run.js";
import { asUnprivileged } from "../../support/unprivileged.js";

/** A host whose programs note what they were called with. */
const files: TreeFiles = {
  "/etc/old.conf": "before\n",
  "/etc/modules-load.d/": "",
  "/sys/kernel/attribute": "1\n",
  "/dev/node": { mode: 0o600 },
  "/proc/sys/kernel/random/boot_id": "first\n",
  "/usr/sbin/modprobe": program('echo "modprobe $*" >> calls'),
  "/usr/bin/fails": program("echo 'no such thing' >&2; exit 3"),
  "/usr/bin/refresh": program('echo "refresh $(cat etc/old.conf)" >> calls'),
  "/usr/bin/kills": program("kill -KILL $PPID"),
};

const load: CommandStep = {
  kind: "command",
  argv: ["modprobe", "vfio-pci"],
  undo: ["modprobe", "-r", "vfio-pci"],
};
const atBoot: ChangeStep = { kind: "file", path: "/etc/modules-load.d/iova.conf", content: "vfio-pci\n" };
const edited: ChangeStep = { kind: "file", path: "/etc/old.conf", content: "after\n" };
const fails: CommandStep = { kind: "command", argv: ["fails"], undo: undefined };
const kills: CommandStep = { kind: "command", argv: ["kills"], undo: ["modprobe", "-r", "kills"] };
const refresh: CommandStep = { kind: "command", argv: ["refresh"], undo: ["refresh"] };

function read(tree: HostTree, path: string): string {
  return readFileSync(join(tree.root.path, path), "utf8");
}

/** The lines that the programs noted. */
function calls(tree: HostTree): string[] {
  return existsSync(join(tree.root.path, "calls")) ? read(tree, "calls").trim().split("\n") : [];
}

function of(tree: HostTree, more: Partial<ApplyOptions> = {}): ApplyOptions {
  return { purpose: "a test", root: tree.root.path, ...more };
}

function recordPath(tree: HostTree): string {
  return join(tree.root.path, "var/lib/iova/changes");
}

describe("applySteps", () => {
  test("does steps of every kind, and restoreChanges brings back content, permissions, owners and folders", async () => {
    using tree = hostTree(files);
    chmodSync(join(tree.root.path, "etc/old.conf"), 0o640);
    const before = snapshot(tree);
    const steps: readonly ChangeStep[] = [
      load,
      atBoot,
      edited,
      { kind: "file", path: "/etc/systemd/a/b.conf", content: "new\n" },
      { kind: "attribute", path: "/sys/kernel/attribute", value: "512" },
      {
        kind: "owner",
        path: "/dev/node",
        uid: process.getuid?.() ?? 0,
        gid: process.getgid?.() ?? 0,
        mode: 0o660,
      },
    ];
    const change = await applySteps(steps, of(tree, { about: ["x"] }));
    expect(change).toMatchObject({ id: 1, state: "applied", purpose: "a test", about: ["x"] });
    expect(change?.steps).toContain("made /etc/modules-load.d/iova.conf");
    expect(read(tree, "/etc/modules-load.d/iova.conf")).toBe("vfio-pci\n");
    expect(statSync(join(tree.root.path, "etc/modules-load.d/iova.conf")).mode & 0o777).toBe(0o644);
    expect(read(tree, "/etc/old.conf")).toBe("after\n");
    expect(statSync(join(tree.root.path, "etc/old.conf")).mode & 0o777).toBe(0o640);
    expect(read(tree, "/sys/kernel/attribute")).toBe("512\n");
    expect(statSync(join(tree.root.path, "dev/node")).mode & 0o777).toBe(0o660);
    expect(listChanges({ root: tree.root.path })).toMatchObject({ changes: [{ id: 1, state: "applied" }] });

    const [restored] = await restoreChanges({ root: tree.root.path });
    expect(restored).toMatchObject({ change: { id: 1, state: "restored" }, left: [] });
    expect(snapshot(tree)).toEqual(before);
    expect(calls(tree)).toEqual(["modprobe vfio-pci", "modprobe -r vfio-pci"]);
    expect(await restoreChanges({ root: tree.root.path })).toEqual([]);
  });

  test("undoes everything if a step fails, and says what the program said", async () => {
    using tree = hostTree(files);
    const before = snapshot(tree);
    const failed = applySteps([load, edited, atBoot, fails], of(tree));
    await expect(failed).rejects.toThrow(HostChangeError);
    await expect(failed).rejects.toThrow('"fails" can\'t be done: fails ended with status 3: no such thing');
    expect(snapshot(tree)).toEqual(before);
    expect(calls(tree)).toEqual(["modprobe vfio-pci", "modprobe -r vfio-pci"]);
    expect(listChanges({ root: tree.root.path }).changes).toMatchObject([{ state: "restored" }]);
  });

  test("finds what can't be done before it does anything", async () => {
    using tree = hostTree(files);
    symlinkSync("old.conf", join(tree.root.path, "etc/link.conf"));
    const refusals: readonly (readonly [ChangeStep, string])[] = [
      [{ kind: "file", path: "/etc/link.conf", content: "" }, "symbolic link"],
      [{ kind: "file", path: "/etc", content: "" }, "isn't an ordinary file"],
      [{ kind: "attribute", path: "/sys/kernel/none", value: "1" }, "there is no file"],
      [{ kind: "attribute", path: "/etc/link.conf", value: "1" }, "there is no file"],
      [{ kind: "owner", path: "/dev/none", uid: 0, gid: 0, mode: 0o600 }, "there is no node"],
      [{ kind: "owner", path: "/etc/link.conf", uid: 0, gid: 0, mode: 0o600 }, "isn't a device node"],
      [{ kind: "command", argv: ["nowhere"], undo: undefined }, "there is no program nowhere"],
      [{ kind: "command", argv: ["../usr/sbin/modprobe"], undo: undefined }, "there is no program"],
      [{ kind: "command", argv: ["modprobe"], undo: ["nowhere"] }, "there is no program nowhere"],
    ];
    for (const [step, text] of refusals)
      await expect(applySteps([load, step], of(tree))).rejects.toThrow(text);
    expect(calls(tree)).toEqual([]);
    expect(existsSync(recordPath(tree))).toBe(false);
  });

  test("leaves out what is so already, and records nothing if that is all", async () => {
    using tree = hostTree(files);
    expect(await applySteps([{ ...edited, content: "before\n" }], of(tree))).toBeUndefined();
    expect(existsSync(recordPath(tree))).toBe(false);
  });

  test("what brings something up to date is run again after the steps before it are taken back", async () => {
    using tree = hostTree(files);
    await applySteps([edited, refresh], of(tree));
    await restoreChanges({ root: tree.root.path });
    expect(calls(tree)).toEqual(["refresh after", "refresh before"]);
  });

  test("a signal between two steps undoes those before", async () => {
    using tree = hostTree(files);
    const before = snapshot(tree);
    const scope = new AbortController();
    const applied = applySteps([load, edited], of(tree, { signal: scope.signal }));
    scope.abort(new Error("enough"));
    await expect(applied).rejects.toThrow("enough");
    expect(snapshot(tree)).toEqual(before);
    await expect(applySteps([load], of(tree, { signal: scope.signal }))).rejects.toThrow("enough");
  });

  test("the kernel's other answer undoes the change", async () => {
    using tree = hostTree({ ...files, "/sys/kernel/attribute": "1\n" });
    // A blank at the end of what the kernel shows doesn't count, so this value is never found.
    const step: ChangeStep = { kind: "attribute", path: "/sys/kernel/attribute", value: " 7" };
    await expect(applySteps([load, step], of(tree))).rejects.toThrow(
      "/sys/kernel/attribute became 7 in place of  7",
    );
    expect(read(tree, "/sys/kernel/attribute")).toBe("1\n");
  });

  test("wrong arguments are ArgumentErrors", async () => {
    using tree = hostTree(files);
    const wrong: readonly unknown[] = [
      { kind: "manual", text: "by hand" },
      { kind: "file", path: "etc/relative", content: "" },
      { kind: "file", path: "/etc/../shadow", content: "" },
      { kind: "file", path: "/etc/a\0b", content: "" },
      { kind: "file", path: "/etc/a", content: 1 },
      { kind: "file", path: "/etc/a", content: "", mode: 1 },
      { kind: "command", argv: [] },
      { kind: "command", argv: ["a\0"] },
      { kind: "attribute", path: "/sys/a", value: "1\n2" },
      { kind: "owner", path: "/dev/a", uid: -1, gid: 0, mode: 0 },
      { kind: "owner", path: "/dev/a", uid: 0, gid: 0, mode: 0o10000 },
    ];
    for (const step of wrong)
      await expect(applySteps(JSON.parse(JSON.stringify([step])), of(tree))).rejects.toThrow(ArgumentError);
    await expect(applySteps([load], { purpose: "x", root: "relative" })).rejects.toThrow(ArgumentError);
    await expect(restoreChanges({ root: tree.root.path, ids: [1] })).rejects.toThrow("there is no change 1");
    await expect(restoreChanges({ root: tree.root.path, ids: [0] })).rejects.toThrow(ArgumentError);
  });

  test("a program that lacks the rights says so, and nothing is changed", async () => {
    using tree = hostTree(files);
    chmodSync(tree.root.path, 0o755);
    let applied: Promise<unknown> = Promise.resolve();
    asUnprivileged({}, () => {
      applied = applySteps([edited], of(tree));
      applied.catch(() => {});
    });
    await expect(applied).rejects.toThrow(/root/);
    await applySteps([atBoot], of(tree));
    asUnprivileged({}, () => expect(() => listChanges({ root: tree.root.path })).toThrow("needs root"));
    expect(read(tree, "/etc/old.conf")).toBe("before\n");
  });

  test("an own command fails as the library's function does", async () => {
    using tree = hostTree(files);
    const bind: ChangeStep = {
      kind: "command",
      argv: ["npx", "iova", "bind", "ffff:ff:1f.7"],
      undo: ["npx", "iova", "unbind", "ffff:ff:1f.7"],
    };
    const options = { purpose: "a test", record: join(tree.root.path, "record") };
    await expect(applySteps([bind], options)).rejects.toThrow("ffff:ff:1f.7");
  });
});

describe("restoreChanges", () => {
  test("takes changes back the newest first, or those that are asked for", async () => {
    using tree = hostTree(files);
    const { path: root } = tree.root;
    await applySteps([edited], of(tree));
    await applySteps([{ ...edited, content: "later\n" }], of(tree));
    const [blocked] = await restoreChanges({ root, ids: [1] });
    expect(blocked?.left).toEqual([
      {
        step: "changed /etc/old.conf",
        reason: "somebody has changed /etc/old.conf since, so it is left as it is",
      },
    ]);
    expect((await restoreChanges({ root })).map(({ change }) => change.id)).toEqual([2, 1]);
    expect(read(tree, "/etc/old.conf")).toBe("before\n");
    await expect(restoreChanges({ root, ids: [2] })).rejects.toThrow("change 2 is taken back already");
  });

  test("a dry run says what it would do, and does nothing", async () => {
    using tree = hostTree(files);
    const { path: root } = tree.root;
    await applySteps([load, atBoot, edited], of(tree));
    const before = snapshot(tree);
    const [planned] = await restoreChanges({ root, dryRun: true });
    expect(planned?.steps).toEqual([
      "write /etc/old.conf as it was",
      "remove /etc/modules-load.d/iova.conf",
      "modprobe -r vfio-pci",
    ]);
    expect(snapshot(tree)).toEqual(before);
    expect(listChanges({ root }).changes).toMatchObject([{ state: "applied" }]);
  });

  test("a file that somebody has changed or removed is named and left, and the rest is taken back", async () => {
    using tree = hostTree(files);
    const { path: root } = tree.root;
    await applySteps([load, edited, atBoot], of(tree));
    writeFileSync(join(root, "etc/modules-load.d/iova.conf"), "mine\n");
    const [restored] = await restoreChanges({ root });
    expect(restored?.left.map(({ reason }) => reason)).toEqual([
      "somebody has changed /etc/modules-load.d/iova.conf since, so it is left as it is",
    ]);
    expect(read(tree, "/etc/modules-load.d/iova.conf")).toBe("mine\n");
    expect(read(tree, "/etc/old.conf")).toBe("before\n");
    expect(calls(tree).at(-1)).toBe("modprobe -r vfio-pci");

    const [again] = await restoreChanges({ root, leave: true });
    expect(again).toMatchObject({ change: { state: "restored" }, left: [{ step: expect.any(String) }] });
    expect(read(tree, "/etc/modules-load.d/iova.conf")).toBe("mine\n");
    expect(calls(tree).filter((line) => line === "modprobe -r vfio-pci")).toHaveLength(1);
    expect(await restoreChanges({ root })).toEqual([]);
  });

  test("a link in place of the file isn't followed", async () => {
    using tree = hostTree(files);
    const { path: root } = tree.root;
    await applySteps([atBoot], of(tree));
    rmSync(join(root, "etc/modules-load.d/iova.conf"));
    symlinkSync("../old.conf", join(root, "etc/modules-load.d/iova.conf"));
    const [restored] = await restoreChanges({ root });
    expect(restored?.left[0]?.reason).toContain("symbolic link");
    expect(read(tree, "/etc/old.conf")).toBe("before\n");
  });

  test("after a restart of the machine, what lasted until then only counts as taken back", async () => {
    using tree = hostTree(files);
    const { path: root } = tree.root;
    await applySteps([{ kind: "attribute", path: "/sys/kernel/attribute", value: "512" }], of(tree));
    writeFileSync(join(root, "sys/kernel/attribute"), "64\n");
    expect((await restoreChanges({ root, dryRun: true }))[0]?.left[0]?.reason).toContain("is 64");
    writeFileSync(join(root, "proc/sys/kernel/random/boot_id"), "second\n");
    expect(await restoreChanges({ root })).toMatchObject([{ change: { state: "restored" }, left: [] }]);
    expect(read(tree, "/sys/kernel/attribute")).toBe("64\n");
  });

  test("what can't be undone stays recorded until it can", async () => {
    using tree = hostTree(files);
    const { path: root } = tree.root;
    await applySteps([edited, { ...load, undo: ["fails"] }], of(tree));
    expect(await restoreChanges({ root })).toMatchObject([
      { change: { state: "applied" }, left: [{ reason: "fails ended with status 3: no such thing" }] },
    ]);
    writeFileSync(join(root, "usr/bin/fails"), "#!/bin/sh\nexit 0\n");
    expect(await restoreChanges({ root })).toMatchObject([{ change: { state: "restored" }, left: [] }]);
  });
});

describe("as a process", () => {
  let compiled: CompiledTree;
  beforeAll(() => {
    compiled = compileTree("test/support/apply-steps-main.ts");
  });
  afterAll(() => compiled[Symbol.dispose]());
  const main = (): string => compiled.file("test/support/apply-steps-main.ts");
  const apply = (tree: HostTree, steps: readonly ChangeStep[]): Promise<Child> =>
    runChild(main(), JSON.stringify({ steps, options: of(tree) }));

  test("a program that is killed between steps leaves a record, from which everything is taken back", async () => {
    using tree = hostTree(files);
    const { path: root } = tree.root;
    const before = snapshot(tree);
    const child = await apply(tree, [load, edited, atBoot, kills]);
    expect(await child.ended).toBe("SIGKILL");
    expect(read(tree, "/etc/old.conf")).toBe("after\n");
    expect(listChanges({ root }).changes).toMatchObject([{ id: 1, state: "interrupted" }]);
    // Nothing is built on half a change.
    await expect(applySteps([load], of(tree))).rejects.toThrow("iova restore 1");

    expect(await restoreChanges({ root })).toMatchObject([{ change: { state: "restored" }, left: [] }]);
    expect(snapshot(tree)).toEqual(before);
    expect(calls(tree)).toEqual(["modprobe vfio-pci", "modprobe -r kills", "modprobe -r vfio-pci"]);
    expect(await applySteps([load], of(tree))).toMatchObject({ id: 2 });
  });

  test.each([100, 350, 500, 800, 1000])(
    "a record that can't grow beyond %i bytes fails the change, and nothing stays changed",
    async (bytes) => {
      using tree = hostTree(files);
      const { path: root } = tree.root;
      const before = snapshot(tree);
      // The record is the only file that is so long.
      const json = JSON.stringify({ steps: [load, edited, atBoot, refresh], options: of(tree) });
      const { stdout } = await run("prlimit", [`--fsize=${bytes}`, process.execPath, main(), json]);
      expect(stdout).toMatch(/^failed: the record of changes .* can't be used: EFBIG/);
      expect(snapshot(tree)).toEqual(before);
      const again = await restoreChanges({ root });
      expect(again.flatMap(({ left }) => left)).toEqual([]);
      expect(snapshot(tree)).toEqual(before);
      expect(await applySteps([edited], of(tree))).toMatchObject({ state: "applied" });
    },
  );

  test("the second of two programs at once is refused", async () => {
    using tree = hostTree(files);
    const held = OpenRecord.open(join(tree.root.path, "var/lib/iova"));
    const child = await apply(tree, [edited]);
    expect(child.stdout).toContain("failed: another program is changing this host");
    await expect(applySteps([edited], of(tree))).rejects.toThrow(BusyError);
    held[Symbol.dispose]();
    expect(read(tree, "/etc/old.conf")).toBe("before\n");
    expect(await applySteps([edited], of(tree))).toMatchObject({ id: 1 });
  });
});

describe("the record", () => {
  const begin = lineOf({ kind: "begin", change: 1, time: "t", boot: "b", purpose: "p", about: [] });
  const end = lineOf({ kind: "end", change: 1 });

  test("a line that was being written is none, and the next one takes its place", async () => {
    using tree = hostTree(files);
    await applySteps([edited], of(tree));
    const whole = readFileSync(recordPath(tree));
    for (const rest of [
      begin.slice(0, 20),
      `${begin.slice(0, 20)}\n`,
      "\0\0\0\0\n",
      end.replace(/^./, "x"),
    ]) {
      writeFileSync(recordPath(tree), Buffer.concat([whole, Buffer.from(rest)]));
      expect(listChanges({ root: tree.root.path })).toMatchObject({ changes: [{ id: 1 }], damagedLines: [] });
    }
    expect(await applySteps([atBoot], of(tree))).toMatchObject({ id: 2 });
    expect(listChanges({ root: tree.root.path }).changes.map(({ state }) => state)).toEqual([
      "applied",
      "applied",
    ]);
  });

  test("a damaged line in the middle is named; what can be read is taken back, and nothing new is recorded", async () => {
    using tree = hostTree(files);
    const { path: root } = tree.root;
    await applySteps([edited], of(tree));
    await applySteps([atBoot], of(tree));
    const lines = readFileSync(recordPath(tree), "utf8").split("\n");
    lines[0] = (lines[0] ?? "").replace("a test", "a tost");
    writeFileSync(recordPath(tree), lines.join("\n"));
    expect(listChanges({ root })).toMatchObject({
      damagedLines: [1],
      changes: [{ id: 1, purpose: expect.stringContaining("unknown"), state: "applied" }, { id: 2 }],
    });
    await expect(applySteps([load], of(tree))).rejects.toThrow("is damaged at line 1");
    expect(calls(tree)).toEqual([]);
    expect(await restoreChanges({ root })).toHaveLength(2);
    expect(read(tree, "/etc/old.conf")).toBe("before\n");
    expect(existsSync(join(root, "etc/modules-load.d/iova.conf"))).toBe(false);
  });

  test("several damaged lines at the end are named and kept, and what is recorded next is a line of its own", async () => {
    for (const rest of ["nonsense\nmore nonsense\n", "nonsense\nmore nonsense"]) {
      using tree = hostTree(files);
      const { path: root } = tree.root;
      await applySteps([edited], of(tree));
      const whole = readFileSync(recordPath(tree), "utf8");
      writeFileSync(recordPath(tree), whole + rest);
      expect(listChanges({ root }).damagedLines).toEqual([5, 6]);
      await expect(applySteps([load], of(tree))).rejects.toThrow("is damaged at line 5, 6");
      expect(await restoreChanges({ root })).toMatchObject([{ change: { state: "restored" }, left: [] }]);
      expect(read(tree, "/etc/old.conf")).toBe("before\n");
      expect(readFileSync(recordPath(tree), "utf8").startsWith(whole + rest)).toBe(true);
      expect(listChanges({ root })).toMatchObject({
        changes: [{ state: "restored" }],
        damagedLines: [5, 6],
      });
    }
    // Nothing of it can be read.
    using tree = hostTree(files);
    await applySteps([edited], of(tree));
    writeFileSync(recordPath(tree), "nonsense\n".repeat(4));
    expect(listChanges({ root: tree.root.path })).toEqual({ changes: [], damagedLines: [1, 2, 3, 4] });
    await expect(applySteps([load], of(tree))).rejects.toThrow("is damaged at line 1, 2, 3, 4");
  });

  test("lines with a right checksum and a wrong form are damaged", () => {
    const line = (value: unknown): string => lineOf(JSON.parse(JSON.stringify(value))).trimEnd();
    expect(parseLine(line({ kind: "end", change: 1 }))).toEqual({ kind: "end", change: 1 });
    const wrong: readonly unknown[] = [
      null,
      1,
      { kind: "end", change: -1 },
      { kind: "unheard of", change: 1 },
      { kind: "begin", change: 1, time: "t" },
      { kind: "did", change: 1 },
      { kind: "step", change: 1, step: 0, undo: { kind: "file", path: 1 } },
      { kind: "step", change: 1, step: 0, undo: { kind: "command", argv: "rm -rf", undo: null } },
      { kind: "step", change: 1, step: 0, undo: { kind: "owner", path: "/dev/a", before: {}, after: {} } },
    ];
    for (const each of wrong) expect(parseLine(line(each))).toBeUndefined();
    expect(parseLine("0123456789abcdef {}")).toBeUndefined();
    const { damaged, length, entries } = parseRecord(Buffer.from(`${begin}nonsense\n${end}nonsense`));
    expect({ damaged, length, count: entries.length }).toEqual({
      damaged: [2],
      length: begin.length + "nonsense\n".length + end.length,
      count: 2,
    });
  });

  test("a folder that others may write in, a link and a device aren't taken for a record", async () => {
    using tree = hostTree({ ...files, "/open/": "", "/linked/": "", "/folder/changes/": "" });
    const { path: root } = tree.root;
    const at = (name: string) => applySteps([edited], of(tree, { record: join(root, name) }));
    chmodSync(join(root, "open"), 0o777);
    await expect(at("open")).rejects.toThrow("other users may write in");
    symlinkSync("/dev/full", join(root, "linked/changes"));
    await expect(at("linked")).rejects.toThrow(/ELOOP.* symbolic link is in its place.* move it away/);
    await expect(at("folder")).rejects.toThrow("can't be used");
    await expect(at("etc/old.conf")).rejects.toThrow("isn't a folder");
    expect(read(tree, "/etc/old.conf")).toBe("before\n");
  });
});

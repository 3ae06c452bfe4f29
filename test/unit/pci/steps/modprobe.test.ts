/** Loading kernel modules, with programs in the place of modprobe. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { TimeoutError, UnsupportedError } from "../../../../src/core/errors.js";
import { doBeside, doNow, type KernelSteps } from "../../../../src/pci/steps/kernel-steps.js";
import { loadModule } from "../../../../src/pci/steps/modprobe.js";
import { caught } from "../../../support/caught.js";

const folder = mkdtempSync(join(tmpdir(), "iova-modprobe-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function program(name: string, script: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

const load = (name: string, timeoutMs: number, places: readonly string[], signal?: AbortSignal) =>
  loadModule(name, { timeoutMs, signal }, places);

const ways: readonly { readonly way: string; readonly run: (steps: KernelSteps<void>) => Promise<void> }[] = [
  { way: "on this thread", run: async (steps) => doNow(steps) },
  { way: "beside it", run: async (steps) => await doBeside(steps) },
];

describe.each(ways)("loadModule $way", ({ run }) => {
  test("gives the first program that is there the module's name, and no more of the environment than it needs", async () => {
    const out = join(folder, "out");
    const first = program("first", `echo "$@" "$PATH" "$HOME" > ${out}`);
    const never = program("never", `echo never > ${out}`);
    await run(load("vfio-pci", 30_000, [join(folder, "absent"), first, never]));
    expect(readFileSync(out, "utf8")).toBe("-- vfio-pci /usr/sbin:/usr/bin:/sbin:/bin \n");
  });

  test("has what modprobe says in the error", async () => {
    const said = "Module x not found in directory /lib/modules/7";
    const place = program("fails", `echo 'modprobe: FATAL: ${said}' >&2; exit 1`);
    const error = await caught(run(load("x", 30_000, [place])));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error.message).toContain(said);
    const silent = await caught(run(load("x", 30_000, [program("silent", "exit 3")])));
    expect(silent.message).toContain("ended with status 3");
  });

  test("says that a host has no modprobe, and that a program doesn't end", async () => {
    const absent = await caught(run(load("x", 30_000, [join(folder, "absent")])));
    expect(absent.message).toContain("there is no modprobe in");
    const endless = program("endless", "exec sleep 60");
    expect(await caught(run(load("x", 100, [endless])))).toBeInstanceOf(TimeoutError);
  });
});

test("beside the thread it is given up by its signal", async () => {
  const scope = new AbortController();
  const reason = new Error("enough");
  const endless = program("endless-too", "exec sleep 60");
  const loading = caught(doBeside(load("x", 60_000, [endless], scope.signal)));
  scope.abort(reason);
  expect(await loading).toBe(reason);
});

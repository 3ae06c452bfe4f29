/** The lock of a function. */
import { constants, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { BusyError } from "../../../../src/core/errors.js";
import { doBeside, doNow } from "../../../../src/pci/steps/kernel-steps.js";
import { lockFunction } from "../../../../src/pci/steps/lock.js";
import { lockFile, openFile } from "../../../../src/sys/files.js";
import { close } from "../../../../src/sys/syscalls.js";
import { caught } from "../../../support/caught.js";

const folder = mkdtempSync(join(tmpdir(), "iova-lock-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const BDF = "0000:00:03.0";
const taken = (bdf: string, timeoutMs: number, at: string): Disposable =>
  doNow(lockFunction(bdf, { timeoutMs }, at));

test("one has it at a time, and a function has a lock of its own", () => {
  const below = join(folder, "new");
  const first = taken(BDF, 10, below);
  taken("0000:00:04.0", 10, below)[Symbol.dispose]();
  first[Symbol.dispose]();
  taken(BDF, 10, below)[Symbol.dispose]();
});

test("beside the thread one waits for the other, until the time limit or the signal", async () => {
  const first = taken(BDF, 10, folder);
  expect(await caught(doBeside(lockFunction(BDF, { timeoutMs: 30 }, folder)))).toBeInstanceOf(BusyError);
  const reason = new Error("enough");
  const scope = new AbortController();
  const given = caught(doBeside(lockFunction(BDF, { timeoutMs: 60_000, signal: scope.signal }, folder)));
  scope.abort(reason);
  expect(await given).toBe(reason);
  const second = doBeside(lockFunction(BDF, { timeoutMs: 60_000 }, folder));
  first[Symbol.dispose]();
  (await second)[Symbol.dispose]();
});

test("a call that blocks the thread that has the lock is an error at once, not a wait in vain", () => {
  const first = taken(BDF, 10, folder);
  expect(() => taken(BDF, 600_000, folder)).toThrow(BusyError);
  expect(() => taken(BDF, 600_000, folder)).toThrow(`this program is binding or unbinding ${BDF}`);
  first[Symbol.dispose]();
});

test("another program's lock is waited for until the time limit, and the error names it", () => {
  const path = join(folder, `${BDF}.lock`);
  const fd = openFile(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  expect(lockFile(fd)).toBe(true);
  expect(() => taken(BDF, 50, folder)).toThrow(
    `another program has been binding or unbinding ${BDF} for 50 ms (it holds ${path})`,
  );
  close(fd);
  taken(BDF, 10, folder)[Symbol.dispose]();
});

test("where no lock can be made there is none, and a link to another file is not followed", () => {
  taken(BDF, 10, "/proc/none")[Symbol.dispose]();
  const other = join(folder, "other");
  writeFileSync(other, "kept");
  symlinkSync(other, join(folder, "0000:00:05.0.lock"));
  const first = taken("0000:00:05.0", 10, folder);
  taken("0000:00:05.0", 10, folder)[Symbol.dispose]();
  first[Symbol.dispose]();
  expect(readFileSync(other, "utf8")).toBe("kept");
});

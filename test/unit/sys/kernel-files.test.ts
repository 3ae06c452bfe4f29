/** Small files of kernels and configurations. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { HostRoot } from "../../../src/host/facts/root.js";
import {
  fileBytes,
  fileText,
  folderNames,
  kernelLinkName,
  kernelNames,
  kernelRealPath,
  kernelText,
  linkTarget,
  realPath,
} from "../../../src/sys/kernel-files.js";

const folder = mkdtempSync(join(tmpdir(), "iova-small-files-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);
writeFileSync(at("vendor"), "0x1234\n");
symlinkSync("vendor", at("link"));
execFileSync("mkfifo", [at("pipe")]);

test("a small file, a folder and a link are read alike from a host's tree and from the kernel's", () => {
  const root = new HostRoot(folder);
  expect([fileText(at("vendor")), kernelText(at("vendor")), root.text("/vendor")]).toEqual(
    Array(3).fill("0x1234"),
  );
  const names = ["link", "pipe", "vendor"];
  expect([folderNames(folder), kernelNames(folder), root.names("/")]).toEqual([names, names, names]);
  expect([linkTarget(at("link")), kernelLinkName(at("link")), root.linkName("/link")]).toEqual(
    Array(3).fill("vendor"),
  );
  expect([realPath(at("link")), kernelRealPath(at("link"))]).toEqual([at("vendor"), at("vendor")]);
});

test("what isn't there is undefined", () => {
  const missing = at("missing");
  expect([fileBytes, fileText, folderNames, linkTarget, realPath].map((read) => read(missing))).toEqual(
    Array(5).fill(undefined),
  );
});

test("a pipe that nobody writes to is undefined, not awaited", () => {
  expect([fileBytes(at("pipe")), kernelText(at("pipe")), new HostRoot(folder).text("/pipe")]).toEqual(
    Array(3).fill(undefined),
  );
});

test("a file of procfs, whose size is said to be 0, is read", () => {
  expect(kernelText("/proc/self/status")).toMatch(/^Name:/);
});

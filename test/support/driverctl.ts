/** Runs driverctl, and takes it away for tests of hosts that lack it. In guests only, whose programs are a copy. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, renameSync } from "node:fs";
import { afterAll, beforeAll } from "vitest";

const PROGRAM = "/usr/sbin/driverctl";
const ASIDE = `${PROGRAM}.aside`;

/** Runs it to its end. @throws if it fails */
export function driverctl(...args: string[]): void {
  execFileSync(PROGRAM, args);
}

/** Functions with an override, each with the driver that it has now. */
export function overrides(): string[] {
  // Status 1 if there are none.
  const { stdout } = spawnSync(PROGRAM, ["list-overrides"], { encoding: "utf8" });
  return stdout.split("\n").filter(Boolean);
}

/** In a group of tests, this host has no driverctl. */
export function useNoDriverctl(): void {
  const isHere = existsSync(PROGRAM);
  beforeAll(() => {
    if (isHere) renameSync(PROGRAM, ASIDE);
  });
  afterAll(() => {
    if (isHere) renameSync(ASIDE, PROGRAM);
  });
}

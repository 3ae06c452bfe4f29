/** Runs driverctl, and takes it away for tests of hosts that lack it. In guests only, whose programs are a copy. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll } from "vitest";

const PROGRAM = "/usr/sbin/driverctl";
const ASIDE = `${PROGRAM}.aside`;

/** Runs it to its end. @throws if it fails */
export function driverctl(...args: string[]): void {
  execFileSync(PROGRAM, args);
}

/** A function with the driver that it has now, if it has an override. Other tests may leave overrides of others. */
export function overrides(bdf: string): string[] {
  // Status 1 if there are none.
  const { stdout } = spawnSync(PROGRAM, ["list-overrides"], { encoding: "utf8" });
  return stdout.split("\n").filter((line) => line.startsWith(bdf));
}

const MODPROBE = "/sbin/modprobe";

/**
 * driverctl asks modprobe even for drivers that are there. The guest's kernel has all of its own built in, where modprobe succeeds and
 * does nothing; but the programs are this host's, whose modprobe knows another kernel, or isn't installed.
 */
export function useBuiltInModules(): void {
  const aside = `${MODPROBE}.aside`;
  beforeAll(() => {
    if (existsSync(MODPROBE)) renameSync(MODPROBE, aside);
    writeFileSync(MODPROBE, '#!/bin/sh\nfor name; do :; done\n[ -d "/sys/bus/pci/drivers/$name" ]\n', {
      mode: 0o755,
    });
  });
  afterAll(() => {
    rmSync(MODPROBE);
    if (existsSync(aside)) renameSync(aside, MODPROBE);
  });
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

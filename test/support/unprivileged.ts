/** Runs code without capabilities. */
import { execFileSync } from "node:child_process";
import { c } from "../../src/sys/libc.js";
import { NOBODY } from "./become-nobody.js";

/**
 * Runs `action` without capabilities and with a small memlock limit. The capabilities come back with the user id. Only the
 * soft limit changes, because a hard limit can't be raised again.
 */
export function asUnprivileged(limits: { readonly memlockBytes?: number }, action: () => void): void {
  const { seteuid } = process;
  if (seteuid === undefined) throw new Error("this system has no users");
  // nobody might not be allowed to read koffi, which the first call loads.
  c();
  const before = memlock();
  if (limits.memlockBytes !== undefined) setMemlock(String(limits.memlockBytes));
  seteuid(NOBODY);
  try {
    action();
  } finally {
    seteuid(0);
    setMemlock(before);
  }
}

const pid = String(process.pid);

function memlock(): string {
  return execFileSync("prlimit", ["--pid", pid, "--memlock", "--output", "SOFT", "--noheadings"], {
    encoding: "utf8",
  }).trim();
}

function setMemlock(soft: string): void {
  execFileSync("prlimit", ["--pid", pid, `--memlock=${soft}:`]);
}

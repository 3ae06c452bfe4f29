/** Memory and descriptors of this process, from /proc/self. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { PAGE_LINK } from "../../src/activity/layout.js";

interface Range {
  readonly start: number;
  readonly end: number;
}

/** This process's mappings, lowest first. */
export function mappings(): Range[] {
  const lines = readFileSync("/proc/self/maps", "utf8").trimEnd().split("\n");
  return lines.map((line) => {
    const [, start = "", end = ""] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line) ?? [];
    return { start: Number.parseInt(start, 16), end: Number.parseInt(end, 16) };
  });
}

/** Whether something is mapped at every address of [start, end), so that touching it can't fault. */
export function isMapped(start: number, end: number): boolean {
  let reached = start;
  for (const range of mappings()) {
    if (range.start <= reached && reached < range.end) reached = range.end;
  }
  return reached >= end;
}

/** Bytes of physical memory in use (VmRSS). */
export function residentBytes(): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return Number(kib) * 1024;
}

/** Number of open descriptors, without the page of activity, which a thread makes once and keeps. */
export function openDescriptors(): number {
  return readdirSync("/proc/self/fd").filter((fd) => !isActivity(`/proc/self/fd/${fd}`)).length;
}

function isActivity(path: string): boolean {
  try {
    return readlinkSync(path) === PAGE_LINK;
  } catch {
    // The descriptor that listed the folder is closed.
    return false;
  }
}

/** Memory that a process is charged for, in KiB. */
export interface Charges {
  /** Pinned for devices. */
  readonly pinnedKib: number;
  /** Counted against the process's memlock limit. */
  readonly lockedKib: number;
}

export function charges(pid: number): Charges {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]);
  return { pinnedKib: kib("VmPin"), lockedKib: kib("VmLck") };
}

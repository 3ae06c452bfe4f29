/** Counts the kernel objects and memory that this process holds, for tests that must not leave anything behind. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { afterEach, beforeEach, expect } from "vitest";
import { PAGE_LINK } from "../../src/activity/layout.js";

/** The kernel objects and memory that this process holds at one moment. */
export interface Holdings {
  /** Number of open descriptors of any kind but the page of activity, which a thread makes once and keeps. */
  readonly descriptors: number;
  /** Paths of descriptors of VFIO, iommufd and eventfd, sorted. */
  readonly kernelObjects: readonly string[];
  /** Mapped device regions. */
  readonly regions: number;
  /** Memory pinned for devices, as iommufd counts it. */
  readonly pinnedKib: number;
  /** Memory locked for devices, as type1 counts it. */
  readonly lockedKib: number;
}

const KERNEL_OBJECT = /^\/dev\/(iommu|vfio\/.+)$|^anon_inode:\[(vfio-device|eventfd)\]$/;

export function holdings(): Holdings {
  const targets = readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      // The descriptor that listed the folder is closed.
      return [];
    }
  });
  const maps = readFileSync("/proc/self/maps", "utf8").split("\n");
  const status = readFileSync("/proc/self/status", "utf8");
  return {
    descriptors: targets.filter((target) => target !== PAGE_LINK).length,
    kernelObjects: targets.filter((target) => KERNEL_OBJECT.test(target)).sort(),
    regions: maps.filter((line) => line.includes("vfio")).length,
    pinnedKib: kib(status, "VmPin"),
    lockedKib: kib(status, "VmLck"),
  };
}

function kib(status: string, name: string): number {
  const [, value] = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status) ?? [];
  if (value === undefined) throw new Error(`/proc/self/status has no ${name}`);
  return Number(value);
}

/** Every test of the file or describe block must leave the process as it was. */
export function expectNothingLeft(): void {
  let before: Holdings;
  beforeEach(() => {
    before = holdings();
  });
  afterEach(() => {
    expect(holdings()).toEqual(before);
  });
}

/** The kernel's release, such as 6.12.48+deb13-amd64. */
import type { HostRoot } from "./root.js";

/** A kernel's release. */
export interface KernelVersion {
  /** As `uname -r` prints it; empty if it can't be read. */
  readonly release: string;
  /** 6 of 6.12; 0 if unknown. */
  readonly major: number;
  /** 12 of 6.12; 0 if unknown. */
  readonly minor: number;
}

/** Takes a release apart. Never throws. */
export function parseKernelVersion(release: string): KernelVersion {
  const [, major = "0", minor = "0"] = /^(\d{1,9})\.(\d{1,9})/.exec(release) ?? [];
  return { release, major: Number(major), minor: Number(minor) };
}

/** Whether a kernel is at least `major.minor`; undefined if its version is unknown. */
export function isAtLeast(version: KernelVersion, major: number, minor: number): boolean | undefined {
  if (version.major === 0) return undefined;
  return version.major > major || (version.major === major && version.minor >= minor);
}

export function readKernelVersion(root: HostRoot): KernelVersion {
  return parseKernelVersion(root.text("/proc/sys/kernel/osrelease") ?? releaseOf(root.text("/proc/version")));
}

/** `Linux version RELEASE (...)` */
function releaseOf(version: string | undefined): string {
  return /^Linux version (\S+)/.exec(version ?? "")?.[1] ?? "";
}

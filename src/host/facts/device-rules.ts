/** Device rules of control groups, which refuse nodes whatever their permissions are. Those of version 2 are programs that can't be read. */
import { linesOf } from "./lines.js";
import type { HostRoot } from "./root.js";

/** What a control group allows (devices.list of version 1). */
export interface DeviceRule {
  /** `a`: all devices, `b`: block, `c`: character. */
  readonly type: "a" | "b" | "c";
  /** Undefined: all. */
  readonly major: number | undefined;
  readonly minor: number | undefined;
  /** Letters of `rwm`: read, write, make nodes. */
  readonly access: string;
}

/** The rules of this process's control group, and their file. */
export interface DeviceRules {
  readonly path: string;
  readonly rules: readonly DeviceRule[];
}

/** Parses devices.list: `c 10:196 rwm`. Lines of another form are skipped. Never throws. */
export function parseDeviceRules(text: string): DeviceRule[] {
  const number = (digits: string | undefined): number | undefined =>
    digits === "*" ? undefined : Number(digits);
  return linesOf(text).flatMap((line): DeviceRule[] => {
    const [, type, major, minor, access] =
      /^([abc])\s+(\*|\d{1,10}):(\*|\d{1,10})\s+([rwm]{1,3})$/.exec(line.trim()) ?? [];
    if ((type !== "a" && type !== "b" && type !== "c") || access === undefined) return [];
    return [{ type, major: number(major), minor: number(minor), access }];
  });
}

/** Whether rules let a character device be read and written. @param node its number, `10:196` */
export function allows(rules: readonly DeviceRule[], node: string): boolean {
  const [major, minor] = node.split(":").map(Number);
  return rules.some(
    (rule) =>
      rule.type !== "b" &&
      (rule.major === undefined || rule.major === major) &&
      (rule.minor === undefined || rule.minor === minor) &&
      rule.access.includes("r") &&
      rule.access.includes("w"),
  );
}

/** Undefined if there is no control group of version 1 with such rules, or it can't be read. */
export function readDeviceRules(root: HostRoot): DeviceRules | undefined {
  const [, own] =
    /^\d+:(?:[\w=]+,)*devices(?:,[\w=]+)*:(\/.*)$/m.exec(root.text("/proc/self/cgroup") ?? "") ?? [];
  if (own === undefined) return undefined;
  // In a container the group's path may be that of the host, and its own group the mount's root.
  for (const folder of [own, "/"]) {
    const path = `/sys/fs/cgroup/devices${folder === "/" ? "" : folder}/devices.list`;
    const text = root.text(path);
    if (text !== undefined) return { path, rules: parseDeviceRules(text) };
  }
  return undefined;
}

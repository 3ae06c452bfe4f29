/** A kernel's configuration file: `CONFIG_NAME=value` lines, as the kernel's build writes them. */

import { gunzipSync } from "node:zlib";
import { linesOf } from "./lines.js";
import type { HostRoot } from "./root.js";

/** Values by name without `CONFIG_`: `y`, `m`, `n`, a number or a text. */
export type KernelConfig = ReadonlyMap<string, string>;

/** A kernel's configuration, and the file that has it. */
export interface FoundConfig {
  readonly path: string;
  readonly values: KernelConfig;
}

/** A configuration of a kernel that can start has many more. */
const MAX_UNPACKED_BYTES = 32 * 1024 * 1024;

/** Parses a configuration. Lines of another form are skipped. Never throws. */
export function parseKernelConfig(text: string): KernelConfig {
  const values = new Map<string, string>();
  for (const line of linesOf(text)) {
    const [, name, value] = /^CONFIG_(\w+)=(.*)$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) values.set(name, value.replace(/^"(.*)"$/, "$1"));
    const [, off] = /^# CONFIG_(\w+) is not set$/.exec(line) ?? [];
    if (off !== undefined) values.set(off, "n");
  }
  return values;
}

/** Text of a file that may be packed by gzip; undefined if it is damaged. */
export function unpackConfig(bytes: Uint8Array): string | undefined {
  const isPacked = bytes[0] === 0x1f && bytes[1] === 0x8b;
  try {
    const text = isPacked ? gunzipSync(bytes, { maxOutputLength: MAX_UNPACKED_BYTES }) : bytes;
    return Buffer.from(text).toString("utf8");
  } catch {
    return undefined;
  }
}

/** Finds the running kernel's configuration; undefined if no file has it. */
export function readKernelConfig(root: HostRoot, release: string): FoundConfig | undefined {
  const paths = [
    "/proc/config.gz",
    ...[
      `/boot/config-${release}`,
      `/lib/modules/${release}/config`,
      `/usr/lib/modules/${release}/config`,
      `/usr/lib/ostree-boot/config-${release}`,
      `/lib/modules/${release}/build/.config`,
    ].filter(() => isPlain(release)),
  ];
  for (const path of paths) {
    const bytes = root.bytes(path);
    const text = bytes === undefined ? undefined : unpackConfig(bytes);
    const values = parseKernelConfig(text ?? "");
    if (values.size > 0) return { path, values };
  }
  return undefined;
}

/** Whether a release can be part of a path. */
export function isPlain(release: string): boolean {
  return /^[\w.+~-]+$/.test(release) && !/^\.+$/.test(release);
}

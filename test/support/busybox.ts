import { execFileSync } from "node:child_process";

/** The guest brings its own: what the host has installed doesn't matter. */
const BUSYBOX = "/run/iova-guest/busybox";

/** Runs one of its programs. @throws with its complaint where it fails */
export function busybox(...args: string[]): string {
  return execFileSync(BUSYBOX, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

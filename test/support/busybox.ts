/** Runs programs of the guest's BusyBox. */
import { execFileSync } from "node:child_process";

/** The guest's own BusyBox: it doesn't depend on what the host has installed. */
const BUSYBOX = "/run/iova-guest/busybox";

/** Runs one of its programs. @throws Error with the program's message if it fails */
export function busybox(...args: string[]): string {
  return execFileSync(BUSYBOX, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

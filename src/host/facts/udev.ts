/** Whether udev runs, which reads rules and makes nodes. */
import type { HostRoot } from "./root.js";

/** By its socket. In containers and small systems udevadm may be there without udev, and fails then. */
export function runsUdev(root: HostRoot): boolean {
  return root.exists("/run/udev/control");
}

/** Targets that aren't functions of this host's bus by their address alone. */
import { SERVED } from "../lending/address.js";

/** Whether a target names a socket: of a vfio-user server, or of one that lends functions. It has to be opened to be known. */
export function isSocketTarget(target: string): boolean {
  return target.startsWith("vfio-user:") || target.startsWith(SERVED);
}

/** Access rights of devices to mapped memory. */
import { show } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";

/** What a device may do with a mapping. */
export type DmaAccess = "read-write" | "read" | "write";

/** Rejects an unknown value, which must not grant any rights. @throws ArgumentError */
export function checkAccess(access: DmaAccess): DmaAccess {
  if (access !== "read-write" && access !== "read" && access !== "write") {
    throw new ArgumentError(`access must be "read-write", "read" or "write", got ${show(access)}`);
  }
  return access;
}

/** What devices may do together, where each needs only its own. */
export function joinedAccess(one: DmaAccess | undefined, other: DmaAccess): DmaAccess {
  return one === undefined || one === other ? other : "read-write";
}

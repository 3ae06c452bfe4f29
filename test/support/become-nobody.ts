/** Makes the process run as the user nobody. */
import { c } from "../../src/sys/libc.js";

/** The user id of nobody. */
export const NOBODY = 65534;

/**
 * Becomes the user nobody, permanently. A program that starts as root has loaded its modules by then, and koffi with the first
 * call; one that starts as nobody might not be allowed to read them.
 */
export function becomeNobody(): void {
  c();
  if (process.setgroups === undefined || process.setgid === undefined || process.setuid === undefined) {
    throw new Error("this system has no users");
  }
  process.setgroups([]);
  process.setgid(NOBODY);
  process.setuid(NOBODY);
}

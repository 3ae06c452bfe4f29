/** Makes the process run as the user nobody. */

/** The user id of nobody. */
export const NOBODY = 65534;

/**
 * Becomes the user nobody, permanently. A program that starts as root has loaded its modules by then; one that starts as
 * nobody might not be allowed to read them.
 */
export function becomeNobody(): void {
  if (process.setgroups === undefined || process.setgid === undefined || process.setuid === undefined) {
    throw new Error("this system has no users");
  }
  process.setgroups([]);
  process.setgid(NOBODY);
  process.setuid(NOBODY);
}

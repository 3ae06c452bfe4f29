/** The user without any rights. */
const NOBODY = 65534;

/**
 * Gives up all rights, for good. A program that is started as root and becomes nobody has its modules by then, wherever
 * they lie; one that is started as nobody might not be allowed to read them.
 */
export function becomeNobody(): void {
  if (process.setgroups === undefined || process.setgid === undefined || process.setuid === undefined) {
    throw new Error("this system has no users");
  }
  process.setgroups([]);
  process.setgid(NOBODY);
  process.setuid(NOBODY);
}

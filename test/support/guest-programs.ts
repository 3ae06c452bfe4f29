/** Paths of programs that guest tests start. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../../dist/test/guest/fixtures", import.meta.url));

/**
 * Path of a compiled program of test/guest/fixtures/: the guest tests the compiled package, and compiling takes most of a
 * minute in a guest without KVM.
 */
export function guestProgram(name: string): string {
  return join(folder, `${name}.js`);
}

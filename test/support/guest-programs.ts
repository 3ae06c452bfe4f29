import { join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../../dist/test/guest/fixtures", import.meta.url));

/**
 * Path of a program of test/guest/fixtures/, as the build compiled it: the guest suite tests the compiled package anyway, and
 * TypeScript takes most of a minute in a guest without KVM.
 */
export function guestProgram(name: string): string {
  return join(folder, `${name}.js`);
}

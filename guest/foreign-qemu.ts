/** A QEMU newer than the host's, from Debian's packages. */
import { type DebianProgram, ensureDebianProgram } from "./debian-program.js";
import type { Progress } from "./progress.js";

/** Paths of its modules and firmware, which it would otherwise look for where they are installed. */
const FOREIGN_QEMU: DebianProgram = {
  program: "qemu-system-x86_64",
  packageName: "qemu-system-x86",
  // The first that has vfio-user-pci. Stable Debian's doesn't.
  firstVersion: "1:11.0",
  what: "no QEMU with vfio-user-pci (11 or newer)",
  preparation: 'export QEMU_MODULE_DIR="$libraries/qemu"',
  firstArguments: '-L "$here/usr/share/qemu" -L "$here/usr/share/seabios"',
};

/**
 * A QEMU newer than the system's, 45 MB, fetched once into the cache.
 * @returns the program
 * @throws as ensureDebianProgram()
 */
export async function ensureForeignQemu(context: {
  progress: Progress;
  signal?: AbortSignal;
}): Promise<string> {
  return await ensureDebianProgram(FOREIGN_QEMU, context);
}

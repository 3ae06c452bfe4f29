/** Starts emulators from the sources, on sockets in a temporary folder. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type EmulatorRequest, type RunningEmulator, startEmulator } from "../../src/emulator/worker.js";
import { atEnd } from "./at-end.js";
import { type CompiledTree, compileTree } from "./compiled.js";

let tree: CompiledTree | undefined;
const program = "src/emulator/worker-main.ts";

/** A folder for sockets, removed when the test file or the process ends. */
export function socketFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "iova-sockets-"));
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

let count = 0;
let folder: string | undefined;

/** A path for a new socket. */
export function socketPath(): string {
  if (folder === undefined) {
    folder = socketFolder();
    atEnd(() => {
      folder = undefined;
    });
  }
  return join(folder, `${count++}`);
}

/** Compiles what emulate() runs. Otherwise the first emulate() does it. */
export function compileEmulators(): string {
  if (tree === undefined) {
    const compiled = compileTree(program);
    atEnd(() => {
      compiled[Symbol.dispose]();
      tree = undefined;
    });
    tree = compiled;
  }
  return tree.file(program);
}

/** Starts an emulated device, as startEmulator() does, from these sources. */
export async function emulate(
  request: Pick<EmulatorRequest, "device" | "options" | "server"> & {
    readonly socket?: string;
    readonly peers?: readonly string[] | undefined;
  },
): Promise<RunningEmulator> {
  const whole = { socket: socketPath(), ...request } as EmulatorRequest;
  return await startEmulator(whole, pathToFileURL(compileEmulators()));
}

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type EmulatorRequest, type RunningEmulator, startEmulator } from "../../src/emulator/worker.js";
import { type CompiledTree, compileTree } from "./compiled.js";

let tree: CompiledTree | undefined;
const program = "src/emulator/worker-main.ts";

/** A folder for sockets, removed with the process. */
export function socketFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "iova-sockets-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

let count = 0;
let folder: string | undefined;

/** A path for a socket, where nothing is yet. */
export function socketPath(): string {
  folder ??= socketFolder();
  return join(folder, `${count++}`);
}

/** Starts an emulated device, as startEmulator() does, from these sources. */
export async function emulate(
  request: Pick<EmulatorRequest, "device" | "options"> & { readonly socket?: string },
): Promise<RunningEmulator> {
  if (tree === undefined) {
    const compiled = compileTree(program);
    process.once("exit", () => compiled[Symbol.dispose]());
    tree = compiled;
  }
  const whole = { socket: socketPath(), ...request } as EmulatorRequest;
  return await startEmulator(whole, pathToFileURL(tree.file(program)));
}

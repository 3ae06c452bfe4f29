/** Creates small projects beside the installed package. */
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { inject } from "vitest";
import { type Outcome, runWithInput } from "../../support/run.js";

/** Makes a project of these files. It is removed with the installed package when the suite ends. */
export function project(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(inject("installed"), "project-"));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

/** Runs a program in a project. @throws Error with its output if its status isn't 0 */
export async function runIn(folder: string, program: string, ...args: string[]): Promise<string> {
  const outcome: Outcome = await runWithInput("/usr/bin/env", ["-C", folder, program, ...args]);
  if (outcome.status !== 0) {
    const { status, signal, stdout, stderr } = outcome;
    throw new Error(`${program} ${args.join(" ")}: status ${status ?? signal}\n${stdout}\n${stderr}`);
  }
  return outcome.stdout;
}

/** Reads a block of an emulated controller, and checks that errors are errors. Prints "read 512 bytes". */
export const READS_A_BLOCK = `
import { ArgumentError, IovaError, NvmeController } from "iova";
import { startEmulator } from "iova/emulator";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

async function main() {
  const folder = mkdtempSync(join(tmpdir(), "iova-package-"));
  const emulator = await startEmulator({ socket: join(folder, "nvme.sock"), device: "nvme", options: {} });
  const nvme = await NvmeController.open(emulator.address);
  const ns = await nvme.namespace(1);
  const buffer = nvme.dma.alloc(ns.blockSizeBytes);
  await ns.read(0n, buffer);
  const error = await ns.read(-1n, buffer).then(() => undefined, (thrown) => thrown);
  if (!(error instanceof ArgumentError && error instanceof IovaError && error instanceof Error)) {
    throw new Error("not an ArgumentError: " + String(error));
  }
  buffer.close();
  await nvme.close();
  await emulator.close();
  rmSync(folder, { recursive: true });
  console.log("read " + ns.blockSizeBytes + " bytes");
}
main();
`;

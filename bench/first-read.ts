/** How long a driver needs from connecting to an emulated controller to its first completed read. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../guest/paths.js";
import { startEmulator } from "../src/emulator/worker.js";
import { median } from "./rounds.js";

/** Connects twice in a process of its own: the first time, nothing is compiled yet. */
const FIRST_READ = `
const started = performance.now();
const { NvmeController } = await import(process.argv[1]);
const imported = performance.now();
const firstRead = async () => {
  const start = performance.now();
  const nvme = await NvmeController.open(process.argv[2]);
  const opened = performance.now();
  const ns = await nvme.namespace(1);
  const buffer = nvme.dma.alloc(ns.blockSizeBytes);
  await ns.read(0n, buffer);
  const read = performance.now();
  await nvme.close();
  return [opened - start, read - opened];
};
const parts = [started, imported - started, ...(await firstRead()), ...(await firstRead())];
console.log(parts.join(" "));
`;

/** @returns the lines to print */
export async function measureFirstRead(rounds: number): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "iova-bench-"));
  const index = join(packageRoot(), "dist", "lib", "iova.js");
  const parts: number[][] = [];
  try {
    await using emulator = await startEmulator({
      socket: join(folder, "nvme.sock"),
      device: "nvme",
      options: { sizeBytes: 16 << 20 },
    });
    for (let round = 0; round < rounds; round++) {
      const args = ["--input-type=module", "-e", FIRST_READ, index, emulator.address];
      const output = execFileSync(process.execPath, args, { encoding: "utf8" });
      for (const [at, part] of output.trim().split(" ").entries()) {
        parts[at] ??= [];
        parts[at].push(Number(part));
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const [started = [], imported = [], open = [], read = [], openAgain = [], readAgain = []] = parts;
  const sums = (one: readonly number[], other: readonly number[]): number[] =>
    one.map((value, i) => value + (other[i] ?? Number.NaN));
  const show = (list: readonly number[]): string =>
    `median ${median(list).toFixed(1)} ms, best ${Math.min(...list).toFixed(1)} ms`;
  return [
    `connect to first read, ${rounds} times: ${show(sums(open, read))} in a fresh process; ` +
      `${show(sums(openAgain, readAgain))} the second time`,
    `  of the first: open ${show(open)}; namespace and read ${show(read)}`,
    `  not counted: Node ${show(started)}; import ${show(imported)}`,
    "",
  ].join("\n");
}

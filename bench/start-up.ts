/**
 * Measures the time from starting a program to the first completed read of an NVMe controller, in turns with libvfn's identify
 * program and Node's own start (`node -e 0`).
 *
 *   npm run bench -- start-up --identify-binary PATH [--device BDF] [--rounds N]
 */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { packageRoot } from "../guest/paths.js";
import { bindToVfio } from "../src/pci/bind.js";
import { median } from "./rounds.js";

const { values } = parseArgs({
  options: {
    device: { type: "string", default: "0000:00:01.0" },
    "identify-binary": { type: "string" },
    rounds: { type: "string", default: "7" },
  },
});
const { device } = values;
const identify = values["identify-binary"];
const index = join(packageRoot(), "dist", "lib", "iova.js");

/** A minimal program that prints the time of each of its parts and of the whole. */
const FIRST_READ = `
const start = performance.now();
const { NvmeController } = await import(process.argv[1]);
const imported = performance.now();
const nvme = await NvmeController.open(process.argv[2], { completion: "poll" });
const opened = performance.now();
const ns = await nvme.namespace((await nvme.namespaceIds())[0]);
const buffer = nvme.dma.alloc(ns.blockSizeBytes);
await ns.read(0n, buffer);
const read = performance.now();
console.log([start, imported - start, opened - imported, read - opened].join(" "));
process.exit(0);
`;

/** @returns milliseconds, and what it printed */
function time(program: string, args: readonly string[]): { ms: number; output: string } {
  const start = performance.now();
  const output = execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  return { ms: performance.now() - start, output };
}

const times = { node: [] as number[], identify: [] as number[], ours: [] as number[], ratio: [] as number[] };
const parts: number[][] = [[], [], [], []];
using _ = bindToVfio(device);
for (let round = 0; round < Number(values.rounds); round++) {
  const node = time(process.execPath, ["-e", "0"]).ms;
  const ours = time(process.execPath, ["--input-type=module", "-e", FIRST_READ, index, device]);
  times.node.push(node);
  times.ours.push(ours.ms);
  for (const [at, part] of ours.output.trim().split(" ").entries()) parts[at]?.push(Number(part));
  if (identify === undefined || !existsSync(identify)) continue;
  const its = time(identify, ["-d", device]).ms;
  times.identify.push(its);
  times.ratio.push(ours.ms / (its + node));
}
const ms = (list: readonly number[]): string => `${median(list).toFixed(0)} ms`;
const [before = [], imported = [], opened = [], read = []] = parts;
process.stdout.write(
  `node -e 0: ${ms(times.node)}; to the first read: ${ms(times.ours)} (Node ${ms(before)}, import ${ms(imported)}, open ${ms(opened)}, namespace and read ${ms(read)})\n`,
);
process.stdout.write(
  times.identify.length === 0
    ? "without libvfn's identify: no --identify-binary PATH of one\n"
    : `libvfn's identify: ${ms(times.identify)}; ours by that plus node -e 0: ${median(times.ratio).toFixed(2)}\n`,
);

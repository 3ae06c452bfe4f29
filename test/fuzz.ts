/**
 * `npm run fuzz -- --calls 1000000 --seed 1`: calls everything that the package exports with right and wrong values, in child
 * processes. Prints how each process ended if it wasn't well, and every error that isn't an IovaError, with its seed and call.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { apiShape } from "./support/api-shape.js";

const { values } = parseArgs({
  options: {
    calls: { type: "string", default: "100000" },
    seed: { type: "string", default: "1" },
    first: { type: "string", default: "0" },
    only: { type: "string", default: "" },
  },
});
/** Calls of one process. */
const PART = 10_000;
/** Only ends a process that hangs. */
const HANG_MS = 3_600_000;

const folder = mkdtempSync(join(tmpdir(), "iova-fuzz-"));
const shape = join(folder, "shape.json");
const log = join(folder, "log");
writeFileSync(shape, JSON.stringify(apiShape()));
const program = fileURLToPath(new URL("./support/api-fuzz-main.js", import.meta.url));
const start = Number(values.first);
const end = start + Number(values.calls);
let hasFault = false;
for (let first = start; first < end; first += PART) {
  const calls = Math.min(PART, end - first);
  // Calls hold leases, so that some objects are never closed.
  const args = ["--no-warnings", program, shape, values.seed, String(first), String(calls), log, values.only];
  const { status, signal, stderr } = spawnSync(process.execPath, args, {
    cwd: folder,
    encoding: "utf8",
    timeout: HANG_MS,
    killSignal: "SIGKILL",
    maxBuffer: 2 ** 28,
  });
  process.stdout.write(stderr);
  hasFault ||= status !== 0 || stderr !== "";
  if (status === 0) continue;
  process.stdout.write(`ended with ${signal ?? status} in call ${readFileSync(log, "utf8").trimEnd()}\n`);
}
rmSync(folder, { recursive: true, force: true });
process.stdout.write(`seed ${values.seed}, calls ${start} to ${end}: ${hasFault ? "faults" : "no faults"}\n`);
process.exitCode = hasFault ? 1 : 0;

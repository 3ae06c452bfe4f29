/** Calls of the whole public API with right and wrong values, in short: `npm run fuzz` makes as many as it is told. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { apiShape } from "../support/api-shape.js";
import { compileTree } from "../support/compiled.js";

const SEED = 1;
const CALLS = 1000;
/** Only ends a process that hangs. */
const HANG_MS = 540_000;

test(`${CALLS} calls of the public API from seed ${SEED} neither crash nor hang, and fail only with documented errors`, {
  timeout: 600_000,
}, async () => {
  using tree = compileTree("test/support/api-fuzz-main.ts", "src/emulator/worker-main.ts");
  const folder = mkdtempSync(join(tmpdir(), "iova-fuzz-"));
  try {
    const shape = join(folder, "shape.json");
    const log = join(folder, "log");
    writeFileSync(shape, JSON.stringify(apiShape()));
    const program = tree.file("test/support/api-fuzz-main.ts");
    const args = ["--no-warnings", program, shape, `${SEED}`, "0", `${CALLS}`, log];
    const options = { cwd: folder, timeout: HANG_MS, killSignal: "SIGKILL", maxBuffer: 2 ** 28 } as const;
    const { how, stdout, stderr } = await new Promise<{ how: unknown; stdout: string; stderr: string }>(
      (resolve) => {
        const child = execFile(process.execPath, args, options, (_error, out, err) =>
          resolve({ how: child.signalCode ?? child.exitCode, stdout: out, stderr: err }),
        );
      },
    );
    expect(stderr, "calls that failed with an undocumented error, one a line").toBe("");
    expect(how, `the process ended in call ${readFileSync(log, "utf8").trimEnd()}`).toBe(0);
    const { calls, returned, refused } = JSON.parse(stdout);
    expect(calls).toBe(CALLS);
    // Neither all right nor all wrong.
    expect(returned).toBeGreaterThan(CALLS / 10);
    expect(refused).toBeGreaterThan(CALLS / 10);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

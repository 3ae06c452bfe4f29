/**
 * Applies steps as a process, or takes all changes back if there are none: the first argument is JSON with `steps` and `options`. Prints
 * what came of it, or the error's message.
 */
import { applySteps } from "../../src/host/changes/apply.js";
import { restoreChanges } from "../../src/host/changes/restore.js";

const { steps, options } = JSON.parse(process.argv[2] ?? "{}");
try {
  const done = steps === undefined ? await restoreChanges(options) : await applySteps(steps, options);
  process.stdout.write(`${JSON.stringify(done)}\n`);
} catch (error) {
  process.stdout.write(`failed: ${error instanceof Error ? error.message : String(error)}\n`);
}

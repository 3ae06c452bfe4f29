/** Applies steps as a process: the first argument is JSON with `steps` and `options`. Prints the change, or the error's message. */
import { applySteps } from "../../src/host/changes/apply.js";

const { steps, options } = JSON.parse(process.argv[2] ?? "{}");
try {
  process.stdout.write(`${JSON.stringify(await applySteps(steps, options))}\n`);
} catch (error) {
  process.stdout.write(`failed: ${error instanceof Error ? error.message : String(error)}\n`);
}

/** Starts the emulator's thread. Its program is in an application's bundle, beside this file, or in the installed package. */
import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";
import type { WorkerOptions } from "node:worker_threads";
// biome-ignore lint/style/useNodejsImportProtocol: webpack knows workers by this name.
import { Worker } from "worker_threads";
import { ConfigError } from "../core/errors.js";
import { moduleUrl, requireFromHere } from "../core/module-url.js";

declare global {
  interface ImportMeta {
    /** Version of webpack, in code that webpack has bundled. */
    readonly webpack?: number;
  }
}

/** @throws ConfigError where the program isn't found */
export function startWorker(options: WorkerOptions): Worker {
  if (import.meta.webpack === undefined) return new Worker(programFile(), options);
  // webpack recognises this expression, and bundles the program with all that it imports.
  return new Worker(new URL("./emulator-worker.mjs", import.meta.url), options);
}

/** Relative to core/module-url.js. build/bundle.ts has another. */
const BESIDE = "../emulator/worker-main.js";

/** @throws ConfigError */
function programFile(): URL {
  const beside = new URL(BESIDE, moduleUrl);
  if (existsSync(beside)) return beside;
  try {
    return pathToFileURL(requireFromHere.resolve("iova/emulator-worker"));
  } catch (cause) {
    throw new ConfigError(
      `the emulator's thread has no program: ${beside.href} doesn't exist and no package "iova" is installed above it; ` +
        "keep iova external in the bundler, or bundle iova/emulator-worker as a second entry to that file",
      { cause },
    );
  }
}

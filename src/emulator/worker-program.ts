/** Finds the program of the emulator's thread: beside this file, or in the installed package when an application is bundled. */
import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { ConfigError } from "../core/errors.js";
import { moduleUrl, requireFromHere } from "../core/module-url.js";

/** webpack recognises this form and copies the file; esbuild's CommonJS has no `import.meta.url`. */
function besideUrl(): URL {
  return typeof import.meta.url === "string"
    ? new URL("./worker-main.js", import.meta.url)
    : new URL("./emulator-worker.mjs", moduleUrl);
}

/** @throws ConfigError where the application's bundle has no such file and the package isn't installed */
export function workerProgram(): URL {
  const beside = besideUrl();
  if (existsSync(beside)) return beside;
  try {
    return pathToFileURL(requireFromHere.resolve("iova/emulator-worker"));
  } catch (cause) {
    throw new ConfigError(
      `the emulator's thread has no program: ${beside.href} doesn't exist and no package "iova" is installed above it; ` +
        "keep iova external in the bundler, or copy emulator-worker.mjs of the package there",
      { cause },
    );
  }
}

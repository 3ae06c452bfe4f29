/**
 * Setup of every test file: the file fails if a resource of the library was forgotten in it, and so released by the garbage
 * collector with an IovaResourceWarning. Tests that forget resources on purpose call useForgottenWarnings().
 */
import { afterAll } from "vitest";
import { collectAll } from "./forgotten.js";

const warnings: string[] = [];

function listen(warning: Error & { readonly detail?: unknown }): void {
  if (warning.name !== "IovaResourceWarning") return;
  warnings.push([warning.message, warning.detail].filter((text) => typeof text === "string").join(", "));
}

process.on("warning", listen);

// Hooks of the test file, which close what its tests share, run before this one.
afterAll(async () => {
  await collectAll(2);
  process.off("warning", listen);
  if (warnings.length === 0) return;
  throw new Error(
    `the tests of this file forgot ${warnings.length} resources; close them, or call useForgottenWarnings() where that is ` +
      `the subject:\n${[...new Set(warnings)].join("\n")}`,
  );
});

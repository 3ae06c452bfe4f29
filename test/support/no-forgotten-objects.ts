/**
 * Setup of every test file: the file fails if a resource of the library was forgotten in it, and so released by the garbage
 * collector with an IovaResourceWarning. Tests that forget resources on purpose call useForgottenWarnings(). It fails, too, if more
 * than ten listeners of one event were added to an object, such as the process: Node.js takes them for forgotten ones.
 */
import { afterAll } from "vitest";
import { endAll } from "./at-end.js";
import { collectAll } from "./forgotten.js";

const warnings: string[] = [];
const listeners: string[] = [];

function listen(warning: Error & { readonly detail?: unknown }): void {
  if (warning.name === "MaxListenersExceededWarning") listeners.push(warning.stack ?? warning.message);
  if (warning.name !== "IovaResourceWarning") return;
  warnings.push([warning.message, warning.detail].filter((text) => typeof text === "string").join(", "));
}

process.on("warning", listen);

// Hooks of the test file, which close what its tests share, run before this one.
afterAll(async () => {
  await collectAll(2);
  process.off("warning", listen);
  endAll();
  if (listeners.length > 0)
    throw new Error(
      `the tests of this file added too many listeners; one for all is enough:\n${listeners.join("\n")}`,
    );
  if (warnings.length === 0) return;
  throw new Error(
    `the tests of this file forgot ${warnings.length} resources; close them, or call useForgottenWarnings() where that is ` +
      `the subject:\n${[...new Set(warnings)].join("\n")}`,
  );
});

/** What is wrong with a module of the user's own: a sentence with the file and the line. */
import { execFileSync } from "node:child_process";
import { isAbsolute, relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ConfigError, IovaError } from "../core/errors.js";
import { packageFile } from "./package-file.js";

/** Long enough for every module; one that never ends must not hold the error back. */
const CHECK_MS = 10_000;

/** @param file the module, as the user named it @param thrown by it, while it was loaded or its class made a device */
export function moduleError(file: string, thrown: unknown): ConfigError {
  const path = resolve(file);
  const message = thrown instanceof Error ? nameOf(thrown) + thrown.message : String(thrown);
  const text = message.replace(/\s+/g, " ").trim();
  const named = text.startsWith(path) ? file + text.slice(path.length) : `${file}: ${text}`;
  const place = thrown instanceof Error ? placeOf(path, thrown) : undefined;
  return new ConfigError(place === undefined ? named : `${named}, at ${place}`, { cause: thrown });
}

/** Errors of the package say what is wrong by their message alone. */
function nameOf(error: Error): string {
  return error instanceof IovaError ? "" : `${error.name}: `;
}

/** `FILE:LINE`, if Node.js knows. */
function placeOf(path: string, error: Error): string | undefined {
  const stack = error.stack ?? "";
  const found = headOf(stack) ?? frameOf(stack);
  if (found !== undefined) return found;
  // Only an error that nobody catches has the place of what Node.js can't parse.
  return error instanceof SyntaxError ? headOf(uncaught(path)) : undefined;
}

/** Of the line above the quoted code. */
function headOf(text: string): string | undefined {
  const [, file, line] = /^(file:\/\/.+|\/.+):(\d+)$/m.exec(text) ?? [];
  return file === undefined ? undefined : `${shortPath(file)}:${line}`;
}

/** Of the innermost call in a file of the user's. */
function frameOf(stack: string): string | undefined {
  const ours = [packageFile("src/"), packageFile("dist/lib/"), "/node_modules/"];
  for (const [, file = "", line] of stack.matchAll(/^ {4}at .*?(file:\/\/.+?):(\d+):\d+\)?$/gm)) {
    const path = fileURLToPath(file);
    if (!ours.some((part) => path.includes(part))) return `${shortPath(path)}:${line}`;
  }
  return undefined;
}

/** What Node.js prints when it imports a module that it can't parse, so that nothing of it runs. */
function uncaught(path: string): string {
  const program = `import ${JSON.stringify(pathToFileURL(path).href)};`;
  const args = [...process.execArgv, "--input-type=module", "--eval", program];
  try {
    execFileSync(process.execPath, args, {
      encoding: "utf8",
      stdio: ["ignore", "ignore", "pipe"],
      timeout: CHECK_MS,
    });
    return "";
  } catch (error) {
    return String(Object(error).stderr);
  }
}

/** As seen from the current folder, if it is below it. */
function shortPath(file: string): string {
  const path = file.startsWith("file:") ? fileURLToPath(file) : file;
  const short = relative("", path);
  return short.startsWith("..") || isAbsolute(short) ? path : short;
}

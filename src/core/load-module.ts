/** Loads a user's module, and says what to do if it is TypeScript that Node.js can't load, or wasn't compiled. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ConfigError } from "./errors.js";

/**
 * @param module its URL
 * @throws ConfigError if it is TypeScript that this Node.js can't load, or there is no such file; and what the module throws
 */
export async function loadModule(module: string): Promise<object> {
  try {
    return await import(module);
  } catch (error) {
    const problem = problemOf(module, error);
    throw problem === undefined ? error : new ConfigError(problem, { cause: error });
  }
}

const compiled = "compile the module (npx tsc) and name the .js file";

/** What is wrong with a module, and what to do; undefined if what it threw says that. */
function problemOf(module: string, error: unknown): string | undefined {
  if (!(error instanceof Error) || !module.startsWith("file:")) return undefined;
  const path = fileURLToPath(module);
  const code: unknown = Reflect.get(error, "code");
  if (code === "ERR_MODULE_NOT_FOUND" && !existsSync(path))
    return `there is no file ${path}: correct the path, or compile its TypeScript first (npx tsc)`;
  return /\.[cm]?tsx?$/.test(path) ? typeScriptProblem(path, code, error.message) : undefined;
}

function typeScriptProblem(path: string, code: unknown, message: string): string | undefined {
  if (code === "ERR_UNKNOWN_FILE_EXTENSION")
    return (
      `${path}: Node.js ${process.versions.node} can't load this TypeScript: use Node.js 22.18 or later, ` +
      `${compiled}, or set NODE_OPTIONS="--import tsx" with the package tsx installed`
    );
  if (code === "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX")
    return `${path} has what Node.js can't turn into JavaScript (${message}): ${compiled}`;
  if (code === "ERR_MODULE_NOT_FOUND" && /\.[cm]?js'? imported from /.test(message))
    return `${path} imports a .js file that doesn't exist: ${compiled}, or import the .ts file (${message})`;
  return undefined;
}

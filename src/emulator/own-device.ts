/** Makes a device of a user's own from its module. */
import { fileURLToPath } from "node:url";
import { checkFunction, checkMembers, show } from "../core/check.js";
import { ArgumentError, ConfigError } from "../core/errors.js";
import type { BlockSpec } from "../registers/declaration.js";
import type { EmulatedDevice } from "../vfio-user/server/emulated-device.js";
import type { DeviceFaults } from "./faults/device-faults.js";

/** A device of a user's own class. */
export interface OwnDevice {
  /** What to serve: it has the faults. */
  readonly device: EmulatedDevice;
  /** The class's member `faults`, if there is one. */
  readonly faults: DeviceFaults<BlockSpec> | undefined;
  /** Calls the class's method `order`. @throws ConfigError if there is none, and what it throws */
  order(message: unknown): unknown;
}

/** What a user's class may have beside the members of a device. */
type OwnClass = EmulatedDevice & {
  readonly faults?: DeviceFaults<BlockSpec>;
  order?(message: unknown): unknown;
};

/** @throws ConfigError if this Node.js can't load TypeScript, and what the module throws */
async function load(module: string): Promise<object> {
  try {
    return await import(module);
  } catch (error) {
    const problem = typeScriptProblem(module, error);
    throw problem === undefined ? error : new ConfigError(problem, { cause: error });
  }
}

const compiled = "compile the module (npx tsc) and name the .js file";

/** What is wrong with a module in TypeScript, and what to do; undefined if it failed for another reason. */
function typeScriptProblem(module: string, error: unknown): string | undefined {
  if (!(error instanceof Error) || !/\.[cm]?tsx?$/.test(module)) return undefined;
  const path = fileURLToPath(module);
  const code: unknown = Reflect.get(error, "code");
  if (code === "ERR_UNKNOWN_FILE_EXTENSION")
    return (
      `${path}: Node.js ${process.versions.node} can't load this TypeScript: use Node.js 22.18 or later, ` +
      `${compiled}, or set NODE_OPTIONS="--import tsx" with the package tsx installed`
    );
  if (code === "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX")
    return `${path} has what Node.js can't turn into JavaScript (${error.message}): ${compiled}`;
  if (code === "ERR_MODULE_NOT_FOUND" && /\.[cm]?js'? imported from /.test(error.message))
    return `${path} imports a .js file that doesn't exist: ${compiled}, or import the .ts file (${error.message})`;
  return undefined;
}

/**
 * Makes a device.
 * @param module URL of a module whose default export is the class
 * @param options the argument of the class
 * @throws ArgumentError if it has no such class, ConfigError if it is TypeScript that this Node.js can't load, and what its
 *   module and its constructor throw
 */
export async function makeOwnDevice(module: string, options: unknown): Promise<OwnDevice> {
  const { default: found }: { readonly default?: unknown } = await load(module);
  // An arrow function has no prototype.
  if (typeof found !== "function" || found.prototype === undefined)
    throw new ArgumentError(
      `${module} must have the class of a device as its default export, got ${show(found)}`,
    );
  const own: OwnClass = Reflect.construct(found, [options]);
  // VfioUserServer checks the rest.
  checkMembers("device", own, "an EmulatedDevice", { close: "function" });
  if (own.order !== undefined) checkFunction("order of the device", own.order);
  const order = (message: unknown): unknown => {
    if (own.order === undefined)
      throw new ConfigError(`${own.name} takes no message: its class has no method order(message)`);
    return own.order(message);
  };
  const { faults } = own;
  if (faults === undefined) return { device: own, faults, order };
  const methods = { device: "function", inject: "function", clearFaults: "function" } as const;
  checkMembers("faults of the device", faults, "a DeviceFaults", methods);
  return { device: faults.device(own), faults, order };
}

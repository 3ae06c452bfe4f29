/** The command line of `iova new-driver`. */
import { builtinModules } from "node:module";
import { resolve } from "node:path";
import type { ConfigError } from "../../core/errors.js";
import { parseCommandLine, usageError } from "../command-line.js";
import { newDriverDescription } from "../described/new-driver.js";
import { dependencyNames } from "./manifest.js";

/** What `iova new-driver` is to write. */
export interface NewDriverOptions {
  /** The npm package's name. */
  readonly name: string;
  readonly vendorId: number;
  readonly deviceId: number;
  /** Absolute path. */
  readonly folder: string;
}

const MAX_NAME = 214;

/** @throws ConfigError */
export function parseNewDriver(argv: readonly string[]): NewDriverOptions {
  const { values, positionals } = parseCommandLine(newDriverDescription, argv);
  const [name, ...more] = positionals;
  if (name === undefined) throw usage("new-driver needs a NAME");
  if (more.length > 0) throw usage(`new-driver takes one NAME, got ${positionals.join(" ")}`);
  checkName(name);
  const vendorId = idOf("vendor", values.vendor);
  // An empty slot reads all ones.
  if (vendorId === 0xffff) throw usage("--vendor 0xffff: no device has this ID");
  const deviceId = idOf("device", values.device);
  if (values.dir === "") throw usage("--dir needs a path");
  return { name, vendorId, deviceId, folder: resolve(values.dir ?? withoutScope(name)) };
}

/** The last part of `@scope/name`. */
export function withoutScope(name: string): string {
  return name.slice(name.indexOf("/") + 1);
}

/** @throws ConfigError unless npm takes the name, and it can be a file's name */
function checkName(name: string): void {
  const shown = JSON.stringify(name);
  if (!/^(?:@[a-z0-9][a-z0-9._-]*\/)?[a-z0-9][a-z0-9._-]*$/.test(name)) {
    throw usage(
      `${shown} can't be the name of an npm package: expected lower case letters, digits, ".", "_" and "-", ` +
        "beginning with a letter or digit, and perhaps a scope such as @company/ before",
    );
  }
  if (name.length > MAX_NAME)
    throw usage(`the name has ${name.length} characters, and npm takes at most ${MAX_NAME}`);
  if (["node_modules", "favicon.ico", ...builtinModules].includes(name))
    throw usage(`npm reserves the name ${shown}: choose another`);
  if (dependencyNames.includes(name))
    throw usage(`the new package depends on ${shown}, so it can't have this name`);
}

/** Hexadecimal digits, as `lspci -n` prints them. @throws ConfigError */
function idOf(option: "vendor" | "device", text: string | undefined): number {
  if (text === undefined) throw usage(`new-driver needs --${option} ID`);
  const id = /^(?:0x)?[0-9a-f]+$/i.test(text) ? Number.parseInt(text, 16) : Number.NaN;
  if (id <= 0xffff) return id;
  const problem = Number.isNaN(id) ? "isn't hexadecimal" : "has more than 16 bits";
  throw usage(
    `--${option} ${JSON.stringify(text)} ${problem}: write one to four hex digits, as lspci -n prints them, such as 8086 or 0x8086`,
  );
}

function usage(problem: string): ConfigError {
  return usageError(newDriverDescription, problem);
}

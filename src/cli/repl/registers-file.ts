/** Loads blocks of registers from a module, for `iova repl --registers FILE`. */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { ConfigError } from "../../core/errors.js";
import { loadModule } from "../../core/load-module.js";
import type { Bar } from "../../pci/bar.js";
import { moduleError } from "../own-module.js";
import { hasFunction } from "./text.js";

/** A `RegisterBlock` of any copy of this package. */
interface Block {
  on(bar: Bar): unknown;
}

function isBlock(value: unknown): value is Block {
  return hasFunction(value, "on") && hasFunction(value, "dump") && hasFunction(value, "toMarkdown");
}

/**
 * Each block that the module exports, in a BAR, by its exported name.
 * @throws ConfigError if the module can't be loaded or exports none; ArgumentError if one doesn't fit the BAR
 */
export async function loadRegisters(file: string, bar: Bar): Promise<Record<string, unknown>> {
  const names = Object.entries(await load(file)).filter(([, value]) => isBlock(value));
  if (names.length === 0)
    throw new ConfigError(`--registers ${file}: the module exports no block of registers (registerBlock())`);
  return Object.fromEntries(names.map(([name, block]) => [name, isBlock(block) ? block.on(bar) : undefined]));
}

/** @throws ConfigError */
async function load(file: string): Promise<object> {
  try {
    return await loadModule(pathToFileURL(resolve(file)).href);
  } catch (cause) {
    throw new ConfigError(`--registers ${moduleError(file, cause).message}`, { cause });
  }
}

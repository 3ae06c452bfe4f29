/**
 * koffi, by require(): for an import Node first reads the text of a CommonJS module for the names it exports, which takes
 * longer than to run it.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { isMainThread } from "node:worker_threads";
import type Koffi from "koffi";

const require = createRequire(import.meta.url);

export const koffi: typeof Koffi = require("koffi");

const RTLD_NOW = 2;
const RTLD_NODELETE = 0x1000;

/**
 * Keeps koffi's code in memory. Where only worker threads use it, Node unloads it with the last of them, and libuv still
 * calls it then to finish closing its handles: the process died of SIGSEGV.
 */
function pin(): void {
  const maps = readFileSync("/proc/self/maps", "utf8");
  const paths = new Set(maps.match(/\/.*koffi.*\.node$/gm));
  const dlopen = koffi.load(null).func("void *dlopen(const char *path, int flags)");
  for (const path of paths) dlopen(path, RTLD_NOW | RTLD_NODELETE);
}

if (!isMainThread) pin();

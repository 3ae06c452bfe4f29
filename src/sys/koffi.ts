/**
 * Loads koffi by require(). For an import, Node first scans a CommonJS module's text for its exports, which takes longer than
 * running it. Bundlers also leave this call alone; they can't bundle koffi's native part.
 */
import { readFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import type Koffi from "koffi";
import { requireFromHere } from "../core/module-url.js";

export const koffi: typeof Koffi = requireFromHere("koffi");

const RTLD_NOW = 2;
const RTLD_NODELETE = 0x1000;

/**
 * Keeps koffi's code in memory. If only worker threads use koffi, Node unloads it with the last of them. libuv then still
 * calls it to finish closing its handles, which raised SIGSEGV.
 */
function pin(): void {
  const maps = readFileSync("/proc/self/maps", "utf8");
  const paths = new Set(maps.match(/\/.*koffi.*\.node$/gm));
  const dlopen = koffi.load(null).func("void *dlopen(const char *path, int flags)");
  for (const path of paths) dlopen(path, RTLD_NOW | RTLD_NODELETE);
}

if (!isMainThread) pin();

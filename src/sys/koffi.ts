/**
 * koffi, by require(): for an import Node first scans a CommonJS module's text for the names it exports, which takes longer
 * than running it. Bundlers leave it alone here, too: its native part can't be bundled.
 */
import { readFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import type Koffi from "koffi";
import { requireFromHere } from "../core/module-url.js";

export const koffi: typeof Koffi = requireFromHere("koffi");

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

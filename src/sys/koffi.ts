/**
 * Loads koffi at the first call of the C library: an import of this library doesn't wait for it, and works where koffi or Linux
 * is missing, and the first use says what is missing.
 *
 * It is loaded by require(). For an import, Node first scans a CommonJS module's text for its exports, which takes longer than
 * running it. Bundlers also leave this call alone; they can't bundle koffi's native part.
 */
import { readFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import type Koffi from "koffi";
import { UnsupportedError } from "../core/errors.js";
import { requireFromHere } from "../core/module-url.js";
import { assertRuntime } from "../core/platform.js";

/** What this project uses of koffi. */
interface Native {
  load(path: null): Pick<ReturnType<typeof Koffi.load>, "func">;
  /** errno of the last failed call of this thread. */
  errno(): number;
  address(view: NodeJS.ArrayBufferView): bigint;
  readonly node: Pick<typeof Koffi.node, "poll">;
}

function load(): Native {
  assertRuntime();
  try {
    const found: typeof Koffi = requireFromHere("koffi");
    if (!isMainThread) pin(found);
    return found;
  } catch (cause) {
    throw new UnsupportedError(cannotLoad(cause), { cause });
  }
}

function cannotLoad(cause: unknown): string {
  const said = cause instanceof Error ? cause.message : String(cause);
  const uid = process.geteuid?.() ?? 0;
  // A program that starts as root in a folder of its own may become another user before its first call.
  const other =
    uid === 0
      ? ""
      : `. If user ${uid} may not read it, call the library once before the process becomes that user`;
  return (
    `koffi, by which iova calls the C library, can't be loaded on ${process.platform} ${process.arch}: ${said} Install the ` +
    `package on this machine (npm rebuild koffi), with optional dependencies${other}`
  );
}

const RTLD_NOW = 2;
const RTLD_NODELETE = 0x1000;

/**
 * Keeps koffi's code in memory. If only worker threads use koffi, Node unloads it with the last of them. libuv then still
 * calls it to finish closing its handles, which raised SIGSEGV.
 */
function pin(native: typeof Koffi): void {
  const maps = readFileSync("/proc/self/maps", "utf8");
  const paths = new Set(maps.match(/\/.*koffi.*\.node$/gm));
  const dlopen = native.load(null).func("void *dlopen(const char *path, int flags)");
  for (const path of paths) dlopen(path, RTLD_NOW | RTLD_NODELETE);
}

let loaded: Native | undefined;

/** @throws UnsupportedError if it can't be loaded */
export function koffi(): Native {
  loaded ??= load();
  return loaded;
}

/**
 * Loads koffi by require(). For an import, Node first scans a CommonJS module's text for its exports, which takes longer than
 * running it. Bundlers also leave this call alone; they can't bundle koffi's native part.
 *
 * Where koffi or Linux is missing, the library can be imported all the same, and its first use says what is missing.
 */
import { readFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import type Koffi from "koffi";
import { UnsupportedError } from "../core/errors.js";
import { requireFromHere } from "../core/module-url.js";
import { notLinux } from "../core/platform.js";

/** What this project uses of koffi. */
interface Native {
  /** Every use throws. */
  readonly isRefusing?: boolean;
  load(path: null): Pick<ReturnType<typeof Koffi.load>, "func">;
  /** errno of the last failed call of this thread. */
  errno(): number;
  address(view: NodeJS.ArrayBufferView): bigint;
  readonly node: Pick<typeof Koffi.node, "poll">;
}

/** Throws at each use. */
function refusing(error: () => UnsupportedError): Native {
  const refuse = (): never => {
    throw error();
  };
  const nothing = { name: "void", primitive: "Void", size: 0, alignment: 1, disposable: false } as const;
  const info = { name: "refused", arguments: [], result: nothing };
  const refused = Object.assign(() => refuse(), { async: refuse, info });
  return {
    isRefusing: true,
    load: () => ({ func: () => refused }),
    errno: refuse,
    address: refuse,
    node: { poll: refuse },
  };
}

function load(): Native {
  if (process.platform !== "linux") return refusing(notLinux);
  try {
    const found: typeof Koffi = requireFromHere("koffi");
    if (!isMainThread) pin(found);
    return found;
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause);
    return refusing(
      () =>
        new UnsupportedError(
          `koffi, by which iova calls the C library, can't be loaded on ${process.platform} ${process.arch}: ${said} Install the ` +
            "package on this machine (npm rebuild koffi), with optional dependencies",
          { cause },
        ),
    );
  }
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

export const koffi = load();

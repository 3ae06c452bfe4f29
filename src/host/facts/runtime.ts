/** What runs this program: Node.js, the C library, and whether koffi's native part loads here. */
import { requireFromHere } from "../../core/module-url.js";
import type { HostRoot } from "./root.js";

/** The C library: glibc, musl (Alpine), or neither. */
export type CLibrary = "glibc" | "musl" | "unknown";

/** The program's own surroundings. */
export interface RuntimeFacts {
  /** Version of Node.js: 22.11.0. */
  readonly node: string;
  /** As Node.js spells it: x64, arm64. */
  readonly arch: string;
  readonly libc: CLibrary;
  /** Why koffi can't be loaded; undefined if it can, or if another host's files are read. */
  readonly koffiError: string | undefined;
}

/** The C library by the files that a process has mapped (/proc/self/maps). Never throws. */
export function libcOfMaps(text: string): CLibrary {
  if (/\/(?:ld|libc)[.-]musl/.test(text)) return "musl";
  return /\/(?:libc\.so\.6|libc-2\.\d+\.so|ld-linux)/.test(text) ? "glibc" : "unknown";
}

export function readRuntime(root: HostRoot): RuntimeFacts {
  return {
    node: process.versions.node,
    arch: process.arch,
    libc: libcOfMaps(root.text("/proc/self/maps") ?? ""),
    koffiError: root.isLive ? loadKoffi() : undefined,
  };
}

function loadKoffi(): string | undefined {
  try {
    requireFromHere("koffi");
    return undefined;
  } catch (error) {
    return error instanceof Error ? (error.message.split("\n", 1)[0] ?? "") : String(error);
  }
}

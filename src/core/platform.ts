/**
 * The library needs Linux and Node.js on a little-endian processor of 64 bits. Elsewhere it can be imported, so that a program can ask
 * first, and each use says what is missing.
 */
import { UnsupportedError } from "./errors.js";

/** What a use of the library on another system throws. */
export function notLinux(): UnsupportedError {
  return new UnsupportedError(
    `iova needs Linux, whose kernel has VFIO and iommufd; this is ${process.platform}: run the program on Linux, or in a virtual ` +
      "machine that has it",
  );
}

/** @throws UnsupportedError on another system than Linux */
export function assertLinux(): void {
  if (process.platform !== "linux") throw notLinux();
}

/** What runs the program: parts of Node.js's `process`. */
export interface Runtime {
  readonly arch: string;
  readonly isLittleEndian: boolean;
  readonly versions: Readonly<Record<string, string | undefined>>;
}

/** Processors of 32 bits, as Node.js spells them. koffi has parts for some of them. */
const narrow: ReadonlySet<string> = new Set(["arm", "ia32", "mips", "mipsel", "ppc", "s390"]);

/** Why this runtime can't call the kernel as the library does, in a sentence; undefined if it can. */
export function unfit({ arch, isLittleEndian, versions }: Runtime): string | undefined {
  const { bun, deno } = versions;
  if (bun !== undefined)
    return `iova needs Node.js: Bun ${bun} lacks libuv's uv_poll_init_socket, which waits for interrupts; run the program with node`;
  if (deno !== undefined)
    return `iova needs Node.js: Deno ${deno} lacks dgram's bind({ fd }), by which worker threads wait; run the program with node`;
  if (narrow.has(arch))
    return `iova needs a system of 64 bits, whose structures it passes to the kernel: this is Node.js for ${arch}, use one of 64 bits`;
  if (!isLittleEndian)
    return `iova needs a little-endian processor, as devices and their registers are: ${arch} is big-endian here, use another machine`;
  return undefined;
}

/** @throws UnsupportedError on another system than Linux, in another runtime than Node.js, and on processors that don't fit */
export function assertRuntime(): void {
  assertLinux();
  const reason = unfit({
    arch: process.arch,
    isLittleEndian: new Uint8Array(new Uint16Array([1]).buffer)[0] === 1,
    versions: process.versions,
  });
  if (reason !== undefined) throw new UnsupportedError(reason);
}

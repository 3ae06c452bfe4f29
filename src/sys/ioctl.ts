/** ioctl(2): once, prepared for frequent use, or off the JavaScript thread. Each request is a message of `iova:ioctl`. */
import type { Channel } from "node:diagnostics_channel";
import { Errno } from "../core/errno.js";
import { SysError, type SysErrorContext } from "../core/errors.js";
import { debugChannel } from "./debug-log.js";
import { addressOf, c, ioctlOffThread, keepAlive, lastErrno } from "./libc.js";

/** An ioctl: its number, and its name in the kernel's headers. */
export interface IoctlRequest {
  readonly name: string;
  readonly number: number;
  /** First Linux release that has it; undefined if every kernel with the device node has it. */
  readonly since?: string | undefined;
}

/** Message of the diagnostics channel `iova:ioctl`: a request that the kernel has answered. */
export interface IoctlTrace {
  /** The request's name in the kernel's headers, e.g. `IOMMU_IOAS_MAP`. */
  readonly request: string;
  /** The descriptor that the request went to. */
  readonly fd: number;
  /** What the kernel returned; undefined if the request failed. */
  readonly result: number | undefined;
  /** Why the request failed; undefined if it didn't. */
  readonly errno: number | undefined;
}

const ioctlChannel: Channel = debugChannel("iova:ioctl");

/** Publishes to `iova:ioctl`. @param answer the result, or the errno as a negative number @returns it */
function traced(request: IoctlRequest, fd: number, answer: number): number {
  if (ioctlChannel.hasSubscribers) {
    const failed = answer < 0;
    ioctlChannel.publish({
      request: request.name,
      fd,
      result: failed ? undefined : answer,
      errno: failed ? -answer : undefined,
    } satisfies IoctlTrace);
  }
  return answer;
}

/** `_IO(type, nr)` of asm-generic/ioctl.h: iommufd and VFIO encode neither size nor direction. */
export function ioctlRequest(name: string, type: string, nr: number, since?: string): IoctlRequest {
  return { name, number: (type.charCodeAt(0) << 8) | nr, since };
}

/**
 * ioctl(2) with a pointer to a struct, or null if the request takes none.
 * @returns the kernel's non-negative result
 * @throws SysError named after the request
 */
export function ioctl(
  fd: number,
  request: IoctlRequest,
  argument: NodeJS.ArrayBufferView | null,
  context: SysErrorContext = {},
): number {
  const result = tryIoctl(fd, request, argument);
  if (result < 0) throw new SysError(request.name, -result, context);
  return result;
}

/** {@link ioctl} without throwing: returns the result, or the errno as a negative number. */
export function tryIoctl(fd: number, request: IoctlRequest, argument: NodeJS.ArrayBufferView | null): number {
  for (;;) {
    const result = c().ioctl(fd, request.number, argument);
    if (result >= 0) return traced(request, fd, result);
    const errno = lastErrno();
    if (errno !== Errno.EINTR) return traced(request, fd, -errno);
  }
}

/**
 * {@link tryIoctl} off the JavaScript thread, for requests that may take long (pinning gigabytes, resets).
 * Don't use the argument until the promise settles.
 */
export async function tryIoctlAsync(
  fd: number,
  request: IoctlRequest,
  argument: NodeJS.ArrayBufferView | null,
): Promise<number> {
  for (;;) {
    const result = await ioctlOffThread(fd, request.number, argument);
    if (result !== -Errno.EINTR) return traced(request, fd, result);
  }
}

/**
 * A frequent request. Its struct stays in one place outside V8's moving heap, so a call passes plain numbers, without
 * marshalling or allocation. The owner sets the fields that change.
 */
export class PreparedIoctl {
  /** The struct as 32-bit words: a 64-bit field is two of them, low half first (storeU64 and loadU64 of struct.ts). */
  readonly words: Uint32Array<ArrayBuffer>;
  /** The same as 64-bit words, for fields whose value is a bigint anyway. */
  readonly quads: BigUint64Array<ArrayBuffer>;
  private readonly address: number;

  /** @param struct the encoded request, with the fields that never change */
  constructor(
    readonly request: IoctlRequest,
    struct: Uint8Array,
  ) {
    // A buffer first: V8 keeps the bytes of a small typed array on its heap, and moves them.
    const buffer = new ArrayBuffer(Math.ceil(struct.byteLength / 8) * 8);
    new Uint8Array(buffer).set(struct);
    this.words = new Uint32Array(buffer);
    this.quads = new BigUint64Array(buffer);
    this.address = addressOf(this.words);
  }

  /** @returns the result, or the errno as a negative number, as {@link tryIoctl} */
  call(fd: number): number {
    for (;;) {
      const result = c().ioctlPrepared(fd, this.request.number, this.address);
      keepAlive(this.words);
      if (result >= 0) return traced(this.request, fd, result);
      const errno = lastErrno();
      if (errno !== Errno.EINTR) return traced(this.request, fd, -errno);
    }
  }
}

/** ioctl(2) whose argument is a number and not a pointer. @throws SysError */
export function ioctlWithNumber(
  fd: number,
  request: IoctlRequest,
  argument: number,
  context: SysErrorContext = {},
): number {
  for (;;) {
    const result = c().ioctlNumber(fd, request.number, argument);
    if (result >= 0) return traced(request, fd, result);
    const errno = lastErrno();
    if (errno === Errno.EINTR) continue;
    traced(request, fd, -errno);
    throw new SysError(request.name, errno, context);
  }
}

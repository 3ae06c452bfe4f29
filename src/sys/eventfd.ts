/** Eventfds: taken, signalled, or watched in the event loop. */

import { readlinkSync } from "node:fs";
import { checkFunction, checkInteger, MAX_TIMER_MS } from "../core/check.js";
import { Errno } from "../core/errno.js";
import { SysError } from "../core/errors.js";
import { Resource } from "../core/lifetime/resource.js";
import { type ListenOptions, onAbort, signalOf } from "../core/listeners.js";
import { adopt, descriptorError } from "./descriptors.js";
import { addressOf, c, lastErrno } from "./libc.js";
import { close, pollReadable, read, write } from "./syscalls.js";
import { type Watch, watchReadable } from "./watch.js";

const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;

/** preadv2(2) by architecture. */
const preadv2Numbers: Readonly<Record<string, number>> = { x64: 327, arm64: 286 };
const RWF_NOWAIT = 8;
const COUNTER_BYTES = 8;

/** struct iovec, and the counter that it points to, outside V8's moving heap. */
const request = new BigUint64Array(new ArrayBuffer(24));
/** 0 until the first use fills the struct. */
let requestAddress = 0;

function prepareRequest(): void {
  requestAddress = addressOf(request);
  request[0] = BigInt(requestAddress + 16);
  request[1] = BigInt(COUNTER_BYTES);
}

let preadv2 = preadv2Numbers[process.arch];

/**
 * Takes the count of an eventfd; 0 if there is none. Never blocks: another process that shares the descriptor can change its
 * flags at any moment, so the call itself asks not to wait.
 */
function takeCount(fd: number): number {
  if (requestAddress === 0) prepareRequest();
  while (preadv2 !== undefined) {
    if (c().preadv2(preadv2, fd, requestAddress, 1, -1, 0, RWF_NOWAIT) >= 0) return Number(request[2]);
    const errno = lastErrno();
    if (errno === Errno.EAGAIN) return 0;
    // A kernel before 5.8 doesn't support that for eventfds.
    if (errno === Errno.EOPNOTSUPP || errno === Errno.ENOSYS) preadv2 = undefined;
    else if (errno !== Errno.EINTR) throw descriptorError("preadv2", errno, fd);
  }
  const counter = new BigUint64Array(1);
  return pollReadable(fd, 0) && read(fd, counter) !== null ? Number(counter[0]) : 0;
}

/**
 * An eventfd(2), which the kernel signals at an interrupt. It is non-blocking and close-on-exec. If another process shares it
 * and makes it blocking, only signal() can block.
 */
export class EventFd extends Resource {
  /** The descriptor; owned by this object. */
  readonly fd: number;

  /** @throws SysError */
  constructor(what = "eventfd") {
    const made = c().eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made < 0) throw new SysError("eventfd", lastErrno());
    const fd = adopt(made);
    super({ label: what, release: () => close(fd) });
    this.fd = fd;
  }

  /** Takes the count of signals since the last take; 0 if there was none. @throws ClosedError, SysError */
  take(): number {
    this.lease.assertOpen();
    return takeCount(this.fd);
  }

  /**
   * Adds one signal, as the kernel does at an interrupt. For an eventfd shared with an untrusted process, use Signaller.
   * @throws ClosedError, SysError
   */
  signal(): void {
    this.lease.assertOpen();
    write(this.fd, BigUint64Array.of(1n));
  }

  /** Blocks the thread up to `timeoutMs` (-1: for ever) for a signal, and takes it. @throws ArgumentError, ClosedError, SysError */
  waitSync(timeoutMs: number): number {
    this.lease.assertOpen();
    checkInteger("timeoutMs", timeoutMs, -1, MAX_TIMER_MS);
    return pollReadable(this.fd, timeoutMs) ? this.take() : 0;
  }

  /**
   * Calls `listener` from the event loop with the count of each batch of signals, until the returned watch (or this
   * eventfd) is closed. The caller needn't keep a reference to either.
   * @throws ArgumentError, ClosedError, BusyError if it is watched already
   */
  watch(listener: (count: number) => void, options: ListenOptions = {}): Watch {
    this.lease.assertOpen();
    checkFunction("listener", listener);
    const signal = signalOf(options);
    const { fd } = this;
    const onReadable = (): void => {
      // Another reader may have taken the count.
      const count = takeCount(fd);
      if (count > 0) listener(count);
    };
    let forgetSignal = (): void => {};
    const watch = watchReadable(fd, this.lease, onReadable, () => forgetSignal());
    watch.retain(this);
    forgetSignal = onAbort(signal, () => watch.close());
    return watch;
  }
}

/**
 * Whether a received descriptor is an eventfd: writing to anything else could block or do harm. Reading the link needs no
 * further descriptor; there may be none left.
 */
export function isEventfd(fd: number): boolean {
  return readlinkSync(`/proc/self/fd/${fd}`) === "anon_inode:[eventfd]";
}

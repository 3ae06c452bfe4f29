import { readlinkSync } from "node:fs";
import { SysError } from "./errors.js";
import { c, lastErrno } from "./libc.js";
import { Lease, Resource } from "./resource.js";
import { close, pollReadable, read, write } from "./syscalls.js";
import { type Watch, watchReadable } from "./watch.js";

const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;

/** An eventfd(2): how the kernel tells that an interrupt came. Non-blocking, close-on-exec. */
export class EventFd extends Resource {
  /** The descriptor; owned by this object. */
  readonly fd: number;
  private readonly counter = new BigUint64Array(1);

  /** @throws SysError */
  constructor(what = "eventfd") {
    const fd = c.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) throw new SysError("eventfd", lastErrno());
    super(new Lease(what, () => close(fd)));
    this.fd = fd;
  }

  /** Takes the count of signals since the last take; 0 where there was none. @throws ClosedError, SysError */
  take(): number {
    this.lease.assertOpen();
    return read(this.fd, this.counter) === null ? 0 : Number(this.counter[0]);
  }

  /** Adds one signal, as the kernel does at an interrupt. @throws ClosedError, SysError */
  signal(): void {
    this.lease.assertOpen();
    write(this.fd, BigUint64Array.of(1n));
  }

  /** Blocks the thread up to `timeoutMs` for a signal, and takes it. @throws ClosedError, SysError */
  waitSync(timeoutMs: number): number {
    this.lease.assertOpen();
    return pollReadable(this.fd, timeoutMs) ? this.take() : 0;
  }

  /**
   * Calls `listener` from the event loop with the count of each batch of signals, until the returned watch (or this
   * eventfd) is closed. Neither has to be held on to meanwhile.
   */
  watch(listener: (count: number) => void): Watch {
    this.lease.assertOpen();
    const { fd, counter } = this;
    const watch = watchReadable(fd, this.lease, () => {
      // Another reader may have been quicker: nothing there is no signal.
      if (read(fd, counter) !== null) listener(Number(counter[0]));
    });
    watch.keep(this);
    return watch;
  }
}

/**
 * Whether a descriptor that somebody sent is an eventfd: writing to anything else could block, or harm somebody. The link needs
 * no further descriptor, which there may be none of.
 */
export function isEventfd(fd: number): boolean {
  return readlinkSync(`/proc/self/fd/${fd}`) === "anon_inode:[eventfd]";
}

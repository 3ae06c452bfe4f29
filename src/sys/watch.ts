/** Descriptors in Node's event loop. The only use of koffi.node.poll, whose pitfalls end here. */
import { BusyError, SysError } from "../core/errors.js";
import { Lease, Resource } from "../core/resource.js";
import { koffi } from "./koffi.js";
import { c, lastErrno } from "./libc.js";

/**
 * One uv_poll per descriptor is all libuv allows; a second one would abort the process. Also what keeps a watch
 * from being collected before its owner closes.
 */
const watched = new Map<number, Watch>();

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;

/** libuv aborts on a descriptor that epoll refuses (a regular file, a memfd); ask epoll first. */
function assertPollable(fd: number): void {
  const probe = c.epollCreate1(EPOLL_CLOEXEC);
  if (probe < 0) throw new SysError("epoll_create1", lastErrno());
  // struct epoll_event is packed to 12 bytes on x86-64 and 16 on arm64; `events` comes first on both.
  const event = new Uint32Array(4);
  event[0] = EPOLLIN;
  const result = c.epollCtl(probe, EPOLL_CTL_ADD, fd, event);
  const errno = lastErrno();
  c.close(probe);
  if (result < 0) throw new SysError("epoll_ctl", errno, { object: `fd ${fd}` });
}

/** A descriptor under watch. Like Node's own handles it keeps the process alive, unless `unref` was called. */
export class Watch extends Resource {
  constructor(
    lease: Lease,
    private readonly handle: { ref(): void; unref(): void },
  ) {
    super(lease);
  }

  ref(): this {
    if (!this.closed) this.handle.ref();
    return this;
  }

  unref(): this {
    if (!this.closed) this.handle.unref();
    return this;
  }
}

/**
 * Calls `onReadable` from the event loop whenever `fd` has something to read (level triggered: read it there).
 * The watch ends with `owner`, before the descriptor is closed: the other order aborts in libuv.
 * An error thrown by `onReadable` becomes an uncaught exception, as from any event handler.
 * @param onClosed called once, when the watch has ended
 * @throws SysError where the descriptor can't be polled, BusyError where it is watched already
 */
export function watchReadable(
  fd: number,
  owner: Lease,
  onReadable: () => void,
  onClosed: () => void = () => {},
): Watch {
  owner.assertOpen();
  if (watched.has(fd)) throw new BusyError(`fd ${fd} (${owner.label}) is watched already`);
  assertPollable(fd);
  let active = true;
  let pending = false;
  const handle = koffi.node.poll(fd, { readable: true }, () => {
    // Off the poll callback: there an exception would be swallowed and silence the handle for good, and on
    // Node 26 promises resolved from it would not run on. Level triggering calls again if nothing was read.
    if (pending) return;
    pending = true;
    setImmediate(() => {
      pending = false;
      if (active) onReadable();
    });
  });
  const watch = new Watch(
    // The lease keeps the handle referenced; koffi closes one that is collected.
    new Lease(
      `watch of ${owner.label}`,
      () => {
        active = false;
        watched.delete(fd);
        handle.close();
        onClosed();
      },
      owner,
    ),
    handle,
  );
  watched.set(fd, watch);
  return watch;
}

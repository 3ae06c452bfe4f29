/** Descriptors in Node's event loop, each watched by one owner at most. */
import { BusyError } from "../core/errors.js";
import { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { pollReadableFrom } from "./event-poller.js";

/**
 * One uv_poll per descriptor is all libuv allows; a second one would abort the process. Also what keeps a watch
 * from being collected before its owner closes.
 */
const watched = new Map<number, Watch>();

/** A descriptor under watch. Like Node's own handles it keeps the process alive, unless `unref` was called. */
export class Watch extends Resource {
  constructor(
    lease: Lease,
    private readonly handle: { ref(): void; unref(): void },
  ) {
    super(lease);
  }

  /** Keeps the process alive while the watch lasts. The default. */
  ref(): this {
    if (!this.closed) this.handle.ref();
    return this;
  }

  /** Lets the process end although the watch lasts. */
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
  const handle = pollReadableFrom(fd, onReadable);
  const watch = new Watch(
    // The lease keeps the handle referenced: koffi closes one that is collected.
    new Lease(
      `watch of ${owner.label}`,
      () => {
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

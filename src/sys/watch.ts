/** Descriptors in Node's event loop, each watched by one owner at most. */
import { BusyError } from "../core/errors.js";
import { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { type PollHandle, pollReadableFrom } from "./event-poller.js";

/**
 * The open polls of this thread, by descriptor. libuv allows one for each, and aborts the process at a second one. The entry
 * also keeps V8 from collecting the watch before its owner closes.
 */
const watched = new Map<number, { readonly watch: Watch; readonly handle: PollHandle }>();

/** Ends the polls before the environment of the thread ends. Watches stay open: other exit listeners may still close them. */
const endPolls = (): void => {
  for (const { handle } of watched.values()) handle.close();
};
let isExitWatched = false;

/** A watched descriptor. Like Node's own handles, it keeps the process alive, unless `unref` was called. */
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
 * The watch ends with `owner`, before the descriptor closes: the other order aborts in libuv.
 * An error thrown by `onReadable` becomes an uncaught exception, as from any event handler.
 * @param onClosed called once, when the watch has ended
 * @throws SysError if the descriptor can't be polled, BusyError if it is watched already
 */
export function watchReadable(
  fd: number,
  owner: Lease,
  onReadable: () => void,
  onClosed: () => void = () => {},
): Watch {
  owner.assertOpen();
  if (watched.has(fd))
    throw new BusyError(`${owner.label} (descriptor ${fd}) is watched already: close the other watch first`);
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
  watched.set(fd, { watch, handle });
  if (!isExitWatched) process.once("exit", endPolls);
  isExitWatched = true;
  return watch;
}

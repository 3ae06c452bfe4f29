/**
 * Polls descriptors in the event loop: with koffi's uv_poll on the main thread, and on worker threads with an epoll set behind
 * one of Node's own handles.
 *
 * koffi calls into JavaScript from its poll callback, and aborts the process if JavaScript may not run any more. That happens
 * on a worker that `terminate()` is ending. Node's own handles check for it. None of them only polls, but a UDP socket works:
 * its descriptor is replaced by the epoll set. When the set has an event, the socket reports a failed recvmsg(2) (ENOTSOCK)
 * and takes nothing. Node closes it when the thread ends.
 */
import type * as Dgram from "node:dgram";
import { isMainThread } from "node:worker_threads";
import { Errno } from "../core/errno.js";
import { SysError } from "../core/errors.js";
import { lazily } from "../core/lazy.js";
import { requireFromHere } from "../core/module-url.js";
import { descriptorError, O_CLOEXEC } from "./descriptors.js";
import { koffi } from "./koffi.js";
import { c, lastErrno } from "./libc.js";

/** Only workers need it. */
const dgram = lazily((): typeof Dgram => requireFromHere("node:dgram"));

/** Ends a poll and says whether it keeps the process alive. */
export interface PollHandle {
  ref(): void;
  unref(): void;
  close(): void;
}

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLLIN = 1;
/** struct epoll_event is packed on x86-64 only. */
const EVENT_WORDS = process.arch === "x64" ? 3 : 4;
const DATA_WORD = EVENT_WORDS - 2;
const MOST_EVENTS = 64;

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;

function newEpollSet(): number {
  const fd = c().epollCreate1(EPOLL_CLOEXEC);
  if (fd < 0) throw new SysError("epoll_create1", lastErrno());
  return fd;
}

function addTo(set: number, fd: number): number {
  const event = new Uint32Array(EVENT_WORDS);
  event[0] = EPOLLIN;
  event[DATA_WORD] = fd;
  return c().epollCtl(set, EPOLL_CTL_ADD, fd, event) < 0 ? lastErrno() : 0;
}

function watchError(errno: number, fd: number): SysError {
  const hint =
    errno === Errno.EPERM
      ? "files and folders can't be watched: give an eventfd, a socket or a pipe"
      : undefined;
  return descriptorError("epoll_ctl", errno, fd, hint);
}

/** @throws SysError if epoll refuses the descriptor, for example a regular file: libuv would abort the process */
function assertPollable(fd: number): void {
  const probe = newEpollSet();
  const errno = addTo(probe, fd);
  c().close(probe);
  if (errno !== 0) throw watchError(errno, fd);
}

function pollByKoffi(fd: number, onReadable: () => void): PollHandle {
  assertPollable(fd);
  let pending = false;
  let active = true;
  const handle = koffi().node.poll(fd, { readable: true }, () => {
    // Not in the poll callback: an exception there would be lost and stop the handle, and on Node 26 promises resolved there
    // would not continue. Level triggering calls again if nothing was read.
    if (pending) return;
    pending = true;
    setImmediate(() => {
      pending = false;
      if (active) onReadable();
    });
  });
  return {
    ref: () => handle.ref(),
    unref: () => handle.unref(),
    close: () => {
      if (active) handle.close();
      active = false;
    },
  };
}

/** All polls of one worker thread. */
class EpollSet {
  private readonly listeners = new Map<number, () => void>();
  private readonly refs = new Set<number>();
  private readonly events = new Uint32Array(new ArrayBuffer(4 * EVENT_WORDS * MOST_EVENTS));

  private constructor(
    private readonly socket: Dgram.Socket,
    private readonly set: number,
  ) {
    socket.on("error", () => this.dispatch());
    socket.unref();
  }

  /** @throws SysError */
  static create(): EpollSet {
    const fd = c().socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) throw new SysError("socket", lastErrno());
    const socket = dgram().createSocket("udp4");
    socket.bind({ fd, exclusive: true });
    const set = newEpollSet();
    const result = c().dup3(set, fd, O_CLOEXEC);
    const errno = lastErrno();
    c().close(set);
    if (result < 0) {
      socket.close();
      throw new SysError("dup3", errno);
    }
    return new EpollSet(socket, fd);
  }

  add(fd: number, onReadable: () => void): PollHandle {
    const errno = addTo(this.set, fd);
    if (errno !== 0) throw watchError(errno, fd);
    this.listeners.set(fd, onReadable);
    this.ref(fd);
    return {
      ref: () => this.ref(fd),
      unref: () => this.unref(fd),
      close: () => {
        this.listeners.delete(fd);
        this.unref(fd);
        c().epollCtl(this.set, EPOLL_CTL_DEL, fd, null);
      },
    };
  }

  private ref(fd: number): void {
    this.refs.add(fd);
    this.socket.ref();
  }

  private unref(fd: number): void {
    this.refs.delete(fd);
    if (this.refs.size === 0) this.socket.unref();
  }

  private dispatch(): void {
    const { events, listeners } = this;
    const count = c().epollWait(this.set, events, MOST_EVENTS, 0);
    for (let i = 0; i < count; i++) listeners.get(events[i * EVENT_WORDS + DATA_WORD] ?? -1)?.();
  }
}

let set: EpollSet | undefined;

/**
 * Calls `onReadable` from the event loop as long as `fd` has something to read. Close the handle before the descriptor, and
 * on the main thread before its environment ends. Closing twice is allowed.
 * @throws SysError if the descriptor can't be polled
 */
export function pollReadableFrom(fd: number, onReadable: () => void): PollHandle {
  if (isMainThread) return pollByKoffi(fd, onReadable);
  set ??= EpollSet.create();
  return set.add(fd, onReadable);
}

/**
 * UNIX stream sockets that pass descriptors (unix(7), SCM_RIGHTS), which node:net can't. They are non-blocking and
 * close-on-exec; {@link watchReadable} watches them.
 */
import { lstatSync, type Stats, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { checkString } from "../core/check.js";
import { Errno } from "../core/errno.js";
import { ArgumentError, BusyError, SysError, type SysErrorContext, TimeoutError } from "../core/errors.js";
import { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { adopt, adoptAll } from "./descriptors.js";
import { addressOf, c, keepAlive, lastErrno } from "./libc.js";
import { close, pollWritable } from "./syscalls.js";
import { Watch, watchReadable } from "./watch.js";

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 0x8;
/** Per call, since another process that shares the socket can change its flags. */
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const BACKLOG = 8;
/** sockaddr_un: family, then the path with its terminating zero. */
const PATH_BYTES = 108;
/** The kernel's own limit of descriptors in one message (SCM_MAX_FD). */
const MAX_FDS = 253;

// struct msghdr, iovec and cmsghdr of 64-bit Linux.
const MSG = { name: 0, iov: 16, iovlen: 24, control: 32, controllen: 40, flags: 48, bytes: 56 } as const;
const IOV_BYTES = 16;
const CMSG_HEADER_BYTES = 16;
const CMSG_BYTES = CMSG_HEADER_BYTES + 4 * MAX_FDS + 4;

function socketAddress(path: string): Uint8Array {
  const encoded = Buffer.from(checkString("path", path), "utf8");
  if (encoded.length === 0 || encoded.includes(0))
    throw new ArgumentError("a socket's path must not be empty or contain a zero byte");
  if (encoded.length >= PATH_BYTES) {
    throw new ArgumentError(
      `${path}: a socket's path has at most ${PATH_BYTES - 1} bytes, not ${encoded.length}`,
    );
  }
  const address = new Uint8Array(2 + PATH_BYTES);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(encoded, 2);
  return address;
}

function newSocket(): number {
  const fd = c().socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new SysError("socket", lastErrno());
  return adopt(fd);
}

/** Runs a call; if it fails, closes the descriptor and throws. */
function orClose(fd: number, syscall: string, call: () => number, context: SysErrorContext): void {
  if (call() >= 0) return;
  const errno = lastErrno();
  close(fd);
  throw new SysError(syscall, errno, context);
}

const connectHints: Readonly<Record<string, string>> = {
  ENOENT: "there is no such socket: check the path, and that the server runs",
  ECONNREFUSED: "no server listens there: check that it is a socket, and that the server runs",
  EACCES: "give this user write permission on the socket",
  EAGAIN: "the server accepts no more connections now: try again later",
};

/** The result of {@link UnixSocket.receive}. */
export interface Received {
  /** Bytes; 0 at the end of the stream. */
  readonly count: number;
  /** Descriptors that came with them; the receiver's to close. */
  readonly fds: readonly number[];
}

/** The process at the other end of a connection, as it was when it connected (or listened). */
export interface Peer {
  readonly pid: number;
  /** Its effective user. */
  readonly uid: number;
  /** Its effective group, then the others. */
  readonly gids: readonly number[];
}

const SO_PEERCRED = 17;
const SO_PEERGROUPS = 59;
/** The kernel's own limit of a process's groups (NGROUPS_MAX). */
const MAX_GROUPS = 65_536;

/** One end of a connection. */
export class UnixSocket extends Resource {
  readonly fd: number;
  // Outside V8's moving heap, since the kernel is told their addresses: message header, iovec, control data.
  private readonly header = new DataView(new ArrayBuffer(MSG.bytes + IOV_BYTES + CMSG_BYTES));
  private readonly headerAddress: number;

  /** Takes over a connected descriptor. */
  constructor(fd: number, what: string) {
    super({ label: what, release: () => close(fd) });
    this.fd = fd;
    this.headerAddress = addressOf(this.header);
  }

  /** @throws ArgumentError, SysError: ENOENT, ECONNREFUSED (no server listens, or not a socket), EACCES */
  static connect(path: string): UnixSocket {
    const address = socketAddress(path);
    const fd = newSocket();
    try {
      orClose(fd, "connect", () => c().connect(fd, address, address.length), { object: path });
    } catch (error) {
      throw error instanceof SysError ? error.with({ hint: connectHints[error.code] }) : error;
    }
    return new UnixSocket(fd, `connection to ${path}`);
  }

  /** Two ends of one connection. @throws SysError */
  static pair(what: string): [UnixSocket, UnixSocket] {
    const ends = new Int32Array(2);
    if (c().socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0) {
      throw new SysError("socketpair", lastErrno());
    }
    const [one = -1, other = -1] = adoptAll([...ends]);
    return [new UnixSocket(one, what), new UnixSocket(other, what)];
  }

  /**
   * Sends all bytes, the descriptors with the first. Blocks the thread while the other side has no room.
   * @param bytes outside V8's moving heap (more than 64 bytes, or a Buffer made by alloc)
   * @param timeoutMs for all bytes together: a slow receiver doesn't get more time
   * @throws ArgumentError (more descriptors than the kernel passes), TimeoutError, SysError: EPIPE if the other side is
   *   gone; ClosedError
   */
  send(bytes: Uint8Array, fds: readonly number[], timeoutMs: number): void {
    this.lease.assertOpen();
    if (fds.length > MAX_FDS)
      throw new ArgumentError(
        `a message on ${this.lease.label} takes at most ${MAX_FDS} descriptors, got ${fds.length}`,
      );
    let pending = fds;
    let end: number | undefined;
    for (let done = 0; done < bytes.length; ) {
      const part = bytes.subarray(done);
      this.prepare(part, pending.length === 0 ? 0 : CMSG_HEADER_BYTES + 4 * pending.length, pending);
      const sent = c().sendmsg(this.fd, this.header, MSG_NOSIGNAL | MSG_DONTWAIT);
      keepAlive(bytes);
      if (sent >= 0) {
        done += sent;
        pending = [];
        continue;
      }
      const errno = lastErrno();
      if (errno === Errno.EINTR) continue;
      if (errno !== Errno.EAGAIN) throw new SysError("sendmsg", errno, { object: this.lease.label });
      end ??= performance.now() + timeoutMs;
      const left = Math.ceil(end - performance.now());
      if (left <= 0 || !pollWritable(this.fd, left)) {
        throw new TimeoutError(`sending on ${this.lease.label}`, timeoutMs, {
          hint: "the other side takes nothing",
        });
      }
    }
  }

  /**
   * Receives what there is, up to the length of `target`, and the descriptors that came with it.
   * @param target outside V8's moving heap, as with send()
   * @returns undefined if there is nothing yet
   * @throws SysError: EMFILE if descriptors were lost because this process has too many; ClosedError
   */
  receive(target: Uint8Array): Received | undefined {
    this.lease.assertOpen();
    for (;;) {
      this.prepare(target, CMSG_BYTES, []);
      const count = c().recvmsg(this.fd, this.header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
      keepAlive(target);
      if (count >= 0) return { count, fds: this.takeFds() };
      const errno = lastErrno();
      if (errno === Errno.EAGAIN) return undefined;
      // A reset connection counts as closed.
      if (errno === Errno.ECONNRESET) return { count: 0, fds: [] };
      if (errno !== Errno.EINTR) throw new SysError("recvmsg", errno, { object: this.lease.label });
    }
  }

  /** Who is at the other end: the kernel says it, so it can't be feigned. @throws SysError, ClosedError */
  peer(): Peer {
    this.lease.assertOpen();
    const [pid = 0, uid = 0, gid = 0] = this.option(SO_PEERCRED, new Uint32Array(3));
    return { pid, uid, gids: [gid, ...this.option(SO_PEERGROUPS, new Uint32Array(MAX_GROUPS))] };
  }

  /** getsockopt(2). @returns the words that the kernel has filled */
  private option(name: number, words: Uint32Array<ArrayBuffer>): Uint32Array {
    const length = Uint32Array.of(words.byteLength);
    if (c().getsockopt(this.fd, SOL_SOCKET, name, words, length) < 0)
      throw new SysError("getsockopt", lastErrno(), { object: this.lease.label });
    return words.subarray(0, (length[0] ?? 0) / 4);
  }

  private prepare(bytes: Uint8Array, controlBytes: number, fds: readonly number[]): void {
    const { header, headerAddress } = this;
    const put = (at: number, value: number): void => header.setBigUint64(at, BigInt(value), true);
    put(MSG.name, 0);
    put(MSG.name + 8, 0);
    put(MSG.iov, headerAddress + MSG.bytes);
    put(MSG.iovlen, 1);
    put(MSG.control, controlBytes === 0 ? 0 : headerAddress + MSG.bytes + IOV_BYTES);
    put(MSG.controllen, controlBytes);
    put(MSG.flags, 0);
    put(MSG.bytes, addressOf(bytes));
    put(MSG.bytes + 8, bytes.length);
    if (fds.length === 0) return;
    const at = MSG.bytes + IOV_BYTES;
    put(at, CMSG_HEADER_BYTES + 4 * fds.length);
    header.setUint32(at + 8, SOL_SOCKET, true);
    header.setUint32(at + 12, SCM_RIGHTS, true);
    fds.forEach((fd, i) => {
      header.setInt32(at + CMSG_HEADER_BYTES + 4 * i, fd, true);
    });
  }

  private takeFds(): number[] {
    const { header } = this;
    const length = Number(header.getBigUint64(MSG.controllen, true));
    const base = MSG.bytes + IOV_BYTES;
    const fds: number[] = [];
    for (let at = 0; at + CMSG_HEADER_BYTES <= length; ) {
      const bytes = Number(header.getBigUint64(base + at, true));
      if (bytes < CMSG_HEADER_BYTES || at + bytes > length) break;
      const isRights =
        header.getUint32(base + at + 8, true) === SOL_SOCKET &&
        header.getUint32(base + at + 12, true) === SCM_RIGHTS;
      for (let i = CMSG_HEADER_BYTES; isRights && i + 4 <= bytes; i += 4) {
        fds.push(header.getInt32(base + at + i, true));
      }
      at += Math.ceil(bytes / 8) * 8;
    }
    if ((header.getUint32(MSG.flags, true) & MSG_CTRUNC) !== 0) {
      for (const fd of fds) c().close(fd);
      const hint = "this process has too many descriptors to receive more: raise ulimit -n";
      throw new SysError("recvmsg", Errno.EMFILE, { object: this.lease.label, hint });
    }
    return adoptAll(fds);
  }
}

/** A socket that takes connections. Closing it removes its path. */
export class UnixListener extends Resource {
  readonly fd: number;

  /**
   * @throws ArgumentError, BusyError if a server listens at that path, SysError: EADDRINUSE
   *   (there is a file or folder), ENOENT (no such folder), EACCES
   */
  constructor(readonly path: string) {
    const address = socketAddress(path);
    removeStale(path, address);
    const fd = newSocket();
    try {
      orClose(fd, "bind", () => c().bind(fd, address, address.length), { object: path });
    } catch (error) {
      throw error instanceof SysError ? error.with({ hint: bindHint(error.code, path) }) : error;
    }
    const { ino, dev } = lstatSync(path);
    const remove = (): void => {
      // Another process may have replaced the socket.
      const found = lstatSync(path, { throwIfNoEntry: false });
      if (found?.ino === ino && found.dev === dev) unlinkSync(path);
    };
    if (c().listen(fd, BACKLOG) < 0) {
      const errno = lastErrno();
      close(fd);
      remove();
      throw new SysError("listen", errno, { object: path });
    }
    super({
      label: `socket ${path}`,
      release: () => {
        close(fd);
        remove();
      },
    });
    this.fd = fd;
  }

  /** The next waiting connection; undefined if there is none. @throws SysError, ClosedError */
  accept(): UnixSocket | undefined {
    this.lease.assertOpen();
    for (;;) {
      const fd = c().accept4(this.fd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) return new UnixSocket(adopt(fd), `connection on ${this.path}`);
      const errno = lastErrno();
      if (errno === Errno.EAGAIN) return undefined;
      if (errno !== Errno.EINTR) throw new SysError("accept4", errno, { object: this.path });
    }
  }
}

/** How long a listener rests when it can't accept: what is missing, such as descriptors, isn't there again at once. */
const REST_MS = 100;

/**
 * Takes the connections of a listener from the event loop. While this process is out of descriptors, which clients can bring about,
 * they wait: the listener rests, and doesn't keep a processor busy.
 * @param begin takes one over; if it throws, the connection is closed. A SysError is left at that; others are uncaught exceptions
 * @throws as watchReadable()
 */
export function watchConnections(listener: UnixListener, begin: (socket: UnixSocket) => void): Watch {
  let isRef = true;
  let current: { ref(): unknown; unref(): unknown };
  let timer: NodeJS.Timeout | undefined;
  const lease = new Lease(
    `connections of ${listener.lease.label}`,
    () => clearTimeout(timer),
    listener.lease,
  );
  const listen = (): void => {
    const watch = watchReadable(listener.fd, lease, () => {
      let socket: UnixSocket | undefined;
      try {
        socket = listener.accept();
      } catch (error) {
        if (!(error instanceof SysError)) throw error;
        watch.close();
        timer = setTimeout(listen, REST_MS);
        use(timer);
        return;
      }
      try {
        if (socket !== undefined) begin(socket);
      } catch (error) {
        socket?.close();
        if (!(error instanceof SysError)) throw error;
      }
    });
    use(watch);
  };
  const use = (next: typeof current): void => {
    current = next;
    if (!isRef) next.unref();
  };
  const refer = (value: boolean): void => {
    isRef = value;
    if (value) current.ref();
    else current.unref();
  };
  try {
    listen();
  } catch (error) {
    lease.close();
    throw error;
  }
  return new Watch(lease, { ref: () => refer(true), unref: () => refer(false) });
}

/** Why a socket can't be made at `path`, and what to do. */
function bindHint(code: string, path: string): string | undefined {
  const folder = dirname(path);
  switch (code) {
    case "EADDRINUSE": {
      const isFolder = found(path)?.isDirectory() === true;
      return isFolder
        ? "there is a folder at this path: name a socket inside it, or choose another path"
        : "there is a file at this path that is not a socket: remove it, or choose another path";
    }
    case "ENOENT":
      return `there is no folder ${folder}: create it, or choose another path`;
    case "EACCES":
      return `this user can't write to the folder ${folder}: give it permission, or choose another path`;
    default:
      return undefined;
  }
}

/** What is at `path`; undefined if there is nothing, or this user can't see it: then bind(2) says why. */
function found(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch {
    return undefined;
  }
}

/** Removes the path of a killed server, where no server listens any more. */
function removeStale(path: string, address: Uint8Array): void {
  if (found(path)?.isSocket() !== true) return;
  const fd = newSocket();
  const result = c().connect(fd, address, address.length);
  const errno = lastErrno();
  close(fd);
  if (result < 0 && errno === Errno.ECONNREFUSED) unlinkSync(path);
  else if (result >= 0 || errno === Errno.EAGAIN) throw new BusyError(`a server listens at ${path} already`);
}

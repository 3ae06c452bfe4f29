/** Borrows the descriptors of a function from a server (`iova serve`). */
import { DeviceGoneError, TimeoutError, UnsupportedError } from "../core/errors.js";
import { Resource } from "../core/lifetime/resource.js";
import { close, pollReadable } from "../sys/syscalls.js";
import { UnixSocket } from "../sys/unix-socket.js";
import type { ServedAddress } from "./address.js";
import { type Line, LineReader } from "./line-reader.js";
import { type LentBackend, parseAnswer, requestLine } from "./messages.js";

/** Longest wait for a server's answer, in milliseconds. Opening a function resets it, which may take seconds. */
const ANSWER_MS = 90_000;

/** What was borrowed. Descriptors that nobody takes close with it, and the server takes the function back. */
export class Loan extends Resource {
  private readonly untaken: { fds: readonly number[] };

  private constructor(
    connection: UnixSocket,
    readonly backend: LentBackend,
    fds: readonly number[],
  ) {
    const untaken = { fds };
    const release = (): void => {
      for (const fd of untaken.fds) close(fd);
      untaken.fds = [];
    };
    super({ label: `loan of ${connection.lease.label}`, release, owns: [connection] });
    this.untaken = untaken;
  }

  /**
   * Asks a server for a function. Blocks the thread until the answer is there.
   * @throws as the server says: BusyError, UnsupportedError, ArgumentError (not allowed) and others; SysError: ENOENT, ECONNREFUSED, EACCES
   *   (no server there); TimeoutError, DeviceGoneError (it hung up)
   */
  static of({ socket, bdf }: ServedAddress, backend?: LentBackend): Loan {
    const connection = UnixSocket.connect(socket);
    const reader = new LineReader(connection);
    try {
      connection.send(requestLine({ open: bdf, backend }), [], ANSWER_MS);
      const { text, fds } = answerOf(socket, connection, reader);
      try {
        return new Loan(connection, granted(socket, text, fds), fds);
      } catch (error) {
        for (const fd of fds) close(fd);
        throw error;
      }
    } catch (error) {
      reader.close();
      connection.close();
      throw error;
    }
  }

  /** The character device and an iommufd, or a group and a container; undefined if this process has borrowed the group already. */
  get fds(): readonly [number, number] | undefined {
    const [one, other] = this.untaken.fds;
    return one === undefined || other === undefined ? undefined : [one, other];
  }

  /** From now on the descriptors are somebody else's to close. */
  taken(): void {
    this.untaken.fds = [];
  }
}

function answerOf(path: string, socket: UnixSocket, reader: LineReader): Line {
  const end = performance.now() + ANSWER_MS;
  try {
    for (;;) {
      const line = reader.read();
      if (line !== undefined) return line;
      const left = Math.ceil(end - performance.now());
      if (left <= 0 || !pollReadable(socket.fd, left))
        throw new TimeoutError(`the server at ${path}`, ANSWER_MS);
    }
  } catch (error) {
    if (error instanceof DeviceGoneError)
      throw new DeviceGoneError(`the server at ${path}`, "hung up before it answered: its log says why", {
        cause: error,
      });
    if (error instanceof RangeError) throw noServer(path, error);
    throw error;
  }
}

function granted(path: string, text: string, fds: readonly number[]): LentBackend {
  const backend = parseAnswer(text);
  if (fds.length !== 2 && !(backend === "type1" && fds.length === 0))
    throw noServer(path, new RangeError(`${fds.length} descriptors in place of 2`));
  return backend;
}

function noServer(path: string, cause: Error): UnsupportedError {
  return new UnsupportedError(`the program at ${path} is no server of "iova serve": ${cause.message}`, {
    cause,
  });
}

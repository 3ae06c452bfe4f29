/** One connection to the server: a request, its answer, and the loan until the connection ends. */
import { DeviceGoneError, SysError } from "../../core/errors.js";
import { close } from "../../sys/syscalls.js";
import type { Peer, UnixSocket } from "../../sys/unix-socket.js";
import { watchReadable } from "../../sys/watch.js";
import { LineReader } from "../line-reader.js";
import { refusalLine } from "../messages.js";

/** How long an answer may take to be received, in milliseconds. It fits into the empty socket, so this is never waited for. */
const SEND_MS = 1000;

/** What a connection needs of its server. */
export interface ClientHost {
  /** Time limit of a request, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** Executes a request: it calls grant(), or throws what the client is told. */
  request(client: Client, line: string): void;
  /** The connection has ended. @param why it wasn't the client's end, in words for people */
  ended(client: Client, why: string | undefined): void;
}

/** A connection. Nothing that arrives on it throws. */
export class Client {
  private readonly reader: LineReader;
  private readonly timer: NodeJS.Timeout;
  private isAnswered = false;

  /** @throws BusyError, SysError; the socket is the caller's to close then */
  constructor(
    private readonly socket: UnixSocket,
    readonly peer: Peer,
    private readonly host: ClientHost,
  ) {
    this.reader = new LineReader(socket);
    watchReadable(socket.fd, socket.lease, () => this.receive()).relinquish();
    this.timer = setTimeout(
      () => this.end(`no request within ${host.requestTimeoutMs} ms`),
      host.requestTimeoutMs,
    );
    this.timer.unref();
  }

  /** Answers with descriptors. @throws SysError, TimeoutError: the client is gone, or doesn't read */
  grant(line: Buffer, fds: readonly number[]): void {
    this.socket.send(line, fds, SEND_MS);
  }

  /** Ends the connection. Descriptors that the client has, it keeps. */
  end(why?: string): void {
    if (this.socket.closed) return;
    clearTimeout(this.timer);
    this.reader.close();
    this.socket.close();
    this.host.ended(this, why);
  }

  private receive(): void {
    try {
      const line = this.reader.read();
      if (line === undefined) return;
      for (const fd of line.fds) close(fd);
      if (this.isAnswered || line.fds.length > 0) {
        this.end(this.isAnswered ? "it sent more than one request" : "it sent descriptors");
        return;
      }
      this.isAnswered = true;
      clearTimeout(this.timer);
      this.answer(line.text);
    } catch (error) {
      if (error instanceof DeviceGoneError) this.end();
      else if (error instanceof RangeError) this.end(`it sent ${error.message}`);
      else if (error instanceof SysError) this.end(error.message);
      else throw error;
    }
  }

  private answer(text: string): void {
    try {
      this.host.request(this, text);
    } catch (error) {
      try {
        this.socket.send(refusalLine(error), [], SEND_MS);
      } finally {
        this.end(error instanceof Error ? error.message : String(error));
      }
    }
  }
}

/** Reads one line, and the descriptors that come with it, from a socket. */
import { DeviceGoneError } from "../core/errors.js";
import { append } from "../core/lists.js";
import { close } from "../sys/syscalls.js";
import type { UnixSocket } from "../sys/unix-socket.js";
import { MAX_LINE_BYTES } from "./messages.js";

/** Most descriptors that an answer has. */
const MAX_FDS = 2;
const NEWLINE = 10;

/** A line that has arrived. */
export interface Line {
  readonly text: string;
  /** The reader's to close. */
  readonly fds: readonly number[];
}

/** Collects the bytes of one line. close() closes the descriptors of a line that nobody took. */
export class LineReader {
  private readonly bytes = Buffer.alloc(MAX_LINE_BYTES);
  private length = 0;
  private fds: number[] = [];

  constructor(private readonly socket: UnixSocket) {}

  /**
   * Reads what there is.
   * @returns undefined while the line isn't complete
   * @throws DeviceGoneError at the end of the stream; RangeError if a line is too long, has more descriptors than an answer, or
   *   something follows it; SysError
   */
  read(): Line | undefined {
    for (;;) {
      const room = this.bytes.subarray(this.length);
      if (room.length === 0) throw new RangeError(`a line of more than ${MAX_LINE_BYTES} bytes`);
      const received = this.socket.receive(room);
      if (received === undefined) return undefined;
      append(this.fds, received.fds);
      if (this.fds.length > MAX_FDS) throw new RangeError(`more than ${MAX_FDS} descriptors`);
      if (received.count === 0) throw new DeviceGoneError("the other side", "hung up");
      this.length += received.count;
      const end = this.bytes.subarray(0, this.length).indexOf(NEWLINE);
      if (end < 0) continue;
      if (end !== this.length - 1) throw new RangeError("more than one line");
      const line = { text: this.bytes.toString("utf8", 0, end), fds: this.fds };
      this.fds = [];
      return line;
    }
  }

  close(): void {
    for (const fd of this.fds.splice(0)) close(fd);
  }
}

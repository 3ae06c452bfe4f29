/** The command that is being executed. */
import { SQE_WORDS } from "../../../nvme/spec/queue-entries.js";
import { Scatter } from "./scatter.js";
import { MAX_SGL_DESCRIPTORS } from "./sgl-walk.js";

/** Each descriptor, and each page of the longest transfer (4 MiB), may begin a piece. */
const MOST_PIECES = MAX_SGL_DESCRIPTORS + 1024 + 1;

/** What a handler returns instead of a status where the completion comes later. */
export const PENDING = -1;

/**
 * The command being executed. There is one, filled again and again. Its entry is a copy: the host may change the
 * queue's memory while we look at it.
 */
export class Command {
  readonly sqe = new Uint32Array(SQE_WORDS);
  sqid = 0;
  /** DW0 and DW1 of the completion. */
  dw0 = 0;
  dw1 = 0;
  readonly data = new Scatter(MOST_PIECES);
  readonly metadata = new Scatter(MOST_PIECES);
  /** Of an injected fault: transfer this many bytes at most; -1 for all. */
  truncateBytes = -1;
  /** The command has an injected fault: its data takes no shortcuts. */
  faulty = false;
  /** An injected fault: the background operation that the command begins will fail. */
  failsLater = false;

  get opcode(): number {
    return (this.sqe[0] ?? 0) & 0xff;
  }

  get cid(): number {
    return (this.sqe[0] ?? 0) >>> 16;
  }

  get nsid(): number {
    return this.sqe[1] ?? 0;
  }

  /** A command dword, by the specification's number (CDW0 to CDW15). */
  cdw(index: number): number {
    return this.sqe[index] ?? 0;
  }

  /** CDW10 and CDW11: the first block. Beyond 2^53 it isn't exact, but out of every range. */
  get slba(): number {
    return (this.sqe[11] ?? 0) * 2 ** 32 + (this.sqe[10] ?? 0);
  }
}

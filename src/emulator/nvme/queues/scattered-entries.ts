/** Entries of queues that aren't mapped in one piece in this process. */
import { CQE_WORDS, SQE_WORDS } from "../../../nvme/spec/queue-entries.js";
import { publish } from "../../../sys/mmio.js";
import { type HostMemory, newSpan } from "../host/host-memory.js";
import type { EmulatedCq, EmulatedSq } from "./queues.js";

/** Bytes of a completion before the word with the phase bit. */
const BEFORE_PHASE_BYTES = (CQE_WORDS - 1) * 4;

/** Reads and writes such entries, each on its own. An entry never crosses a page, and so never two mappings. */
export class ScatteredEntries {
  private readonly span = newSpan();
  private readonly command = new Uint32Array(new ArrayBuffer(SQE_WORDS * 4));
  private readonly commandBytes = new Uint8Array(this.command.buffer);
  private readonly completion = new Uint32Array(new ArrayBuffer(CQE_WORDS * 4));
  private readonly completionBytes = new Uint8Array(this.completion.buffer);

  constructor(private readonly memory: HostMemory) {}

  /** Copies the entry at the queue's head. @returns false if its memory is gone */
  fetch(sq: EmulatedSq, into: Uint32Array): boolean {
    if (!this.memory.copyFrom(sq.iova + sq.head * sq.entryWords * 4, this.commandBytes)) return false;
    into.set(this.command);
    return true;
  }

  /** Writes an entry to the queue's tail. @returns false if its memory is gone */
  post(cq: EmulatedCq, dw0: number, dw1: number, dw2: number, dw3: number): boolean {
    const { memory, span, completion, completionBytes } = this;
    const iova = cq.iova + cq.tail * CQE_WORDS * 4;
    if (memory.find(iova, CQE_WORDS * 4, true, span)) {
      const { words } = span;
      const at = span.offset / 4;
      words[at] = dw0;
      words[at + 1] = dw1;
      words[at + 2] = dw2;
      publish();
      words[at + 3] = dw3;
      return true;
    }
    completion[0] = dw0;
    completion[1] = dw1;
    completion[2] = dw2;
    completion[3] = dw3;
    // In two steps: in which order a system call writes its bytes isn't defined, and the host reads the phase bit first.
    if (!memory.copyTo(iova, completionBytes.subarray(0, BEFORE_PHASE_BYTES))) return false;
    publish();
    return memory.copyTo(iova + BEFORE_PHASE_BYTES, completionBytes.subarray(BEFORE_PHASE_BYTES));
  }
}

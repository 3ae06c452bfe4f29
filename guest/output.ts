/** Relays output from the guest to this process, or to what a caller passes. */
import type { Readable, Writable } from "node:stream";

/** Where a guest's output goes. A function may return a promise to slow the guest down. */
export type Sink = Writable | ((chunk: Buffer) => void | Promise<void>);

/** Finds the mark that ends a stream, also where it is split between chunks. */
export class MarkSplitter {
  readonly #mark: Buffer;
  #held = Buffer.alloc(0);
  #found = false;

  constructor(mark: string) {
    this.#mark = Buffer.from(mark);
  }

  get found(): boolean {
    return this.#found;
  }

  /** The part of the stream that is certainly before the mark. */
  push(chunk: Buffer): Buffer {
    if (this.#found) return Buffer.alloc(0);
    const data = Buffer.concat([this.#held, chunk]);
    const at = data.indexOf(this.#mark);
    this.#found = at >= 0;
    const end = this.#found ? at : data.length - this.#startOfMarkAtEnd(data);
    this.#held = this.#found ? Buffer.alloc(0) : data.subarray(end);
    return data.subarray(0, end);
  }

  /** The possible start of a mark at which the stream ended. */
  rest(): Buffer {
    return this.#held;
  }

  #startOfMarkAtEnd(data: Buffer): number {
    let length = Math.min(this.#mark.length - 1, data.length);
    while (length > 0 && !data.subarray(data.length - length).equals(this.#mark.subarray(0, length)))
      length--;
    return length;
  }
}

/** The guest's output can't be written: the reader has closed, or the disk is full. */
export class BrokenSinkError extends Error {
  override name = "BrokenSinkError";
}

/** Passes a stream on up to its mark. @returns whether the mark came, which means that the stream is complete */
export async function relay(
  source: Readable,
  mark: string,
  pass: (chunk: Buffer) => Promise<void>,
): Promise<boolean> {
  const splitter = new MarkSplitter(mark);
  try {
    for await (const chunk of source) {
      const part = splitter.push(Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk)));
      if (part.length > 0) await pass(part);
      if (splitter.found) return true;
    }
  } catch (error) {
    // A connection that the other side resets is an end without a mark, too.
    if (error instanceof BrokenSinkError) throw error;
  }
  if (splitter.rest().length > 0) await pass(splitter.rest());
  return false;
}

/** Resolves when the sink is ready for more. */
export async function deliver(sink: Sink, chunk: Buffer): Promise<void> {
  try {
    if (typeof sink === "function") await sink(chunk);
    else await write(sink, chunk);
  } catch (error) {
    throw new BrokenSinkError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

async function write(stream: Writable, chunk: Buffer): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    // A stream reports a broken pipe twice; without a listener, the event would end the process.
    stream.once("error", reject);
    stream.write(chunk, (error) => {
      if (error) {
        reject(error);
        return;
      }
      stream.removeListener("error", reject);
      resolve();
    });
  });
}

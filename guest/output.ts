import type { Readable, Writable } from "node:stream";

/** Where a guest's output goes. A function may return a promise to slow the guest down. */
export type Sink = Writable | ((chunk: Buffer) => void | Promise<void>);

/** Takes a stream apart at the mark that ends it, wherever the chunks happen to be cut. */
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

  /** What of the stream is certain to stand before the mark. */
  push(chunk: Buffer): Buffer {
    if (this.#found) return Buffer.alloc(0);
    const data = Buffer.concat([this.#held, chunk]);
    const at = data.indexOf(this.#mark);
    this.#found = at >= 0;
    const end = this.#found ? at : data.length - this.#startOfMarkAtEnd(data);
    this.#held = this.#found ? Buffer.alloc(0) : data.subarray(end);
    return data.subarray(0, end);
  }

  /** What looked like the start of a mark when the stream broke off. */
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

/** Passes a stream on up to its mark. True: the mark came, so nothing is missing. */
export async function relay(source: Readable, mark: string, sink: Sink): Promise<boolean> {
  const splitter = new MarkSplitter(mark);
  for await (const chunk of source) {
    const part = splitter.push(Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk)));
    if (part.length > 0) await deliver(sink, part);
    if (splitter.found) return true;
  }
  if (splitter.rest().length > 0) await deliver(sink, splitter.rest());
  return false;
}

async function deliver(sink: Sink, chunk: Buffer): Promise<void> {
  if (typeof sink === "function") {
    await sink(chunk);
    return;
  }
  await new Promise<void>((resolve, reject) => {
    sink.write(chunk, (error) => (error ? reject(error) : resolve()));
  });
}

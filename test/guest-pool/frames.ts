/** Messages over a byte stream: each is its length, four bytes little-endian, and a structured clone. */
import { deserialize, serialize } from "node:v8";

const HEADER_BYTES = 4;

export function encodeFrame(message: unknown): Buffer {
  const body = serialize(message);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(body.length);
  return Buffer.concat([header, body]);
}

/** Takes a stream's bytes as they come, and gives each message once it is whole. */
export class FrameReader {
  #parts: Buffer[] = [];
  #length = 0;

  read(chunk: Buffer): unknown[] {
    this.#parts.push(chunk);
    this.#length += chunk.length;
    const messages: unknown[] = [];
    for (let size = this.#size(); size !== undefined; size = this.#size()) {
      const all = Buffer.concat(this.#parts);
      messages.push(deserialize(all.subarray(HEADER_BYTES, size)));
      this.#parts = [all.subarray(size)];
      this.#length -= size;
    }
    return messages;
  }

  /** The bytes of the first message with its header, if all of them are here. */
  #size(): number | undefined {
    if (this.#length < HEADER_BYTES) return undefined;
    const [first = Buffer.alloc(0)] = this.#parts;
    if (first.length < HEADER_BYTES) this.#parts = [Buffer.concat(this.#parts)];
    const size = HEADER_BYTES + (this.#parts[0]?.readUInt32LE() ?? 0);
    return this.#length < size ? undefined : size;
  }
}

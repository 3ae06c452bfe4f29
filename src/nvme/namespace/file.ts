/** A namespace as a file of bytes, in the shape of Node.js's FileHandle. */
import { Readable, Writable } from "node:stream";
import { ReadableStream } from "node:stream/web";
import { isArrayBufferView } from "node:util/types";
import { checkArray, checkInteger, checkKeys, checkOffset, show } from "../../core/check.js";
import { Errno } from "../../core/errno.js";
import { ArgumentError, ClosedError, SysError, UnsupportedError } from "../../core/errors.js";
import { checkSignal } from "../../core/listeners.js";
import type { PlainBytes } from "./plain-bytes.js";
import { RangeLocks } from "./range-locks.js";

/** What a file needs of its namespace. */
export interface FiledBlocks {
  readonly nsid: number;
  readonly blockSizeBytes: number;
  readonly sizeBlocks: bigint;
  readRange(lba: number, target: PlainBytes): Promise<void>;
  writeRange(lba: number, source: PlainBytes): Promise<void>;
  flush(): Promise<void>;
}

/** Options of {@link NvmeFile.read} and {@link NvmeFile.write}. */
export interface FileIoOptions {
  /** First byte in the buffer; 0 by default. */
  readonly offset?: number | undefined;
  /** Number of bytes; to the end of the buffer by default. */
  readonly length?: number | null | undefined;
  /** Byte of the namespace; by default, and for null, where the last operation without a position ended. */
  readonly position?: number | bigint | null | undefined;
}

/** Result of {@link NvmeFile.read}. */
export interface FileRead<T> {
  /** Number of bytes. */
  readonly bytesRead: number;
  /** The memory that has them. */
  readonly buffer: T;
}

/** Result of {@link NvmeFile.write}. */
export interface FileWritten<T> {
  /** Number of bytes: all of them. */
  readonly bytesWritten: number;
  /** What was passed. */
  readonly buffer: T;
}

/** Result of {@link NvmeFile.readv}. */
export interface FileReadParts<T> {
  /** Number of bytes. */
  readonly bytesRead: number;
  /** The memory that has them. */
  readonly buffers: T;
}

/** Result of {@link NvmeFile.writev}. */
export interface FileWrittenParts<T> {
  /** Number of bytes: all of them. */
  readonly bytesWritten: number;
  /** What was passed. */
  readonly buffers: T;
}

/** Options of {@link NvmeFile.createReadStream}. */
export interface FileReadStreamOptions {
  /** First byte; 0 by default. */
  readonly start?: number | undefined;
  /** Last byte; that of the namespace by default. */
  readonly end?: number | undefined;
  /** Bytes of a piece; 128 KiB by default. */
  readonly highWaterMark?: number | undefined;
  /** Destroys the stream. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@link NvmeFile.createWriteStream}. */
export interface FileWriteStreamOptions {
  /** First byte; 0 by default. */
  readonly start?: number | undefined;
  /** Sends a Flush before the stream emits `finish`. */
  readonly flush?: boolean | undefined;
  /** Destroys the stream. */
  readonly signal?: AbortSignal | undefined;
}

const ioOptions: readonly (keyof FileIoOptions)[] = ["offset", "length", "position"];
const readStreamOptions: readonly (keyof FileReadStreamOptions)[] = [
  "start",
  "end",
  "highWaterMark",
  "signal",
];
const writeStreamOptions: readonly (keyof FileWriteStreamOptions)[] = ["start", "flush", "signal"];

const DEFAULT_READ_BYTES = 16_384;
const DEFAULT_PIECE_BYTES = 128 * 1024;

/**
 * The bytes of a namespace, at any offset and of any length. The methods take and return what those of `fs.promises.FileHandle` do, so
 * that code for files works on it. A write of a part of a block reads the block first. Operations that overlap run one after the
 * other, in order; those of other programs, and of the namespace's own methods, aren't seen.
 */
export class NvmeFile implements AsyncDisposable {
  /** Size in bytes. It never changes. */
  readonly sizeBytes: number;
  private readonly locks = new RangeLocks();
  private position = 0;
  private isClosed = false;

  /** @internal Use {@link NvmeNamespace.openFile}. */
  constructor(private readonly blocks: FiledBlocks) {
    const size = blocks.sizeBlocks * BigInt(blocks.blockSizeBytes);
    if (size > BigInt(Number.MAX_SAFE_INTEGER))
      throw new UnsupportedError(`namespace ${blocks.nsid} has ${size} bytes, more than a number can count`);
    this.sizeBytes = Number(size);
  }

  /**
   * Reads bytes, into a Buffer of 16 KiB by default. Fewer than asked for are read at the end, and none beyond it.
   * @throws ArgumentError, ClosedError, NvmeError, TimeoutError, DeviceGoneError, as a rejection
   */
  read<T extends NodeJS.ArrayBufferView = Buffer>(
    options?: FileIoOptions & { readonly buffer?: T | undefined },
  ): Promise<FileRead<T>>;
  read<T extends NodeJS.ArrayBufferView>(buffer: T, options?: FileIoOptions | null): Promise<FileRead<T>>;
  read<T extends NodeJS.ArrayBufferView>(
    buffer: T,
    offset?: number | null,
    length?: number | null,
    position?: number | bigint | null,
  ): Promise<FileRead<T>>;
  async read(
    first?:
      | NodeJS.ArrayBufferView
      | (FileIoOptions & { readonly buffer?: NodeJS.ArrayBufferView | undefined }),
    second?: FileIoOptions | number | null,
    length?: number | null,
    position?: number | bigint | null,
  ): Promise<FileRead<NodeJS.ArrayBufferView>> {
    if (first !== undefined && !isArrayBufferView(first))
      checkKeys("options", first, ["buffer", ...ioOptions]);
    const { buffer = Buffer.alloc(DEFAULT_READ_BYTES), ...given } = isArrayBufferView(first)
      ? { buffer: first, ...optionsOf(second, length, position) }
      : (first ?? {});
    const bytes = bytesOf(buffer, given);
    const at = this.placeOf(given.position);
    const bytesRead = Math.max(0, Math.min(bytes.length, this.sizeBytes - at.position));
    if (bytesRead > 0) await this.readAt(at.position, [bytes.subarray(0, bytesRead)]);
    at.advance(bytesRead);
    return { bytesRead, buffer };
  }

  /**
   * Writes bytes, or a string.
   * @throws as read(); SysError ENOSPC if they reach beyond the end, with nothing written
   */
  write<T extends NodeJS.ArrayBufferView>(buffer: T, options?: FileIoOptions | null): Promise<FileWritten<T>>;
  write<T extends NodeJS.ArrayBufferView>(
    buffer: T,
    offset?: number | null,
    length?: number | null,
    position?: number | bigint | null,
  ): Promise<FileWritten<T>>;
  write(
    text: string,
    position?: number | bigint | null,
    encoding?: BufferEncoding | null,
  ): Promise<FileWritten<string>>;
  async write(
    data: NodeJS.ArrayBufferView | string,
    second?: FileIoOptions | number | bigint | null,
    third?: number | BufferEncoding | null,
    position?: number | bigint | null,
  ): Promise<FileWritten<NodeJS.ArrayBufferView | string>> {
    let bytes: Uint8Array;
    let where: number | bigint | null | undefined;
    if (typeof data === "string") {
      bytes = Buffer.from(data, encodingOf(third));
      where = typeof second === "object" ? null : second;
    } else {
      const given = optionsOf(second, third, position);
      bytes = bytesOf(data, given);
      where = given.position;
    }
    const at = this.placeOf(where);
    await this.writeAt(at.position, [bytes]);
    at.advance(bytes.length);
    return { bytesWritten: bytes.length, buffer: data };
  }

  /** Reads into several buffers, one after the other. @throws as read() */
  async readv<T extends readonly NodeJS.ArrayBufferView[]>(
    buffers: T,
    position?: number | bigint | null,
  ): Promise<FileReadParts<T>> {
    checkArray("buffers", buffers);
    const parts = buffers.map((buffer) => bytesOf(buffer, {}));
    const at = this.placeOf(position);
    let left = Math.max(0, this.sizeBytes - at.position);
    const cut = parts.map((part) => {
      const taken = part.subarray(0, left);
      left -= taken.length;
      return taken;
    });
    const bytesRead = lengthOf(cut);
    if (bytesRead > 0) await this.readAt(at.position, cut);
    at.advance(bytesRead);
    return { bytesRead, buffers };
  }

  /** Writes several buffers, one after the other. @throws as write() */
  async writev<T extends readonly NodeJS.ArrayBufferView[]>(
    buffers: T,
    position?: number | bigint | null,
  ): Promise<FileWrittenParts<T>> {
    checkArray("buffers", buffers);
    const parts = buffers.map((buffer) => bytesOf(buffer, {}));
    const at = this.placeOf(position);
    await this.writeAt(at.position, parts);
    const bytesWritten = lengthOf(parts);
    at.advance(bytesWritten);
    return { bytesWritten, buffers };
  }

  /** Size, and bytes of a block. @throws ClosedError, as a rejection */
  async stat(): Promise<{
    /** Bytes of the namespace. */
    readonly size: number;
    /** Bytes of a logical block: writes of whole blocks read nothing. */
    readonly blksize: number;
  }> {
    this.assertOpen();
    return { size: this.sizeBytes, blksize: this.blocks.blockSizeBytes };
  }

  /** Waits for the writes under way, and has the controller commit what was written. @throws as read() */
  async sync(): Promise<void> {
    this.assertOpen();
    await this.locks.idle();
    await this.blocks.flush();
  }

  /** The same as {@link sync}. @throws as read() */
  async datasync(): Promise<void> {
    await this.sync();
  }

  /** A stream of the bytes from `start` to `end`, both included. @throws ArgumentError, ClosedError */
  createReadStream(options: FileReadStreamOptions = {}): Readable {
    this.assertOpen();
    checkKeys("options", options, readStreamOptions);
    const { start = 0, end = this.sizeBytes - 1, highWaterMark = DEFAULT_PIECE_BYTES } = options;
    const signal = checkSignal(options.signal);
    checkOffset("start", start);
    checkInteger("end", end, start - 1, this.sizeBytes - 1);
    checkInteger("highWaterMark", highWaterMark, 1, 2 ** 30);
    return Readable.from(this.pieces(start, end + 1, highWaterMark), {
      objectMode: false,
      highWaterMark,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** A web stream of all bytes. @throws ClosedError */
  readableWebStream(): ReadableStream<Uint8Array> {
    this.assertOpen();
    const pieces = this.pieces(0, this.sizeBytes, DEFAULT_PIECE_BYTES);
    return new ReadableStream({
      async pull(controller) {
        const { value, done } = await pieces.next();
        if (done === true) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await pieces.return();
      },
    });
  }

  /** A stream that writes its bytes from `start` on. @throws ArgumentError, ClosedError */
  createWriteStream(options: FileWriteStreamOptions = {}): Writable {
    this.assertOpen();
    checkKeys("options", options, writeStreamOptions);
    const signal = checkSignal(options.signal);
    let at = checkOffset("start", options.start ?? 0);
    const write = (parts: Uint8Array[], end: (error?: Error | null) => void): void => {
      const from = at;
      at += lengthOf(parts);
      this.writeAt(from, parts).then(() => end(), end);
    };
    return new Writable({
      highWaterMark: DEFAULT_PIECE_BYTES,
      write: (chunk: Buffer, _encoding, end) => write([chunk], end),
      writev: (chunks, end) =>
        write(
          chunks.map(({ chunk }) => chunk),
          end,
        ),
      final: (end) => {
        if (options.flush === true) this.sync().then(() => end(), end);
        else end();
      },
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** Waits for what is under way. The namespace and its controller stay open. */
  async close(): Promise<void> {
    this.isClosed = true;
    await this.locks.idle();
  }

  /** Closes it: `await using file = ns.openFile()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private async *pieces(from: number, end: number, pieceBytes: number): AsyncGenerator<Buffer, void, void> {
    const readPiece = async (at: number): Promise<Buffer> => {
      const piece = Buffer.allocUnsafe(Math.min(pieceBytes, end - at));
      await this.readAt(at, [piece]);
      return piece;
    };
    // One piece ahead.
    let next = from < end ? readPiece(from) : undefined;
    for (let at = from; next !== undefined; ) {
      const piece = await next;
      at += piece.length;
      next = at < end ? readPiece(at) : undefined;
      // The loop awaits it later; until then it must not count as an unhandled rejection.
      next?.catch(() => {});
      yield piece;
    }
  }

  private assertOpen(): void {
    if (this.isClosed) throw new ClosedError(`the file of namespace ${this.blocks.nsid}`);
  }

  /** Where an operation begins, and what moves the file's own position. */
  private placeOf(position: number | bigint | null | undefined): {
    readonly position: number;
    advance(bytes: number): void;
  } {
    this.assertOpen();
    if (position === null || position === undefined || position === -1) {
      const { position: own } = this;
      return {
        position: own,
        advance: (bytes) => {
          this.position = own + bytes;
        },
      };
    }
    // Number() throws for others, such as symbols.
    const number = typeof position === "bigint" ? Number(position) : position;
    return { position: checkOffset("position", number), advance: () => {} };
  }

  /** Reads [at, ...) into the parts; inside the namespace. */
  private async readAt(at: number, parts: readonly Uint8Array[]): Promise<void> {
    this.assertOpen();
    const { blockSizeBytes } = this.blocks;
    const end = at + lengthOf(parts);
    const [first, last] = this.blocksOf(at, end);
    const before = at - first * blockSizeBytes;
    const behind = (last + 1) * blockSizeBytes - end;
    await this.locks.run(first, last, false, () =>
      this.blocks.readRange(first, [new Uint8Array(before), ...parts, new Uint8Array(behind)]),
    );
  }

  private async writeAt(at: number, parts: readonly Uint8Array[]): Promise<void> {
    this.assertOpen();
    const { blocks, sizeBytes } = this;
    const { blockSizeBytes, nsid } = blocks;
    const end = at + lengthOf(parts);
    if (end === at) return;
    if (end > sizeBytes) {
      const object = `bytes ${at} to ${end - 1} of namespace ${nsid}, which has ${sizeBytes}`;
      throw new SysError("write", Errno.ENOSPC, { object });
    }
    const [first, last] = this.blocksOf(at, end);
    const before = at - first * blockSizeBytes;
    const behind = (last + 1) * blockSizeBytes - end;
    await this.locks.run(first, last, true, async () => {
      const head = before > 0 || (behind > 0 && first === last) ? await this.readBlock(first) : undefined;
      const tail = behind === 0 ? undefined : first === last ? head : await this.readBlock(last);
      const whole = [
        ...(head === undefined ? [] : [head.subarray(0, before)]),
        ...parts,
        ...(tail === undefined ? [] : [tail.subarray(blockSizeBytes - behind)]),
      ];
      await blocks.writeRange(first, whole);
    });
  }

  private async readBlock(lba: number): Promise<Uint8Array> {
    const block = new Uint8Array(this.blocks.blockSizeBytes);
    await this.blocks.readRange(lba, block);
    return block;
  }

  /** First and last block of the bytes [at, end). */
  private blocksOf(at: number, end: number): [first: number, last: number] {
    const { blockSizeBytes } = this.blocks;
    return [Math.floor(at / blockSizeBytes), Math.floor((end - 1) / blockSizeBytes)];
  }
}

function lengthOf(parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) sum += part.length;
  return sum;
}

/** The arguments behind the buffer: an object, or numbers in the order of fs.read() and fs.write(). */
function optionsOf(
  second: FileIoOptions | number | bigint | null | undefined,
  length: unknown,
  position: number | bigint | null | undefined,
): FileIoOptions {
  if (typeof second === "object" && second !== null) {
    checkKeys("options", second, ioOptions);
    return second;
  }
  if (typeof second === "bigint") throw new ArgumentError(`offset must be a number, got ${show(second)}`);
  if (length !== undefined && length !== null && typeof length !== "number")
    throw new ArgumentError(`length must be a number, got ${show(length)}`);
  return { offset: second ?? 0, length, position };
}

/** @throws ArgumentError */
function bytesOf(buffer: unknown, { offset = 0, length }: FileIoOptions): Uint8Array {
  if (!isArrayBufferView(buffer))
    throw new ArgumentError(`buffer must be a Buffer, a typed array or a DataView, got ${show(buffer)}`);
  const bytes = bytesBehind(buffer);
  checkOffset("offset", offset, bytes.length);
  const most = bytes.length - offset;
  return bytes.subarray(offset, offset + checkInteger("length", length ?? most, 0, most));
}

/** @throws ArgumentError */
function bytesBehind({ buffer, byteOffset, byteLength }: NodeJS.ArrayBufferView): Uint8Array {
  try {
    return new Uint8Array(buffer, byteOffset, byteLength);
  } catch (cause) {
    throw new ArgumentError("buffer has no memory any more: it was transferred", { cause });
  }
}

/** @throws ArgumentError */
function encodingOf(given: unknown): BufferEncoding {
  if (given === undefined || given === null) return "utf8";
  if (typeof given === "string" && Buffer.isEncoding(given)) return given;
  throw new ArgumentError(`encoding must be one that Buffer knows, got ${show(given)}`);
}

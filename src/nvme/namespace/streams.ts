/** Node.js streams of the blocks of a namespace. */
import { addAbortSignal, Readable, Writable } from "node:stream";
import { checkInteger, checkKeys, checkOffset } from "../../core/check.js";
import { ArgumentError, asError } from "../../core/errors.js";
import { checkSignal } from "../../core/listeners.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import type { ProtectionInformation } from "../protection/information.js";
import type { IoOptions } from "./io-options.js";
import { checkLba } from "./lba.js";
import { type ChunkOptions, DEFAULT_DEPTH, MAX_DEPTH, type NvmeChunk } from "./transfers.js";

/** Options of {@link NvmeNamespace.createReadStream}. */
export interface ReadStreamOptions extends ChunkOptions {
  /** First logical block; 0 by default. */
  readonly lba?: bigint | number | undefined;
  /** Number of blocks; to the end of the namespace by default. */
  readonly blocks?: bigint | number | undefined;
  /** Bytes that the stream buffers, besides the `depth` pieces being read; one piece by default. */
  readonly highWaterMark?: number | undefined;
}

/** Options of {@link NvmeNamespace.createWriteStream}. */
export interface WriteStreamOptions
  extends Pick<ChunkOptions, "depth" | "chunkBytes" | "signal" | "queue" | "fua" | "protection"> {
  /** First logical block; 0 by default. */
  readonly lba?: bigint | number | undefined;
  /** Pads an incomplete last block with zeros; by default it is an error. */
  readonly pad?: boolean | undefined;
  /** Sends a Flush before the stream emits `finish`. */
  readonly flush?: boolean | undefined;
  /** Placement identifier (FDP). */
  readonly placement?: number | undefined;
}

const streamOptions = ["depth", "chunkBytes", "signal", "queue", "fua", "protection", "lba"] as const;
const readStreamOptions: readonly (keyof ReadStreamOptions)[] = [
  ...streamOptions,
  "limitedRetry",
  "blocks",
  "highWaterMark",
];
const writeStreamOptions: readonly (keyof WriteStreamOptions)[] = [
  ...streamOptions,
  "pad",
  "flush",
  "placement",
];

/** What a stream needs of a namespace. */
export interface StreamedBlocks {
  readonly nsid: number;
  readonly blockSizeBytes: number;
  readonly metadataBytes: number;
  readonly sizeBlocks: bigint;
  readonly transferLimitBytes: number;
  readonly protection: ProtectionInformation | undefined;
  chunks(
    lba: bigint | number,
    blocks: bigint | number,
    options: ChunkOptions,
  ): AsyncGenerator<NvmeChunk, void, void>;
  write(lba: bigint, source: DmaBuffer, options: IoOptions): Promise<void>;
  flush(): Promise<void>;
}

const DEFAULT_CHUNK_BYTES = 128 * 1024;

/** See {@link NvmeNamespace.createReadStream}. @throws ArgumentError if an option is invalid */
export function openReadStream(namespace: StreamedBlocks, options: ReadStreamOptions): Readable {
  checkKeys("options", options, readStreamOptions);
  const { lba = 0n, blocks: asked, highWaterMark, ...rest } = options;
  const signal = checkSignal(options.signal);
  checkLba("lba", lba);
  assertPlainBytes(namespace);
  const blocks = asked ?? namespace.sizeBlocks - BigInt(lba);
  const chunkBytes = options.chunkBytes ?? Math.min(DEFAULT_CHUNK_BYTES, namespace.transferLimitBytes);
  const chunks = namespace.chunks(lba, blocks, { ...rest, chunkBytes });
  const copies = copiesOf(chunks);
  // Readable.from() emits `close` after the iterator has ended, and so has freed the buffers.
  return Readable.from(copies, {
    objectMode: false,
    highWaterMark: checkOffset("highWaterMark", highWaterMark ?? chunkBytes),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** Copies each piece, because readers of the stream may hold on to it. */
async function* copiesOf(chunks: ReturnType<StreamedBlocks["chunks"]>): AsyncGenerator<Buffer, void, void> {
  for await (const { bytes } of chunks) yield Buffer.from(bytes);
}

/** See {@link NvmeNamespace.createWriteStream}. @throws ArgumentError if an option is invalid */
export function openWriteStream(
  namespace: StreamedBlocks,
  dma: DmaSpace,
  transferLimitBytes: number,
  options: WriteStreamOptions,
): Writable {
  checkKeys("options", options, writeStreamOptions);
  const { lba = 0n, depth = DEFAULT_DEPTH } = options;
  checkSignal(options.signal);
  checkLba("lba", lba);
  checkInteger("depth", depth, 1, MAX_DEPTH);
  assertPlainBytes(namespace);
  if (lba > namespace.sizeBlocks) {
    throw new ArgumentError(
      `lba ${lba} is past the end of namespace ${namespace.nsid} (${namespace.sizeBlocks} blocks)`,
    );
  }
  const { blockSizeBytes } = namespace;
  const wanted = checkOffset("chunkBytes", options.chunkBytes ?? DEFAULT_CHUNK_BYTES);
  const chunkBytes = Math.floor(Math.min(wanted, transferLimitBytes) / blockSizeBytes) * blockSizeBytes;
  if (chunkBytes === 0)
    throw new ArgumentError(`chunkBytes ${wanted} is less than a block (${blockSizeBytes})`);
  return new BlockWriter(namespace, dma, chunkBytes, BigInt(lba), depth, options);
}

/** Streams carry data without metadata. */
function assertPlainBytes({ metadataBytes, protection, nsid }: StreamedBlocks): void {
  if (metadataBytes === 0 || protection?.isWholeMetadata === true) return;
  throw new ArgumentError(
    `namespace ${nsid} transfers metadata with its blocks, which a stream can't carry: use chunks() or writeRange()`,
  );
}

/** Collects bytes into pieces, and writes up to `depth` of them at a time. */
class BlockWriter extends Writable {
  /** Buffers allocated so far, at most `depth`. */
  private readonly buffers: DmaBuffer[] = [];
  private readonly free: DmaBuffer[] = [];
  private readonly underWay = new Set<Promise<void>>();
  private current: DmaBuffer | undefined;
  private filled = 0;
  private failure: unknown;

  constructor(
    private readonly namespace: StreamedBlocks,
    private readonly dma: DmaSpace,
    private readonly chunkBytes: number,
    private lba: bigint,
    private readonly depth: number,
    private readonly options: WriteStreamOptions,
  ) {
    super({ decodeStrings: true, highWaterMark: chunkBytes });
    // Only now: an aborted signal destroys the stream at once, which needs this object's fields.
    if (options.signal !== undefined) addAbortSignal(options.signal, this);
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.take(chunk).then(() => done(), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.finish().then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    void Promise.allSettled([...this.underWay]).then(() => {
      for (const buffer of this.buffers) buffer.close();
      done(error);
    });
  }

  private async take(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; ) {
      this.current ??= await this.room();
      // The stream was destroyed in the meantime, and frees its buffers.
      if (this.destroyed) return;
      const count = Math.min(chunk.length - at, this.chunkBytes - this.filled);
      this.current.bytes.set(chunk.subarray(at, at + count), this.filled);
      this.filled += count;
      at += count;
      if (this.filled === this.chunkBytes) this.send();
    }
  }

  private async finish(): Promise<void> {
    const { blockSizeBytes } = this.namespace;
    const rest = this.filled % blockSizeBytes;
    if (rest > 0) {
      if (this.options.pad !== true) {
        throw new ArgumentError(
          `the stream ended ${rest} bytes into a block of ${blockSizeBytes}; use the option pad to fill it with zeros`,
        );
      }
      const end = this.filled + blockSizeBytes - rest;
      this.current?.bytes.fill(0, this.filled, end);
      this.filled = end;
    }
    if (this.filled > 0) this.send();
    await Promise.all(this.underWay);
    if (this.failure !== undefined) throw this.failure;
    if (this.options.flush !== true || this.destroyed) return;
    const flushing = this.namespace.flush().finally(() => this.underWay.delete(flushing));
    this.underWay.add(flushing);
    await flushing;
  }

  /** Waits for a free buffer. */
  private async room(): Promise<DmaBuffer> {
    for (;;) {
      if (this.failure !== undefined) throw this.failure;
      const buffer = this.free.pop();
      if (buffer !== undefined) return buffer;
      if (this.buffers.length < this.depth) {
        const fresh = this.dma.alloc(this.chunkBytes);
        this.buffers.push(fresh);
        return fresh;
      }
      await Promise.race(this.underWay);
    }
  }

  /** Writes the collected bytes. @throws ArgumentError past the end of the namespace */
  private send(): void {
    const { current: buffer, filled, namespace } = this;
    if (buffer === undefined) return;
    const blocks = BigInt(filled / namespace.blockSizeBytes);
    if (this.lba + blocks > namespace.sizeBlocks) {
      throw new ArgumentError(
        `namespace ${namespace.nsid} has ${namespace.sizeBlocks} blocks: the stream is too long`,
      );
    }
    const { queue, fua, protection, placement } = this.options;
    const writing = namespace
      .write(this.lba, buffer, { length: filled, queue, fua, protection, placement })
      .then(
        () => {
          this.free.push(buffer);
        },
        (error: unknown) => {
          this.failure ??= error;
          this.destroy(asError(error));
        },
      )
      .finally(() => this.underWay.delete(writing));
    this.underWay.add(writing);
    this.lba += blocks;
    this.current = undefined;
    this.filled = 0;
  }
}

/** Writes, reads back and compares on one controller through one backend. Uses only the public API. */
import { createHash, randomFillSync } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type BackendName, type DmaBuffer, NvmeController, type NvmeNamespace } from "iova";
import { mixedPieces, type Piece } from "./transfers.js";

const REGION_BYTES = 16 * 1024 * 1024;
const PAGE = 4096;
const STREAMS = 8;
const RANDOM_READ_DEPTH = 32;
const WARM_UP_MS = 1500;
const MEASURE_MS = 1500;

/** One run's result, as `--json` prints it. */
export interface RunResult {
  backend: string;
  backendReason: string;
  model: string;
  serial: string;
  firmware: string;
  blockSizeBytes: number;
  mode: "write-read-compare" | "read-compare";
  /** Bytes that were read and compared equal. */
  bytesVerified: number;
  ok: boolean;
  /** Throughput of the mixed-size transfers, in MiB per second. */
  mibPerSecond: number;
  /** 4 KiB random reads per second, 32 in flight. */
  iops: number;
  /** SHA-256 of the blocks, to compare runs. */
  sha256: string;
  error?: string;
}

/** @param write overwrite the region; otherwise read it twice and compare */
export async function exercise(
  target: string,
  backend: BackendName | undefined,
  write: boolean,
): Promise<RunResult> {
  await using nvme = await NvmeController.open(target, { backend });
  const ns = await nvme.namespace(1);
  const totalBytes = Math.min(REGION_BYTES, Number(ns.sizeBlocks) * ns.blockSizeBytes);

  const started = performance.now();
  const expected = new Uint8Array(totalBytes);
  if (write) {
    randomFillSync(expected);
    await transfer(nvme, ns, totalBytes, (piece, buffer) => writePiece(ns, piece, buffer, expected));
    await ns.flush();
  } else await transfer(nvme, ns, totalBytes, (piece, buffer) => readPiece(ns, piece, buffer, expected));
  // With other sizes and offsets than before, so that a mistake made twice is noticed.
  const read = new Uint8Array(totalBytes);
  await transfer(nvme, ns, totalBytes, (piece, buffer) => readPiece(ns, piece, buffer, read));
  const seconds = (performance.now() - started) / 1000;

  const same = countEqual(expected, read, ns.blockSizeBytes);
  return {
    backend: nvme.backend,
    backendReason: nvme.backendReason,
    model: nvme.identify.mn,
    serial: nvme.identify.sn,
    firmware: nvme.identify.fr,
    blockSizeBytes: ns.blockSizeBytes,
    mode: write ? "write-read-compare" : "read-compare",
    bytesVerified: same,
    ok: same === totalBytes,
    mibPerSecond: (2 * totalBytes) / 2 ** 20 / seconds,
    iops: await randomReads(nvme, ns),
    sha256: createHash("sha256").update(read).digest("hex"),
  };
}

/** Transfers all pieces in several concurrent streams, each with its own buffer. */
async function transfer(
  nvme: NvmeController,
  ns: NvmeNamespace,
  totalBytes: number,
  move: (piece: Piece, buffer: DmaBuffer) => Promise<void>,
): Promise<void> {
  const pieces = mixedPieces(totalBytes, ns.blockSizeBytes, nvme.maxTransferBytes).values();
  const streams = Array.from({ length: STREAMS }, async () => {
    using buffer = nvme.dma.alloc(nvme.maxTransferBytes + PAGE);
    for (const piece of pieces) await move(piece, buffer);
  });
  await Promise.all(streams);
}

function lbaOf(ns: NvmeNamespace, piece: Piece): bigint {
  return BigInt(piece.start / ns.blockSizeBytes);
}

async function writePiece(
  ns: NvmeNamespace,
  piece: Piece,
  buffer: DmaBuffer,
  source: Uint8Array,
): Promise<void> {
  const { start, length, bufferOffset: offset } = piece;
  buffer.write(source.subarray(start, start + length), offset);
  await ns.write(lbaOf(ns, piece), buffer, { offset, length });
}

async function readPiece(
  ns: NvmeNamespace,
  piece: Piece,
  buffer: DmaBuffer,
  target: Uint8Array,
): Promise<void> {
  const { start, length, bufferOffset: offset } = piece;
  await ns.read(lbaOf(ns, piece), buffer, { offset, length });
  buffer.read(target.subarray(start, start + length), offset);
}

function countEqual(a: Uint8Array, b: Uint8Array, blockBytes: number): number {
  let equal = 0;
  for (let at = 0; at < a.length; at += blockBytes) {
    if (Buffer.compare(a.subarray(at, at + blockBytes), b.subarray(at, at + blockBytes)) === 0)
      equal += blockBytes;
  }
  return equal;
}

/** Measures reads per second, after a warm-up that lets V8 compile the code. */
async function randomReads(nvme: NvmeController, ns: NvmeNamespace): Promise<number> {
  const perRead = Math.max(1, PAGE / ns.blockSizeBytes);
  const choices = Math.max(1, Number(ns.sizeBlocks) - perRead);
  let running = true;
  let count = 0;
  const streams = Array.from({ length: RANDOM_READ_DEPTH }, async () => {
    using buffer = nvme.dma.alloc(perRead * ns.blockSizeBytes);
    while (running) {
      await ns.read(BigInt(Math.floor(Math.random() * choices)), buffer);
      count++;
    }
  });
  await sleep(WARM_UP_MS);
  const before = count;
  const started = performance.now();
  await sleep(MEASURE_MS);
  const rate = (count - before) / ((performance.now() - started) / 1000);
  running = false;
  await Promise.all(streams);
  return rate;
}

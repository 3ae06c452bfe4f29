/** Makes the plan of `iova nvme perf` of its options, and checks it against the controller and the namespace. */
import { ArgumentError, UnsupportedError } from "../../../core/errors.js";
import { largestOf } from "../../../core/lists.js";
import { SGLS_SUPPORT_MASK } from "../../../nvme/command/sgl.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { MAX_BLOCKS } from "../../../nvme/namespace/block-command.js";
import type { NvmeNamespace } from "../../../nvme/namespace/namespace.js";
import type { PerfOptions } from "./options.js";
import type { PerfPlan } from "./queue.js";
import { type PerfShape, Prinfo } from "./shape.js";

const USUAL_IO_BYTES = 4096;
const COMMAND_TIMEOUT_MS = 30_000;
/** Points of the chart, and the least time of each. */
const MOST_SAMPLES = 100;
const SAMPLE_MS = 100;
/** A queue remembers a byte for each unit that it verifies. */
const MOST_VERIFIED_UNITS = 2 ** 30;

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}

/** @throws ArgumentError, UnsupportedError if the namespace or controller doesn't support what is asked */
export function planOf(options: PerfOptions, nvme: NvmeController, ns: NvmeNamespace): PerfPlan {
  const { nsid, blockSizeBytes, protection } = ns;
  const { workload, depth, prinfo = 0, rate = 0, rateIops = 0, verify, sgl, queues } = options;
  if (prinfo !== 0 && protection === undefined)
    throw new ArgumentError(`--prinfo: namespace ${nsid} has no protection information`);
  if (sgl && (nvme.identify.sgls & SGLS_SUPPORT_MASK) === 0)
    throw new UnsupportedError(`--sgl: ${nvme.bdf} has no SGLs`);
  const isTaken = (prinfo & Prinfo.action) !== 0 && protection?.isWholeMetadata === true;
  const metadataBytes = isTaken ? 0 : ns.metadataBytes;
  const strideBytes = blockSizeBytes + (ns.extendedMetadata ? metadataBytes : 0);
  if (verify && strideBytes % 4 !== 0)
    throw new UnsupportedError(`--verify needs blocks of whole words: these have ${strideBytes} bytes`);

  const most = Math.min(Math.floor(nvme.maxTransferBytes / strideBytes), MAX_BLOCKS);
  const split = options.split ?? [{ ioBytes: Math.max(USUAL_IO_BYTES, blockSizeBytes), percent: 100 }];
  const sizes = split.map(({ ioBytes, percent }) => ({ blocks: ioBytes / blockSizeBytes, percent, ioBytes }));
  for (const { ioBytes, blocks } of sizes) {
    if (!Number.isInteger(blocks)) {
      throw new ArgumentError(
        `${ioBytes} bytes are not a multiple of this namespace's blocks of ${blockSizeBytes}`,
      );
    }
    if (blocks > most) {
      throw new ArgumentError(
        `${ioBytes} bytes are more than one command can carry here (${most * blockSizeBytes})`,
      );
    }
  }
  const unit = sizes.reduce((a, { blocks }) => commonDivisor(a, blocks), 0);
  const largest = largestOf(sizes.map(({ blocks }) => blocks));
  const range = options.rangeBytes ?? Number(ns.sizeBlocks) * blockSizeBytes;
  const places = Math.floor(range / blockSizeBytes / unit);
  if (places * unit > Number(ns.sizeBlocks) || places * unit < largest) {
    throw new ArgumentError(
      `namespace ${nsid} has ${ns.sizeBlocks} blocks of ${blockSizeBytes} bytes: commands of ${largest * blockSizeBytes} bytes in ${range} don't fit`,
    );
  }
  const own = Math.floor(places / queues);
  if (verify && (own < (2 * depth * largest) / unit || own > MOST_VERIFIED_UNITS)) {
    const perQueue = [2 * depth * largest, MOST_VERIFIED_UNITS * unit].map(
      (each) => each * queues * blockSizeBytes,
    );
    throw new ArgumentError(`--verify needs a --size from ${perQueue.join(" to ")} here`);
  }

  // A pass over the range needs the smallest size for its end.
  const ordered = [{ blocks: unit, percent: 0 }, ...sizes].sort((a, b) => a.blocks - b.blocks);
  const shape: PerfShape = {
    readPercent: options.readPercent,
    sizes: ordered.map(({ blocks }, at) => ({
      blocks,
      upTo: ordered.slice(0, at + 1).reduce((sum, { percent }) => sum + percent, 0),
    })),
    blockSizeBytes,
    metadataBytes,
    strideBytes,
    sgl,
    prinfo,
    protection: protection?.format,
    commandRate: rateIops / queues / options.targets.length,
    byteRate: rate / queues / options.targets.length,
    verify,
  };
  const isPlain =
    sizes.length === 1 &&
    ns.metadataBytes === 0 &&
    !workload.endsWith("rw") &&
    !sgl &&
    !verify &&
    rate + rateIops === 0;
  const runMs = options.seconds * 1000;
  return {
    workload,
    depth,
    nsid,
    blocks: unit,
    ioBytes: unit * blockSizeBytes,
    places,
    warmUpMs: options.warmUpSeconds * 1000,
    runMs,
    timeoutMs: COMMAND_TIMEOUT_MS,
    samples: Math.min(Math.max(Math.floor(runMs / SAMPLE_MS), 1), MOST_SAMPLES),
    held: verify || options.steady !== undefined,
    shape: isPlain ? undefined : shape,
  };
}

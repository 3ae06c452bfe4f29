/** Copy: blocks of a namespace to other blocks of it or of another namespace, without the host. */
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { EmulatedNamespace } from "../../medium/namespace.js";
import type { BlockBuffers } from "./block-buffers.js";
import type { IoContext } from "./io-context.js";
import type { IoOutcomes } from "./outcomes.js";

/** Bytes of a source range in formats 0 and 2. */
const RANGE_BYTES = 32;

/** What Copy takes at most (MSRC zero-based, MSSRL, MCL). */
export const copyLimits = { ranges: 128, blocksPerRange: 2048, blocks: 65_536 } as const;

/** Source ranges within the namespace, and such that name theirs. */
const Format = { within: 0, across: 2 } as const;
/** OCFS: both. */
export const COPY_FORMATS = (1 << Format.within) | (1 << Format.across);

type Source = [namespace: EmulatedNamespace, lba: number, blocks: number];

/** The Copy command, with source ranges in format 0, and in format 2 if the host has enabled that. */
export class CopyCommand {
  constructor(
    private readonly context: IoContext,
    private readonly buffers: BlockBuffers,
    private readonly outcomes: IoOutcomes,
  ) {}

  execute(namespace: EmulatedNamespace): number {
    const { command } = this.context;
    const format = (command.cdw(12) >>> 8) & 0xf;
    // Protection and zones would need rewriting on the way.
    const isKnown =
      format === Format.within ||
      (format === Format.across && (this.context.copyFormats() & (1 << format)) !== 0);
    if (!isKnown || namespace.protection !== undefined || namespace.zones !== undefined) {
      return NvmeStatus.invalidField;
    }
    const sources: Source[] = [];
    const status = this.fetchSources(namespace, sources, format === Format.across);
    if (status !== NvmeStatus.success) return status;
    const { locks } = this.context;
    if (
      locks !== undefined &&
      sources.some(([source, lba, blocks]) => locks.refuses(source.nsid, lba, blocks, false))
    )
      return NvmeStatus.accessDenied;
    const total = sources.reduce((sum, [, , blocks]) => sum + blocks, 0);
    if (total > copyLimits.blocks) return NvmeStatus.commandSizeLimitExceeded;
    if (command.slba + total > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    if (locks?.refuses(namespace.nsid, command.slba, total, true) === true) return NvmeStatus.accessDenied;
    this.outcomes.otherChanges++;
    return this.copySources(namespace, sources, command.slba);
  }

  /** Fills `sources` with the ranges of the command. @returns a status */
  private fetchSources(target: EmulatedNamespace, sources: Source[], namesSource: boolean): number {
    const { command, transfer } = this.context;
    const count = (command.cdw(12) & 0xff) + 1;
    if (count > copyLimits.ranges) return NvmeStatus.commandSizeLimitExceeded;
    const ranges = new Uint8Array(count * RANGE_BYTES);
    const fetched = transfer.fetch(command, ranges);
    if (fetched !== NvmeStatus.success) return fetched;
    const view = new DataView(ranges.buffer);
    for (let at = 0; at < ranges.length; at += RANGE_BYTES) {
      const namespace = namesSource ? this.context.attached[view.getUint32(at, true)] : target;
      if (namespace === undefined) return NvmeStatus.invalidNamespace;
      const isAlike =
        namespace.blockBytes === target.blockBytes &&
        namespace.metadataBytes === target.metadataBytes &&
        namespace.csi === target.csi &&
        namespace.protection === undefined;
      if (!isAlike) return NvmeStatus.incompatibleNamespace;
      const lba = Number(view.getBigUint64(at + 8, true));
      const blocks = view.getUint16(at + 16, true) + 1;
      if (blocks > copyLimits.blocksPerRange) return NvmeStatus.commandSizeLimitExceeded;
      if (lba + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
      if (namespace.uncorrectable.hasAny(lba, blocks)) return this.outcomes.mediaError();
      sources.push([namespace, lba, blocks]);
    }
    return NvmeStatus.success;
  }

  private copySources(namespace: EmulatedNamespace, sources: readonly Source[], slba: number): number {
    const { buffers } = this;
    const perRound = Math.floor(this.context.maxTransferBytes / namespace.blockBytes);
    let to = slba;
    for (const [source, lba, blocks] of sources) {
      for (let done = 0; done < blocks; done += perRound) {
        const round = Math.min(perRound, blocks - done);
        const loaded = buffers.load(source, lba + done, round);
        if (loaded !== NvmeStatus.success) return loaded;
        const stored = buffers.store(namespace, to, round);
        if (stored !== NvmeStatus.success) return stored;
        to += round;
      }
    }
    return NvmeStatus.success;
  }
}

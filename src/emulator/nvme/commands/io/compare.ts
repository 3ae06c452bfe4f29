/** Compare and Verify: commands that read blocks and send nothing to the host. */
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { EmulatedNamespace } from "../../medium/namespace.js";
import type { BlockBuffers } from "./block-buffers.js";
import type { CommandProtection } from "./command-protection.js";
import type { IoContext } from "./io-context.js";
import type { IoOutcomes } from "./outcomes.js";

/** Compare and Verify. */
export class CompareCommands {
  /** Data of the host, and its metadata behind. */
  private readonly given: Uint8Array;

  constructor(
    private readonly context: IoContext,
    private readonly buffers: BlockBuffers,
    private readonly protection: CommandProtection,
    private readonly outcomes: IoOutcomes,
  ) {
    this.given = new Uint8Array(buffers.data.length + buffers.metadata.length);
  }

  compare(namespace: EmulatedNamespace): number {
    const { buffers, given } = this;
    const lba = this.context.command.slba;
    const blocks = (this.context.command.cdw(12) & 0xffff) + 1;
    const refused = this.checkRange(namespace, lba, blocks);
    if (refused !== NvmeStatus.success) return refused;
    const fetched = buffers.fetch(namespace, blocks);
    if (fetched !== NvmeStatus.success) return fetched;
    const lengthBytes = blocks * namespace.blockBytes;
    const metadataBytes = this.protection.stripsMetadata(namespace) ? 0 : blocks * namespace.metadataBytes;
    given.set(buffers.data.subarray(0, lengthBytes));
    given.set(buffers.metadata.subarray(0, metadataBytes), lengthBytes);
    const loaded = this.loadChecked(namespace, lba, blocks);
    if (loaded !== NvmeStatus.success) return loaded;
    const same =
      equal(given, 0, buffers.data, lengthBytes) &&
      equal(given, lengthBytes, buffers.metadata, metadataBytes);
    return same ? NvmeStatus.success : NvmeStatus.compareFailure;
  }

  verify(namespace: EmulatedNamespace): number {
    const lba = this.context.command.slba;
    const blocks = (this.context.command.cdw(12) & 0xffff) + 1;
    const refused = this.checkRange(namespace, lba, blocks);
    return refused === NvmeStatus.success ? this.loadChecked(namespace, lba, blocks) : refused;
  }

  private checkRange(namespace: EmulatedNamespace, lba: number, blocks: number): number {
    if (lba + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    if (blocks * namespace.blockBytes > this.context.maxTransferBytes) return NvmeStatus.invalidField;
    if (namespace.uncorrectable.hasAny(lba, blocks)) return this.outcomes.mediaError();
    return NvmeStatus.success;
  }

  private loadChecked(namespace: EmulatedNamespace, lba: number, blocks: number): number {
    const loaded = this.buffers.load(namespace, lba, blocks);
    return loaded === NvmeStatus.success ? this.buffers.check(namespace, lba, blocks) : loaded;
  }
}

function equal(a: Uint8Array, from: number, b: Uint8Array, lengthBytes: number): boolean {
  const left = Buffer.from(a.buffer, a.byteOffset + from, lengthBytes);
  return left.equals(b.subarray(0, lengthBytes));
}

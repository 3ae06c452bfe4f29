/** Commands that change the state of blocks without data: Write Zeroes, Dataset Management, Write Uncorrectable. */
import { IO_DEAC, IO_PRACT } from "../../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { EmulatedNamespace } from "../../medium/namespace.js";
import type { ZoneGrant } from "../../medium/zones.js";
import type { BlockBuffers } from "./block-buffers.js";
import type { CommandProtection } from "./command-protection.js";
import type { IoContext } from "./io-context.js";
import type { IoOutcomes } from "./outcomes.js";

/** Dataset Management: bytes of a range, and the attribute for deallocation. */
const DSM_RANGE_BYTES = 16;
const DSM_DEALLOCATE = 1 << 2;

/** Write Zeroes, Dataset Management and Write Uncorrectable. */
export class BlockStateCommands {
  private readonly grant: ZoneGrant = { status: 0, lba: 0 };

  constructor(
    private readonly context: IoContext,
    private readonly buffers: BlockBuffers,
    private readonly protection: CommandProtection,
    private readonly outcomes: IoOutcomes,
  ) {}

  writeZeroes(namespace: EmulatedNamespace): number {
    const { command } = this.context;
    const lba = command.slba;
    const blocks = (command.cdw(12) & 0xffff) + 1;
    if (lba + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    if (namespace.zones !== undefined) {
      namespace.zones.write(lba, blocks, false, this.grant);
      if (this.grant.status !== NvmeStatus.success) return this.grant.status;
    }
    this.outcomes.otherChanges++;
    if (!namespace.deallocate(lba, blocks)) return this.outcomes.writeFault();
    namespace.zones?.advance(lba, blocks);
    if (namespace.protection === undefined || (command.cdw(12) & IO_DEAC) !== 0) return NvmeStatus.success;
    return this.protectZeroes(namespace, lba, blocks);
  }

  /** Zeros that are written, and not deallocated, have protection as any other data. */
  private protectZeroes(namespace: EmulatedNamespace, lba: number, blocks: number): number {
    const { medium, maxTransferBytes } = this.context;
    const { buffers } = this;
    const arguments_ = this.protection.arguments(namespace, lba, true);
    if (arguments_ === undefined) return NvmeStatus.invalidProtectionInformation;
    const { metadataBytes, metadataAt, blockBytes, protection } = namespace;
    const perRound = maxTransferBytes / blockBytes;
    buffers.data.fill(0);
    for (let done = 0; done < blocks; done += perRound) {
      const count = Math.min(perRound, blocks - done);
      buffers.metadata.fill(0, 0, count * metadataBytes);
      if ((arguments_.flags & IO_PRACT) !== 0) {
        protection?.generate(buffers.data, buffers.metadata, count, arguments_);
        arguments_.referenceTag += namespace.record.protection === 3 ? 0 : count;
      }
      const at = metadataAt + (lba + done) * metadataBytes;
      if (!medium.write(at, buffers.metadata, 0, count * metadataBytes)) return this.outcomes.writeFault();
    }
    return NvmeStatus.success;
  }

  datasetManagement(namespace: EmulatedNamespace): number {
    const { command, transfer } = this.context;
    const ranges = new Uint8Array(((command.cdw(10) & 0xff) + 1) * DSM_RANGE_BYTES);
    const status = transfer.fetch(command, ranges);
    if (status !== NvmeStatus.success) return status;
    const view = new DataView(ranges.buffer);
    const parsed: [lba: number, blocks: number][] = [];
    for (let at = 0; at < ranges.length; at += DSM_RANGE_BYTES) {
      const blocks = view.getUint32(at + 4, true);
      const lba = Number(view.getBigUint64(at + 8, true));
      if (lba + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
      parsed.push([lba, blocks]);
    }
    // A zone frees its blocks when it is reset; here deallocation is only a hint.
    if ((command.cdw(11) & DSM_DEALLOCATE) === 0 || namespace.zones !== undefined) return NvmeStatus.success;
    const { locks } = this.context;
    if (parsed.some(([lba, blocks]) => locks?.refuses(namespace.nsid, lba, blocks, true) === true))
      return NvmeStatus.accessDenied;
    this.outcomes.otherChanges++;
    for (const [lba, blocks] of parsed) {
      if (blocks > 0 && !namespace.deallocate(lba, blocks)) return this.outcomes.writeFault();
    }
    return NvmeStatus.success;
  }

  writeUncorrectable(namespace: EmulatedNamespace): number {
    const { command } = this.context;
    const lba = command.slba;
    const blocks = (command.cdw(12) & 0xffff) + 1;
    if (lba + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    if (namespace.zones !== undefined) return NvmeStatus.invalidField;
    this.outcomes.otherChanges++;
    namespace.uncorrectable.add(lba, blocks);
    return NvmeStatus.success;
  }
}

/** Buffers for blocks that can't be copied directly between host and medium. */
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { EmulatedNamespace } from "../../medium/namespace.js";
import type { CommandProtection } from "./command-protection.js";
import type { IoContext } from "./io-context.js";
import type { IoOutcomes } from "./outcomes.js";

/** The blocks of the current command: their data, and their metadata apart. */
export class BlockBuffers {
  readonly data: Uint8Array;
  readonly metadata: Uint8Array;
  /** Data and metadata interleaved. */
  private readonly extended: Uint8Array;

  constructor(
    private readonly context: IoContext,
    private readonly protection: CommandProtection,
    private readonly outcomes: IoOutcomes,
  ) {
    const { maxTransferBytes } = context;
    // Blocks of 512 bytes with 64 of metadata are the most.
    const metadataBytes = maxTransferBytes / 8;
    this.data = new Uint8Array(maxTransferBytes);
    this.metadata = new Uint8Array(metadataBytes);
    this.extended = new Uint8Array(maxTransferBytes + metadataBytes);
  }

  /** Fills the buffers from the medium. @returns a status */
  load(namespace: EmulatedNamespace, lba: number, blocks: number): number {
    const { medium } = this.context;
    const { blockBytes, metadataBytes, dataAt, metadataAt } = namespace;
    const done =
      medium.read(dataAt + lba * blockBytes, this.data, 0, blocks * blockBytes) &&
      (metadataBytes === 0 ||
        medium.read(metadataAt + lba * metadataBytes, this.metadata, 0, blocks * metadataBytes));
    return done ? NvmeStatus.success : this.outcomes.mediaError();
  }

  /** Writes the buffers to the medium. @returns a status */
  store(namespace: EmulatedNamespace, lba: number, blocks: number): number {
    const { medium } = this.context;
    const { blockBytes, metadataBytes, dataAt, metadataAt } = namespace;
    const done =
      medium.write(dataAt + lba * blockBytes, this.data, 0, blocks * blockBytes) &&
      (metadataBytes === 0 ||
        medium.write(metadataAt + lba * metadataBytes, this.metadata, 0, blocks * metadataBytes));
    if (!done) return this.outcomes.writeFault();
    this.outcomes.written(namespace, lba, blocks);
    return NvmeStatus.success;
  }

  /** Checks the protection of loaded blocks as the command asks. @returns a status */
  check(namespace: EmulatedNamespace, lba: number, blocks: number): number {
    const { protection } = namespace;
    if (protection === undefined) return NvmeStatus.success;
    const arguments_ = this.protection.arguments(namespace, lba, false);
    if (arguments_ === undefined) return NvmeStatus.invalidProtectionInformation;
    return protection.check(this.data, this.metadata, blocks, arguments_);
  }

  /** Fills the buffers from the host. @returns a status */
  fetch(namespace: EmulatedNamespace, blocks: number): number {
    const { command, transfer } = this.context;
    const { blockBytes, metadataBytes, record } = namespace;
    const data = this.data.subarray(0, blocks * blockBytes);
    const metadata = this.metadata.subarray(0, blocks * metadataBytes);
    if (metadataBytes === 0) return transfer.fetch(command, data);
    if (this.protection.stripsMetadata(namespace)) {
      metadata.fill(0);
      return transfer.fetch(command, data);
    }
    if (!record.extended) {
      const status = transfer.mapMetadata(command, metadata.length, false);
      if (status !== NvmeStatus.success) return status;
      if (!command.metadata.toBytes(metadata)) return NvmeStatus.dataTransferError;
      return transfer.fetch(command, data);
    }
    const both = this.extended.subarray(0, blocks * (blockBytes + metadataBytes));
    const status = transfer.fetch(command, both);
    if (status !== NvmeStatus.success) return status;
    for (let block = 0; block < blocks; block++) {
      const at = block * (blockBytes + metadataBytes);
      data.set(both.subarray(at, at + blockBytes), block * blockBytes);
      metadata.set(both.subarray(at + blockBytes, at + blockBytes + metadataBytes), block * metadataBytes);
    }
    return NvmeStatus.success;
  }

  /** Sends the buffers to the host. @returns a status */
  send(namespace: EmulatedNamespace, blocks: number): number {
    const { command, transfer } = this.context;
    const { blockBytes, metadataBytes, record } = namespace;
    const data = this.data.subarray(0, blocks * blockBytes);
    if (this.protection.stripsMetadata(namespace)) return transfer.send(command, data);
    const metadata = this.metadata.subarray(0, blocks * metadataBytes);
    if (record.extended) return transfer.send(command, this.interleave(namespace, blocks));
    const mapped = transfer.mapMetadata(command, metadata.length, true);
    if (mapped !== NvmeStatus.success) return mapped;
    const sent = transfer.send(command, data);
    if (sent !== NvmeStatus.success) return sent;
    return command.metadata.fromBytes(metadata) ? NvmeStatus.success : NvmeStatus.dataTransferError;
  }

  private interleave(namespace: EmulatedNamespace, blocks: number): Uint8Array {
    const { blockBytes, metadataBytes } = namespace;
    const into = this.extended;
    for (let block = 0; block < blocks; block++) {
      const at = block * (blockBytes + metadataBytes);
      into.set(this.data.subarray(block * blockBytes, (block + 1) * blockBytes), at);
      into.set(this.metadata.subarray(block * metadataBytes, (block + 1) * metadataBytes), at + blockBytes);
    }
    return into.subarray(0, blocks * (blockBytes + metadataBytes));
  }
}

/** Reads and writes of blocks with metadata. */
import { IO_PRACT } from "../../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { EmulatedNamespace } from "../../medium/namespace.js";
import type { BlockBuffers } from "./block-buffers.js";
import type { CommandProtection } from "./command-protection.js";

/** Read and Write in namespaces whose blocks have metadata. The caller checked the range of blocks. */
export class MetadataCommands {
  constructor(
    private readonly buffers: BlockBuffers,
    private readonly protection: CommandProtection,
  ) {}

  read(namespace: EmulatedNamespace, lba: number, blocks: number): number {
    const { buffers } = this;
    const status = buffers.load(namespace, lba, blocks);
    if (status !== NvmeStatus.success) return status;
    const checked = buffers.check(namespace, lba, blocks);
    return checked === NvmeStatus.success ? buffers.send(namespace, blocks) : checked;
  }

  write(namespace: EmulatedNamespace, lba: number, blocks: number): number {
    const { buffers } = this;
    const status = buffers.fetch(namespace, blocks);
    if (status !== NvmeStatus.success) return status;
    const { protection } = namespace;
    if (protection !== undefined) {
      const arguments_ = this.protection.arguments(namespace, lba, true);
      if (arguments_ === undefined) return NvmeStatus.invalidProtectionInformation;
      if ((arguments_.flags & IO_PRACT) !== 0) {
        protection.generate(buffers.data, buffers.metadata, blocks, arguments_);
      } else {
        const checked = protection.check(buffers.data, buffers.metadata, blocks, arguments_);
        if (checked !== NvmeStatus.success) return checked;
      }
    }
    return buffers.store(namespace, lba, blocks);
  }
}

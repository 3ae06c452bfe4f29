/** The Boot Partition log, and the boot partitions' part of a migration state. */
import { LogPageId } from "../../../nvme/spec/opcodes.js";
import type { Command } from "../host/command.js";
import { type BootPartitions, bootPartitionsState } from "../medium/boot-partitions.js";
import { type AdminService, savedPart } from "./admin-service.js";

const HEADER_BYTES = 16;

/** Boot Partition (LID 15h). Firmware Commit changes the partitions. */
export function bootPartitionLog(command: Command, boot: BootPartitions): AdminService {
  const page = (): Uint8Array => {
    const header = new DataView(new ArrayBuffer(HEADER_BYTES));
    header.setUint8(0, LogPageId.bootPartition);
    header.setUint32(4, boot.info >>> 0, true);
    // LSP: which.
    return Buffer.concat([new Uint8Array(header.buffer), boot.whole((command.cdw(10) >>> 8) & 1)]);
  };
  return {
    logPages: { [LogPageId.bootPartition]: { page } },
    saved: savedPart(
      "bootPartitions",
      bootPartitionsState,
      () => boot.save(),
      (saved) => boot.load(saved),
    ),
  };
}

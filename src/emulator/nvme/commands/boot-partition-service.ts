/** The Boot Partition log, the Boot Partition Write Protection Config feature, and the boot partitions' part of a migration state. */
import { BootPartitionProtection } from "../../../nvme/spec/features.js";
import { FeatureId, FeatureSelect, LogPageId } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import {
  type BootPartitions,
  bootPartitionsState,
  type Protections,
  protectedAtPowerUp,
} from "../medium/boot-partitions.js";
import { type AdminService, savedPart } from "./admin-service.js";
import type { FeatureHandler } from "./features.js";

const HEADER_BYTES = 16;
/** Bits of the state of one boot partition in CDW11. */
const STATE_BITS = 3;
const STATE = 2 ** STATE_BITS - 1;

/** Boot Partition (LID 15h), and FID 85h unless RPMB protects the partitions. Firmware Commit changes them. */
export function bootPartitionService(command: Command, boot: BootPartitions): AdminService {
  const page = (): Uint8Array => {
    const header = new DataView(new ArrayBuffer(HEADER_BYTES));
    header.setUint8(0, LogPageId.bootPartition);
    header.setUint32(4, boot.info >>> 0, true);
    // LSP: which.
    return Buffer.concat([new Uint8Array(header.buffer), boot.whole((command.cdw(10) >>> 8) & 1)]);
  };
  const protection: FeatureHandler = {
    get: (select) => {
      const [first, second] = select === FeatureSelect.current ? boot.protections : protectedAtPowerUp;
      command.dw0 = first | (second << STATE_BITS);
      return NvmeStatus.success;
    },
    set: () => {
      const value = command.cdw(11);
      const asked: Protections = [value & STATE, value >>> STATE_BITS];
      // A reserved bit is part of the second state, and makes it too large.
      if (asked.some((state) => state > BootPartitionProtection.untilPowerCycle))
        return NvmeStatus.invalidField;
      return boot.protect(asked) ? NvmeStatus.success : NvmeStatus.featureNotChangeable;
    },
  };
  return {
    logPages: { [LogPageId.bootPartition]: { page } },
    features: boot.hasRpmb ? {} : { [FeatureId.bootPartitionWriteProtection]: protection },
    saved: savedPart(
      "bootPartitions",
      bootPartitionsState,
      () => boot.save(),
      (saved) => boot.load(saved),
    ),
  };
}

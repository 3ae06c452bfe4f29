/** The only endurance group: its log, and the list of capacity configurations, which has one with this group. */
import {
  CAPACITY_LOG_HEADER_BYTES,
  capacityConfiguration,
  capacityGroup,
  enduranceGroupLog,
} from "../../../nvme/spec/log-pages.js";
import { LogPageId } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { Inventory } from "../medium/inventory.js";
import type { AdminService } from "./admin-service.js";
import { ENDURANCE_GROUP } from "./identify.js";
import { IoCounter } from "./io/outcomes.js";
import type { LogPages } from "./log-pages.js";

/** The log counts in these. */
const UNIT_BYTES = 1_000_000_000;

/** What the log needs of its controller. */
interface EnduranceContext {
  readonly command: Command;
  readonly inventory: Inventory;
  readonly nvm: { readonly counters: Float64Array };
  readonly logPages: LogPages;
}

/** Endurance Group Information of the only group there is. */
export class EnduranceGroup implements AdminService {
  readonly logPages = {
    [LogPageId.enduranceGroup]: { page: () => this.page() },
    [LogPageId.capacityConfigurations]: { page: () => this.configurations() },
  };

  constructor(private readonly context: EnduranceContext) {}

  private page(): Uint8Array | number {
    const { command, nvm, inventory, logPages } = this.context;
    if (command.cdw(11) >>> 16 !== ENDURANCE_GROUP) return NvmeStatus.invalidField;
    const count = (which: number): bigint => BigInt(nvm.counters[which] ?? 0);
    const units = (which: number): bigint => BigInt(Math.ceil((nvm.counters[which] ?? 0) / UNIT_BYTES));
    return enduranceGroupLog.encode({
      availableSpare: 100,
      availableSpareThreshold: 10,
      dataUnitsRead: units(IoCounter.bytesRead),
      dataUnitsWritten: units(IoCounter.bytesWritten),
      mediaUnitsWritten: units(IoCounter.bytesWritten),
      hostReadCommands: count(IoCounter.readCommands),
      hostWriteCommands: count(IoCounter.writeCommands),
      mediaErrors: count(IoCounter.mediaErrors),
      errorLogEntries: BigInt(logPages.save().errorCount),
      totalCapacity: BigInt(inventory.layout.capacityBytes),
      unallocatedCapacity: BigInt(Math.max(0, inventory.unallocatedBytes)),
    });
  }

  /** One configuration: all of the medium in the group. There are no domains (LSI). */
  private configurations(): Uint8Array | number {
    const { command, inventory } = this.context;
    if (command.cdw(11) >>> 16 !== 0) return NvmeStatus.invalidField;
    const header = new Uint8Array(CAPACITY_LOG_HEADER_BYTES);
    header[0] = 1;
    const group = capacityGroup.encode({
      enduranceGroupId: ENDURANCE_GROUP,
      capacityAdjustment: 100,
      totalCapacity: BigInt(inventory.layout.capacityBytes),
    });
    // No channels.
    return Buffer.concat([
      header,
      capacityConfiguration.encode({ configurationId: 1, groups: 1 }),
      group,
      new Uint8Array(2),
    ]);
  }
}

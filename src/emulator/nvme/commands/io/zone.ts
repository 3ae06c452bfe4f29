/** Zone Management Send and Receive. */
import { IoOpcode, ZoneAction, ZoneReceiveAction } from "../../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import {
  NO_WRITE_POINTER,
  ZONE_DESCRIPTOR_BYTES,
  ZONE_PARTIAL_REPORT,
  ZONE_REPORT_HEADER_BYTES,
  ZONE_SELECT_ALL,
  ZONE_SEQUENTIAL_WRITE_REQUIRED,
  ZoneState,
  zoneDescriptor,
  zoneReportHeader,
} from "../../../../nvme/spec/zoned.js";
import type { EmulatedNamespace } from "../../medium/namespace.js";
import type { ZoneSet } from "../../medium/zones.js";
import type { IoContext } from "./io-context.js";

/** States that a report can be limited to (ZRASF); 0 is all zones. */
const reportFilters: readonly (number | undefined)[] = [
  undefined,
  ZoneState.empty,
  ZoneState.implicitlyOpened,
  ZoneState.explicitlyOpened,
  ZoneState.closed,
  ZoneState.full,
  ZoneState.readOnly,
  ZoneState.offline,
];

/** Zones that an action with "select all" is for. */
const selectable: Readonly<Record<number, readonly number[]>> = {
  [ZoneAction.close]: [ZoneState.implicitlyOpened, ZoneState.explicitlyOpened],
  [ZoneAction.finish]: [ZoneState.implicitlyOpened, ZoneState.explicitlyOpened, ZoneState.closed],
  [ZoneAction.open]: [ZoneState.closed],
  [ZoneAction.reset]: [
    ZoneState.implicitlyOpened,
    ZoneState.explicitlyOpened,
    ZoneState.closed,
    ZoneState.full,
  ],
  [ZoneAction.offline]: [ZoneState.readOnly],
};

/** Zone Management Send and Receive (ZNS 1.x). */
export class ZoneCommands {
  constructor(private readonly context: IoContext) {}

  execute(namespace: EmulatedNamespace): number {
    const { zones } = namespace;
    if (zones === undefined) return NvmeStatus.invalidOpcode;
    switch (this.context.command.opcode) {
      case IoOpcode.zoneManagementSend:
        return this.send(namespace, zones);
      case IoOpcode.zoneManagementReceive:
        return this.receive(namespace, zones);
      default:
        return NvmeStatus.invalidOpcode;
    }
  }

  private send(namespace: EmulatedNamespace, zones: ZoneSet): number {
    const { command } = this.context;
    const action = command.cdw(13) & 0xff;
    const states = selectable[action];
    if (states === undefined) return NvmeStatus.invalidField;
    if ((command.cdw(13) & ZONE_SELECT_ALL) !== 0) {
      for (let zone = 0; zone < zones.geometry.zones; zone++) {
        if (!states.includes(zones.states[zone] ?? 0)) continue;
        const status = this.act(namespace, zones, zone, action);
        if (status !== NvmeStatus.success) return status;
      }
      return NvmeStatus.success;
    }
    const lba = command.slba;
    if (lba >= namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    const zone = zones.zoneOf(lba);
    if (lba !== zones.startOf(zone)) return NvmeStatus.invalidField;
    return this.act(namespace, zones, zone, action);
  }

  private act(namespace: EmulatedNamespace, zones: ZoneSet, zone: number, action: number): number {
    switch (action) {
      case ZoneAction.close:
        return zones.closeZone(zone);
      case ZoneAction.finish:
        return zones.finishZone(zone);
      case ZoneAction.open:
        return zones.openZone(zone);
      case ZoneAction.offline:
        return zones.offlineZone(zone);
      default: {
        const hadData = (zones.written[zone] ?? 0) > 0;
        const status = zones.resetZone(zone);
        if (status !== NvmeStatus.success || !hadData) return status;
        const { zoneSizeBlocks } = zones.geometry;
        return namespace.deallocate(zones.startOf(zone), zoneSizeBlocks) ? status : NvmeStatus.writeFault;
      }
    }
  }

  private receive(namespace: EmulatedNamespace, zones: ZoneSet): number {
    const { command, transfer, maxTransferBytes } = this.context;
    const lengthBytes = (command.cdw(12) + 1) * 4;
    const action = command.cdw(13) & 0xff;
    const filter = (command.cdw(13) >>> 8) & 0xff;
    const lba = command.slba;
    // There are no descriptor extensions, which is all that an extended report has more.
    if (action !== ZoneReceiveAction.report || filter >= reportFilters.length) return NvmeStatus.invalidField;
    if (lba >= namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    if (lengthBytes > maxTransferBytes || lengthBytes < ZONE_REPORT_HEADER_BYTES)
      return NvmeStatus.invalidField;
    const state = reportFilters[filter];
    const report = new Uint8Array(lengthBytes);
    const room = Math.floor((lengthBytes - ZONE_REPORT_HEADER_BYTES) / ZONE_DESCRIPTOR_BYTES);
    let matching = 0;
    for (let zone = zones.zoneOf(lba); zone < zones.geometry.zones; zone++) {
      if (state !== undefined && zones.states[zone] !== state) continue;
      if (matching < room) {
        report.set(this.describe(zones, zone), ZONE_REPORT_HEADER_BYTES + matching * ZONE_DESCRIPTOR_BYTES);
      }
      matching++;
    }
    const isPartial = (command.cdw(13) & ZONE_PARTIAL_REPORT) !== 0;
    report.set(zoneReportHeader.encode({ zones: BigInt(isPartial ? Math.min(matching, room) : matching) }));
    return transfer.send(command, report);
  }

  private describe(zones: ZoneSet, zone: number): Uint8Array {
    const state = zones.states[zone] ?? 0;
    const hasPointer =
      state !== ZoneState.full && state !== ZoneState.readOnly && state !== ZoneState.offline;
    return zoneDescriptor.encode({
      zt: ZONE_SEQUENTIAL_WRITE_REQUIRED,
      zs: state,
      zcap: BigInt(zones.geometry.zoneCapacityBlocks),
      zslba: BigInt(zones.startOf(zone)),
      wp: hasPointer ? BigInt(zones.writePointerOf(zone)) : NO_WRITE_POINTER,
    });
  }
}

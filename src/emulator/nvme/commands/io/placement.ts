/** Flexible data placement: reclaim unit handles and their status. */
import * as z from "zod/mini";
import { ArgumentError } from "../../../../core/errors.js";
import { lazily } from "../../../../core/lazy.js";
import { DirectiveType } from "../../../../nvme/spec/directives.js";
import { IoOpcode } from "../../../../nvme/spec/opcodes.js";
import {
  RECLAIM_UNIT_HANDLES,
  reclaimUnitHandle,
  reclaimUnitHeader,
} from "../../../../nvme/spec/placement.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { EmulatedNamespace } from "../../medium/namespace.js";
import { amount, u32 } from "../../medium/state-schema.js";
import type { IoContext } from "./io-context.js";

/** The part of a migration state that holds what still fits into reclaim units, by namespace. */
export const placementState = lazily(() =>
  z
    .array(z.strictObject({ nsid: u32(), available: z.array(amount()).check(z.maxLength(128)) }))
    .check(z.maxLength(128)),
);
export type PlacementState = z.output<ReturnType<typeof placementState>>;

/** Bytes of a reclaim unit. */
export const RECLAIM_UNIT_BYTES = 16 << 20;

/**
 * Flexible data placement: every namespace has the same number of handles, each with the reclaim unit that writes fill.
 * The place of data makes no difference here, but the status that hosts read is correct.
 */
export class PlacementCommands {
  /** Bytes that still fit, by namespace and placement. */
  private readonly available = new Map<number, Float64Array>();

  constructor(
    private readonly context: IoContext,
    private readonly handles: number,
  ) {}

  save(): PlacementState {
    return [...this.available].map(([nsid, available]) => ({ nsid, available: [...available] }));
  }

  /** @throws ArgumentError */
  check(saved: PlacementState): void {
    if (saved.some(({ available }) => available.length !== this.handles)) {
      throw new ArgumentError("invalid saved state: placements that this controller lacks");
    }
  }

  load(saved: PlacementState): void {
    this.available.clear();
    for (const { nsid, available } of saved) this.available.set(nsid, Float64Array.from(available));
  }

  get isEnabled(): boolean {
    return this.handles > 0;
  }

  /** Counts a write. One without a valid placement goes to the first handle. */
  written(namespace: EmulatedNamespace, bytes: number): void {
    const { command } = this.context;
    const named =
      ((command.cdw(12) >>> 20) & 0xf) === DirectiveType.dataPlacement ? command.cdw(13) >>> 16 : 0;
    const placement = named < this.handles ? named : 0;
    const available = this.of(namespace);
    let left = (available[placement] ?? 0) - bytes;
    while (left <= 0) left += RECLAIM_UNIT_BYTES;
    available[placement] = left;
  }

  execute(namespace: EmulatedNamespace): number {
    const { command } = this.context;
    if (!this.isEnabled) return NvmeStatus.invalidOpcode;
    if ((command.cdw(10) & 0xff) !== RECLAIM_UNIT_HANDLES) return NvmeStatus.invalidField;
    return command.opcode === IoOpcode.ioManagementReceive ? this.report(namespace) : this.update(namespace);
  }

  private report(namespace: EmulatedNamespace): number {
    const { command, transfer, maxTransferBytes } = this.context;
    const lengthBytes = (command.cdw(11) + 1) * 4;
    if (lengthBytes > maxTransferBytes) return NvmeStatus.invalidField;
    const { sizeBytes } = reclaimUnitHandle;
    const report = new Uint8Array(reclaimUnitHeader.sizeBytes + this.handles * sizeBytes);
    report.set(reclaimUnitHeader.encode({ nruhsd: this.handles }));
    for (const [placement, bytes] of this.of(namespace).entries()) {
      const ruamw = BigInt(Math.floor(bytes / namespace.blockBytes));
      report.set(
        reclaimUnitHandle.encode({ pid: placement, ruhid: placement, ruamw }),
        reclaimUnitHeader.sizeBytes + placement * sizeBytes,
      );
    }
    const sent = new Uint8Array(lengthBytes);
    sent.set(report.subarray(0, lengthBytes));
    return transfer.send(command, sent);
  }

  private update(namespace: EmulatedNamespace): number {
    const { command, transfer, maxTransferBytes } = this.context;
    const count = (command.cdw(10) >>> 16) + 1;
    if (count * 2 > maxTransferBytes) return NvmeStatus.invalidField;
    const bytes = new Uint8Array(count * 2);
    const status = transfer.fetch(command, bytes);
    if (status !== NvmeStatus.success) return status;
    const placements = new Uint16Array(bytes.buffer);
    if (placements.some((placement) => placement >= this.handles)) return NvmeStatus.invalidField;
    const available = this.of(namespace);
    for (const placement of placements) available[placement] = RECLAIM_UNIT_BYTES;
    return NvmeStatus.success;
  }

  private of({ nsid }: EmulatedNamespace): Float64Array {
    let available = this.available.get(nsid);
    if (available === undefined) {
      available = new Float64Array(this.handles).fill(RECLAIM_UNIT_BYTES);
      this.available.set(nsid, available);
    }
    return available;
  }
}

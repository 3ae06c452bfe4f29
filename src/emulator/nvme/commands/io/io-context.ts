/** What the I/O commands share: the controller's parts that they use. */
import type { Command } from "../../host/command.js";
import type { Transfer } from "../../host/transfer.js";
import type { Medium } from "../../medium/medium.js";
import type { EmulatedNamespace } from "../../medium/namespace.js";
import type { OpalLocks } from "../../medium/opal-locks.js";
import type { ReservationTable } from "../../medium/reservation-table.js";

/** Commands of a queue that haven't completed yet. */
export interface OutstandingCommands {
  /** Namespace of a command; undefined if there is none with this identifier. */
  nsidOf(sqid: number, cid: number): number | undefined;
  /**
   * Completes commands with Command Abort Requested.
   * @param nsid FFFFFFFFh: of any namespace
   * @param cid undefined: all
   * @returns how many
   */
  abort(sqid: number, nsid: number, cid: number | undefined): number;
  /** Aborts commands to a namespace on all queues: Command Aborted due to Preempt and Abort. */
  preempt(nsid: number): void;
  /** Completes the current command after those. */
  completeAfter(dw0: number): void;
}

/** What the commands need of their controller. */
export interface IoContext {
  readonly command: Command;
  readonly transfer: Transfer;
  readonly medium: Medium;
  /** Attached namespaces by id. */
  readonly attached: readonly (EmulatedNamespace | undefined)[];
  /** Why namespaces that are attached are left out there: by id, and FFFFFFFFh for commands to all. */
  readonly refusals: ReadonlyMap<number, number>;
  /** MDTS in bytes. */
  readonly maxTransferBytes: number;
  /** CC.CSS enables all command sets: only then are there zone commands. */
  readonly allCommandSets: boolean;
  readonly controllerId: number;
  readonly outstanding: OutstandingCommands;
  /** What TCG Opal locks; undefined without it. */
  readonly locks: OpalLocks | undefined;
  readonly reservations: ReservationTable;
  /** There is a reservation notification for the host. */
  reservationNoticed(): void;
  /** Copy descriptor formats that the host has enabled (CDFE). */
  copyFormats(): number;
  /** Reclaim unit handles of each namespace (FDP); 0 for none. */
  readonly placements: number;
  /** No read or write may cross a multiple of so many bytes; 0: any may. */
  readonly stripeBytes: number;
}

/** The same, for the parts of the controller that change it. */
export interface MutableIoContext extends IoContext {
  medium: Medium;
  attached: readonly (EmulatedNamespace | undefined)[];
  refusals: ReadonlyMap<number, number>;
  allCommandSets: boolean;
}

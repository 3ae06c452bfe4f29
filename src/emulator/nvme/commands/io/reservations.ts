/** Reservations of namespaces. */
import * as z from "zod/mini";
import { lazily } from "../../../../core/lazy.js";
import { integer } from "../../../../core/options.js";
import { IoOpcode } from "../../../../nvme/spec/opcodes.js";
import {
  extendedRegistrant,
  IGNORE_EXISTING_KEY,
  registrant,
  reservationHeader,
} from "../../../../nvme/spec/reservations.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { EmulatedNamespace } from "../../medium/namespace.js";
import { u32 } from "../../medium/state-schema.js";
import type { IoContext } from "./io-context.js";

/** The part of a migration state that holds reservations, by namespace. */
export const reservationsState = lazily(() =>
  z
    .array(
      z.strictObject({
        nsid: u32(),
        generation: u32(),
        key: z.nullable(z.string().check(z.regex(/^[0-9a-f]{1,16}$/))),
        type: integer(0, 6),
      }),
    )
    .check(z.maxLength(128)),
);
export type ReservationsState = z.output<ReturnType<typeof reservationsState>>;

/** RESCAP: all six types; nothing survives a power loss. */
export const RESERVATION_CAPABILITIES = 0x7e;
const TYPES = 6;
const HOST_ID_BYTES = 16;

/** What a namespace knows of its only host. */
interface Reservation {
  generation: number;
  /** The host's key; undefined where it isn't registered. */
  key: bigint | undefined;
  /** Type of the reservation it holds, 0 for none. */
  type: number;
}

/**
 * Reservations (NVMe Base 2.0) of a subsystem with one controller, and so with one host: keys, states and conflicts are
 * those of the specification, but there is no other host to keep out. They last as long as the emulator runs.
 */
export class ReservationCommands {
  private readonly states = new Map<number, Reservation>();

  constructor(
    private readonly context: IoContext,
    private readonly controllerId: number,
  ) {}

  save(): ReservationsState {
    return [...this.states].map(([nsid, { generation, key, type }]) => ({
      nsid,
      generation,
      key: key === undefined ? null : key.toString(16),
      type,
    }));
  }

  load(saved: ReservationsState): void {
    this.states.clear();
    for (const { nsid, generation, key, type } of saved) {
      this.states.set(nsid, { generation, key: key === null ? undefined : BigInt(`0x${key}`), type });
    }
  }

  execute(namespace: EmulatedNamespace): number {
    const { command } = this.context;
    let state = this.states.get(namespace.nsid);
    if (state === undefined) {
      state = { generation: 0, key: undefined, type: 0 };
      this.states.set(namespace.nsid, state);
    }
    switch (command.opcode) {
      case IoOpcode.reservationRegister:
        return this.register(state);
      case IoOpcode.reservationAcquire:
        return this.acquire(state);
      case IoOpcode.reservationRelease:
        return this.release(state);
      default:
        return this.report(state);
    }
  }

  private register(state: Reservation): number {
    const { command } = this.context;
    const [current = 0n, next = 0n] = this.keys(2);
    if (this.status !== NvmeStatus.success) return this.status;
    const action = command.cdw(10) & 7;
    const ignores = (command.cdw(10) & IGNORE_EXISTING_KEY) !== 0;
    const persistence = command.cdw(10) >>> 30;
    // "Registrations and reservation persist": not here.
    if (persistence === 3 || persistence === 1) return NvmeStatus.invalidField;
    const matches = ignores || state.key === current;
    switch (action) {
      case 0:
        if (state.key !== undefined && state.key !== next) return NvmeStatus.reservationConflict;
        state.key = next;
        break;
      case 1:
        if (state.key === undefined || !matches) return NvmeStatus.reservationConflict;
        state.key = undefined;
        state.type = 0;
        break;
      case 2:
        if (!(state.key === undefined ? ignores : matches)) return NvmeStatus.reservationConflict;
        state.key = next;
        break;
      default:
        return NvmeStatus.invalidField;
    }
    state.generation++;
    return NvmeStatus.success;
  }

  private acquire(state: Reservation): number {
    const { command } = this.context;
    const [current = 0n, preempted = 0n] = this.keys(2);
    if (this.status !== NvmeStatus.success) return this.status;
    const action = command.cdw(10) & 7;
    const type = (command.cdw(10) >>> 8) & 0xff;
    if (type === 0 || type > TYPES || action > 2) return NvmeStatus.invalidField;
    if (state.key === undefined || state.key !== current) return NvmeStatus.reservationConflict;
    if (action === 0) {
      if (state.type !== 0 && state.type !== type) return NvmeStatus.reservationConflict;
      state.type = type;
      return NvmeStatus.success;
    }
    // Who preempts itself takes the reservation in its new type.
    if (preempted !== state.key) return NvmeStatus.reservationConflict;
    state.type = type;
    state.generation++;
    return NvmeStatus.success;
  }

  private release(state: Reservation): number {
    const { command } = this.context;
    const [current = 0n] = this.keys(1);
    if (this.status !== NvmeStatus.success) return this.status;
    const action = command.cdw(10) & 7;
    const type = (command.cdw(10) >>> 8) & 0xff;
    if (action > 1) return NvmeStatus.invalidField;
    if (state.key === undefined || state.key !== current) return NvmeStatus.reservationConflict;
    if (action === 1) {
      state.key = undefined;
      state.generation++;
    } else if (state.type !== 0 && state.type !== type) return NvmeStatus.invalidField;
    state.type = 0;
    return NvmeStatus.success;
  }

  private report(state: Reservation): number {
    const { command, transfer, maxTransferBytes } = this.context;
    const lengthBytes = (command.cdw(10) + 1) * 4;
    if (lengthBytes > maxTransferBytes) return NvmeStatus.invalidField;
    const isExtended = (command.cdw(11) & 1) !== 0;
    const layout = isExtended ? extendedRegistrant : registrant;
    const headerBytes = isExtended ? layout.sizeBytes : reservationHeader.sizeBytes;
    const report = new Uint8Array(headerBytes + layout.sizeBytes);
    const registered = state.key === undefined ? 0 : 1;
    report.set(reservationHeader.encode({ gen: state.generation, rtype: state.type, regctl: registered }));
    if (state.key !== undefined) {
      const values = { cntlid: this.controllerId, rcsts: state.type === 0 ? 0 : 1, rkey: state.key };
      const hostid = new Uint8Array(isExtended ? HOST_ID_BYTES : HOST_ID_BYTES / 2);
      report.set(
        isExtended
          ? extendedRegistrant.encode({ ...values, hostid })
          : registrant.encode({ ...values, hostid }),
        headerBytes,
      );
    }
    const sent = new Uint8Array(lengthBytes);
    sent.set(report.subarray(0, lengthBytes));
    return transfer.send(command, sent);
  }

  private status: number = NvmeStatus.success;

  private keys(count: number): bigint[] {
    const { command, transfer } = this.context;
    const bytes = new Uint8Array(8 * count);
    this.status = transfer.fetch(command, bytes);
    const view = new DataView(bytes.buffer);
    return Array.from({ length: count }, (_, i) => view.getBigUint64(8 * i, true));
  }
}

/** Reservations of namespaces. */
import * as z from "zod/mini";
import { lazily } from "../../../../core/lazy.js";
import { integer } from "../../../../core/options.js";
import { KeyValueOpcode } from "../../../../nvme/spec/key-value.js";
import { IoOpcode } from "../../../../nvme/spec/opcodes.js";
import {
  extendedRegistrant,
  IGNORE_EXISTING_KEY,
  registrant,
  reservationHeader,
} from "../../../../nvme/spec/reservations.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { EmulatedNamespace } from "../../medium/namespace.js";
import type { Reservation, ReservationTable } from "../../medium/reservation-table.js";
import { u16, u32 } from "../../medium/state-schema.js";
import type { IoContext } from "./io-context.js";
import { HOST_ID_BYTES, NotifiedHost } from "./reservation-host.js";

const key = () => z.string().check(z.regex(/^[0-9a-f]{1,16}$/));
/** Name of a host: its identifier, or that of its controller. */
export const hostName = () => z.string().check(z.regex(/^([0-9a-f]{32}|controller \d{1,5})$/));

/** The part of a migration state that holds reservations, by namespace. */
export const reservationsState = lazily(() =>
  z
    .array(
      z.strictObject({
        nsid: u32(),
        generation: u32(),
        /** Of this controller's host; null: it isn't registered. */
        key: z.nullable(key()),
        type: integer(0, 6),
        /** The holder, and all registrants. States of earlier emulators, with one host, have none. */
        holder: z.optional(z.nullable(hostName())),
        registrants: z.optional(
          z
            .array(z.strictObject({ name: hostName(), key: key(), controllerId: u16() }))
            .check(z.maxLength(4096)),
        ),
      }),
    )
    .check(z.maxLength(128)),
);
export type ReservationsState = z.output<ReturnType<typeof reservationsState>>;

/** RESCAP: all six types; nothing survives a power loss. */
export const RESERVATION_CAPABILITIES = 0x7e;
const TYPES = 6;
const FIRST_OF_ALL = 5;

/** Commands that a reservation doesn't keep out. */
const free: ReadonlySet<number> = new Set([
  IoOpcode.reservationRegister,
  IoOpcode.reservationReport,
  IoOpcode.reservationAcquire,
  IoOpcode.reservationRelease,
  IoOpcode.cancel,
  IoOpcode.ioManagementReceive,
]);
/** Commands that only read. */
const reading: ReadonlySet<number> = new Set([
  IoOpcode.read,
  IoOpcode.compare,
  IoOpcode.verify,
  IoOpcode.zoneManagementReceive,
  KeyValueOpcode.retrieve,
  KeyValueOpcode.list,
  KeyValueOpcode.exist,
]);

/** Reservations (NVMe Base 2.x) of a subsystem, by the host of one controller. They last as long as the subsystem. */
export class ReservationCommands {
  readonly host: NotifiedHost;
  private readonly table: ReservationTable;
  private status: number = NvmeStatus.success;

  constructor(private readonly context: IoContext) {
    this.table = context.reservations;
    this.host = new NotifiedHost(context);
    this.table.join(this.host);
  }

  save(): ReservationsState {
    return this.table.all.map(([nsid, { generation, type, holder = null, registrants }]) => {
      const mine = registrants.get(this.host.name);
      return {
        ...{ nsid, generation, type, holder },
        key: mine === undefined ? null : mine.key.toString(16),
        registrants: [...registrants].map(([name, { key: rkey, controllerId }]) => ({
          ...{ name, controllerId },
          key: rkey.toString(16),
        })),
      };
    });
  }

  /** @param saved reservations, of a controller whose host is loaded */
  load(saved: ReservationsState): void {
    this.table.clear();
    const { name, controllerId } = this.host;
    for (const { nsid, generation, key: own, type, holder, registrants } of saved) {
      const reservation = this.table.get(nsid);
      reservation.generation = generation;
      const all = registrants ?? (own === null ? [] : [{ name, controllerId, key: own }]);
      for (const each of all) {
        const rkey = BigInt(`0x${each.key}`);
        reservation.registrants.set(each.name, { key: rkey, controllerId: each.controllerId });
      }
      this.table.hold(nsid, type, holder === undefined ? name : (holder ?? undefined));
    }
  }

  /** Whether another host's reservation forbids the current command on a namespace. */
  get keepsOut(): boolean {
    const { opcode, nsid } = this.context.command;
    return (
      this.table.isActive &&
      !free.has(opcode) &&
      this.table.keepsOut(nsid, this.host.name, !reading.has(opcode))
    );
  }

  execute(namespace: EmulatedNamespace): number {
    const { nsid } = namespace;
    const reservation = this.table.get(nsid);
    switch (this.context.command.opcode) {
      case IoOpcode.reservationRegister:
        return this.register(nsid, reservation);
      case IoOpcode.reservationAcquire:
        return this.acquire(nsid, reservation);
      case IoOpcode.reservationRelease:
        return this.release(nsid, reservation);
      default:
        return this.report(reservation);
    }
  }

  private register(nsid: number, reservation: Reservation): number {
    const { command } = this.context;
    const { name, controllerId } = this.host;
    const [current = 0n, next = 0n] = this.keys(2);
    if (this.status !== NvmeStatus.success) return this.status;
    const action = command.cdw(10) & 7;
    const ignores = (command.cdw(10) & IGNORE_EXISTING_KEY) !== 0;
    const persistence = command.cdw(10) >>> 30;
    // "Registrations and reservation persist": not here.
    if (persistence === 3 || persistence === 1) return NvmeStatus.invalidField;
    const mine = reservation.registrants.get(name)?.key;
    const matches = ignores || mine === current;
    switch (action) {
      case 0:
        if (mine !== undefined && mine !== next) return NvmeStatus.reservationConflict;
        reservation.registrants.set(name, { key: next, controllerId });
        break;
      case 1:
        if (mine === undefined || !matches) return NvmeStatus.reservationConflict;
        this.table.unregister(nsid, name);
        break;
      case 2:
        if (!(mine === undefined ? ignores : matches)) return NvmeStatus.reservationConflict;
        reservation.registrants.set(name, { key: next, controllerId });
        break;
      default:
        return NvmeStatus.invalidField;
    }
    reservation.generation++;
    return NvmeStatus.success;
  }

  private acquire(nsid: number, reservation: Reservation): number {
    const { command } = this.context;
    const { name } = this.host;
    const [current = 0n, preempted = 0n] = this.keys(2);
    if (this.status !== NvmeStatus.success) return this.status;
    const action = command.cdw(10) & 7;
    const type = (command.cdw(10) >>> 8) & 0xff;
    if (type === 0 || type > TYPES || action > 2) return NvmeStatus.invalidField;
    if (reservation.registrants.get(name)?.key !== current) return NvmeStatus.reservationConflict;
    if (action !== 0) return this.preempt(nsid, reservation, type, preempted, action === 2);
    if (reservation.type === 0) this.table.hold(nsid, type, name);
    else if (reservation.type !== type || !reservation.isHeldBy(name)) return NvmeStatus.reservationConflict;
    return NvmeStatus.success;
  }

  /** Preempt takes over a reservation whose holder has the key `preempted`; in any case, hosts with this key lose theirs. */
  private preempt(
    nsid: number,
    reservation: Reservation,
    type: number,
    preempted: bigint,
    aborts: boolean,
  ): number {
    const { name } = this.host;
    const { registrants } = reservation;
    const isOfAll = reservation.type >= FIRST_OF_ALL;
    if (preempted === 0n && !isOfAll) return NvmeStatus.invalidField;
    const takesAll = preempted === 0n;
    const others = [...registrants].filter(
      ([host, { key: rkey }]) => host !== name && (takesAll || rkey === preempted),
    );
    const holderKey = reservation.holder === undefined ? undefined : registrants.get(reservation.holder)?.key;
    const takesOver = isOfAll ? takesAll : reservation.type !== 0 && holderKey === preempted;
    if (others.length === 0 && !takesOver) return NvmeStatus.reservationConflict;
    const isOther = takesOver && reservation.type !== type;
    const hosts = others.map(([host]) => host);
    this.table.preempt(nsid, hosts, name, aborts);
    if (isOther) this.table.release(nsid, name);
    if (takesOver) this.table.hold(nsid, type, name);
    reservation.generation++;
    return NvmeStatus.success;
  }

  private release(nsid: number, reservation: Reservation): number {
    const { command } = this.context;
    const { name } = this.host;
    const [current = 0n] = this.keys(1);
    if (this.status !== NvmeStatus.success) return this.status;
    const action = command.cdw(10) & 7;
    const type = (command.cdw(10) >>> 8) & 0xff;
    if (action > 1) return NvmeStatus.invalidField;
    if (reservation.registrants.get(name)?.key !== current) return NvmeStatus.reservationConflict;
    if (action === 1) {
      this.table.clearOf(nsid, name);
      reservation.generation++;
      return NvmeStatus.success;
    }
    // Who doesn't hold it releases nothing, successfully.
    if (!reservation.isHeldBy(name)) return NvmeStatus.success;
    if (reservation.type !== type) return NvmeStatus.invalidField;
    this.table.release(nsid, name);
    return NvmeStatus.success;
  }

  private report({ generation, type, registrants, ...reservation }: Reservation): number {
    const { command, transfer, maxTransferBytes } = this.context;
    const lengthBytes = (command.cdw(10) + 1) * 4;
    if (lengthBytes > maxTransferBytes) return NvmeStatus.invalidField;
    const isExtended = (command.cdw(11) & 1) !== 0;
    const layout = isExtended ? extendedRegistrant : registrant;
    const headerBytes = isExtended ? layout.sizeBytes : reservationHeader.sizeBytes;
    const entries = [...registrants].flatMap(([host, { key: rkey, controllerId }]) => {
      const now = this.table.controllersOf(host);
      const holds = type !== 0 && (type >= FIRST_OF_ALL || reservation.holder === host);
      return (now.length > 0 ? now : [controllerId]).map((cntlid) => ({
        ...{ cntlid, rkey },
        rcsts: holds ? 1 : 0,
        hostid: identifierOf(host).subarray(0, isExtended ? HOST_ID_BYTES : HOST_ID_BYTES / 2),
      }));
    });
    const report = new Uint8Array(headerBytes + entries.length * layout.sizeBytes);
    report.set(reservationHeader.encode({ gen: generation, rtype: type, regctl: entries.length }));
    for (const [i, entry] of entries.entries()) {
      const bytes = isExtended ? extendedRegistrant.encode(entry) : registrant.encode(entry);
      report.set(bytes, headerBytes + i * layout.sizeBytes);
    }
    const sent = new Uint8Array(lengthBytes);
    sent.set(report.subarray(0, lengthBytes));
    return transfer.send(command, sent);
  }

  private keys(count: number): bigint[] {
    const { command, transfer } = this.context;
    const bytes = new Uint8Array(8 * count);
    this.status = transfer.fetch(command, bytes);
    const view = new DataView(bytes.buffer);
    return Array.from({ length: count }, (_, i) => view.getBigUint64(8 * i, true));
  }
}

function identifierOf(host: string): Uint8Array {
  const id = new Uint8Array(HOST_ID_BYTES);
  if (/^[0-9a-f]{32}$/.test(host)) id.set(Buffer.from(host, "hex"));
  return id;
}

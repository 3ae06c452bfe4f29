import { checkU64 } from "../../core/check.js";
import { ArgumentError, UnsupportedError } from "../../core/errors.js";
import type { NvmeCommand } from "../command/command.js";
import { IoOpcode } from "../spec/opcodes.js";
import {
  extendedRegistrant,
  type ReservationType,
  registrant,
  reservationHeader,
  reservationTypes,
} from "../spec/reservations.js";
import type { CommandTarget } from "./command-target.js";

/** What survives a power loss (CPTPL): left out, nothing changes. */
export type PersistThroughPowerLoss = boolean | undefined;

/** One controller that is registered. */
export interface Registrant {
  readonly controllerId: number;
  /** Its host holds the reservation. */
  readonly holds: boolean;
  readonly key: bigint;
  /** 8 bytes, or 16 in an extended report. */
  readonly hostId: Uint8Array;
}

/** Reservation Report. */
export interface ReservationStatus {
  /** Counts changes. */
  readonly generation: number;
  /** Undefined where there is no reservation. */
  readonly type: ReservationType | undefined;
  readonly persistsThroughPowerLoss: boolean;
  readonly registrants: readonly Registrant[];
}

const ONCS_RESERVATIONS = 1 << 5;
/** CTRATT: 128-bit host identifiers. */
const CTRATT_HOST_ID_128 = 1 << 0;
const IGNORE_EXISTING_KEY = 1 << 3;

/**
 * Reservations (NVMe Base 2.x, section "Reservations"): which hosts may write to a namespace, or read it, that several of
 * them reach. A host needs a host identifier first (feature 81h), and registers a key. All methods throw UnsupportedError
 * where controller or namespace have none, and NvmeError (Reservation Conflict, ...), TimeoutError, DeviceGoneError,
 * ClosedError.
 */
export class NvmeReservations {
  constructor(
    private readonly controller: CommandTarget,
    private readonly nsid: number,
    /** Identify Namespace, RESCAP. */
    private readonly capabilities: number,
  ) {}

  /** Registers this host's key. @throws ArgumentError where it isn't 64 bits, or is zero */
  async register(key: bigint, options: { readonly persist?: PersistThroughPowerLoss } = {}): Promise<void> {
    await this.change(0, 0n, notZero("key", key), false, options.persist);
  }

  /**
   * Replaces this host's key by another.
   * @param current undefined: whatever it is
   * @throws ArgumentError as register()
   */
  async replace(
    current: bigint | undefined,
    key: bigint,
    options: { readonly persist?: PersistThroughPowerLoss } = {},
  ): Promise<void> {
    await this.change(2, current ?? 0n, notZero("key", key), current === undefined, options.persist);
  }

  /** Ends this host's registration, and with it a reservation it holds. @param key undefined: whatever it is */
  async unregister(key: bigint | undefined): Promise<void> {
    await this.change(1, key ?? 0n, 0n, key === undefined, undefined);
  }

  /** Takes the reservation. @throws ArgumentError as register() */
  async acquire(key: bigint, type: ReservationType): Promise<void> {
    await this.run("reservation acquire", IoOpcode.reservationAcquire, 0, type, [key, 0n]);
  }

  /**
   * Takes the reservation from who is registered with a key, and ends those registrations.
   * @param options abort: also the commands of those hosts that are under way
   */
  async preempt(
    key: bigint,
    type: ReservationType,
    preempted: bigint,
    options: { readonly abort?: boolean } = {},
  ): Promise<void> {
    const action = options.abort === true ? 2 : 1;
    await this.run("reservation preempt", IoOpcode.reservationAcquire, action, type, [key, preempted]);
  }

  /** Gives the reservation back. @param type as it was acquired */
  async release(key: bigint, type: ReservationType): Promise<void> {
    await this.run("reservation release", IoOpcode.reservationRelease, 0, type, [key]);
  }

  /** Ends the reservation and all registrations. */
  async clear(key: bigint): Promise<void> {
    await this.run("reservation clear", IoOpcode.reservationRelease, 1, undefined, [key]);
  }

  /** Who is registered, and who holds the reservation. */
  async report(): Promise<ReservationStatus> {
    this.assertSupported();
    const extended = (this.controller.identify.ctratt & CTRATT_HOST_ID_128) !== 0;
    const [headerBytes, layout] = extended
      ? ([64, extendedRegistrant] as const)
      : ([24, registrant] as const);
    for (let room = 16; ; room *= 4) {
      const bytes = await this.fetch(headerBytes + room * layout.sizeBytes, extended);
      const header = reservationHeader.decode(bytes);
      if (header.regctl > room) continue;
      return {
        generation: header.gen,
        type: typeOf(header.rtype),
        persistsThroughPowerLoss: header.ptpls !== 0,
        registrants: Array.from({ length: header.regctl }, (_, i) => {
          const one = layout.decode(bytes.subarray(headerBytes + i * layout.sizeBytes));
          return {
            controllerId: one.cntlid,
            holds: (one.rcsts & 1) !== 0,
            key: one.rkey,
            hostId: one.hostid,
          };
        }),
      };
    }
  }

  private async change(
    action: number,
    current: bigint,
    next: bigint,
    ignoreExisting: boolean,
    persist: PersistThroughPowerLoss,
  ): Promise<void> {
    this.assertSupported();
    const persistence = persist === undefined ? 0 : persist ? 3 : 2;
    const cdw10 = (action | (ignoreExisting ? IGNORE_EXISTING_KEY : 0) | (persistence << 30)) >>> 0;
    await this.send("reservation register", IoOpcode.reservationRegister, cdw10, [current, next]);
  }

  private async run(
    name: string,
    opcode: number,
    action: number,
    type: ReservationType | undefined,
    keys: readonly bigint[],
  ): Promise<void> {
    this.assertSupported();
    const number = type === undefined ? 0 : reservationTypes.indexOf(type);
    if (number < 0) throw new ArgumentError(`there is no reservation of type ${JSON.stringify(type)}`);
    if (type !== undefined && (this.capabilities & (1 << number)) === 0) {
      throw new UnsupportedError(`namespace ${this.nsid} has no reservation of type ${type} (RESCAP)`);
    }
    await this.send(name, opcode, action | (number << 8), keys);
  }

  private async send(name: string, opcode: number, cdw10: number, keys: readonly bigint[]): Promise<void> {
    const bytes = new Uint8Array(keys.length * 8);
    const view = new DataView(bytes.buffer);
    for (const [i, key] of keys.entries()) view.setBigUint64(8 * i, checkU64("key", key), true);
    const buffer = this.controller.dma.alloc(bytes.length);
    try {
      buffer.bytes.set(bytes);
      await this.controller.submitIo({ name, opcode, nsid: this.nsid, cdw10, data: { buffer } });
    } finally {
      buffer.close();
    }
  }

  private async fetch(sizeBytes: number, extended: boolean): Promise<Uint8Array> {
    const buffer = this.controller.dma.alloc(sizeBytes);
    try {
      const command: NvmeCommand = {
        name: "reservation report",
        opcode: IoOpcode.reservationReport,
        nsid: this.nsid,
        cdw10: sizeBytes / 4 - 1,
        cdw11: extended ? 1 : 0,
        data: { buffer },
      };
      await this.controller.submitIo(command);
      return buffer.bytes.slice();
    } finally {
      buffer.close();
    }
  }

  private assertSupported(): void {
    const { bdf, identify } = this.controller;
    if ((identify.oncs & ONCS_RESERVATIONS) === 0) {
      throw new UnsupportedError(`the controller ${bdf} has no reservations (ONCS)`);
    }
    if (this.capabilities === 0) {
      throw new UnsupportedError(`namespace ${this.nsid} has no reservations (RESCAP)`);
    }
  }
}

function notZero(name: string, key: bigint): bigint {
  if (checkU64(name, key) === 0n) throw new ArgumentError(`${name} must not be zero`);
  return key;
}

function typeOf(number: number): ReservationType | undefined {
  const type = reservationTypes[number];
  return type === "none" ? undefined : type;
}

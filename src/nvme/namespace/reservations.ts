/** Reservations of a namespace. */
import { checkKeys, checkU64, show } from "../../core/check.js";
import { ArgumentError, UnsupportedError } from "../../core/errors.js";
import { IoOpcode } from "../spec/opcodes.js";
import {
  extendedRegistrant,
  IGNORE_EXISTING_KEY,
  type ReservationType,
  registrant,
  reservationHeader,
  reservationTypes,
} from "../spec/reservations.js";
import { type CommandTarget, ioRead, ioWrite } from "./command-target.js";

/** Whether reservation and registrations persist through a loss of power (CPTPL); undefined: unchanged. */
export type PersistThroughPowerLoss = boolean | undefined;

/** A registered controller. */
export interface Registrant {
  /** Controller identifier (CNTLID). */
  readonly controllerId: number;
  /** Whether this host holds the reservation. */
  readonly holds: boolean;
  /** Reservation key. */
  readonly key: bigint;
  /** Host identifier: 8 bytes, or 16 in an extended report. */
  readonly hostId: Uint8Array;
}

/** Result of {@link NvmeReservations.report}. */
export interface ReservationStatus {
  /** Counts registrations and changes of the reservation (GEN). */
  readonly generation: number;
  /** Type of the reservation; undefined without one. */
  readonly type: ReservationType | undefined;
  /** Whether reservation and registrations persist through a loss of power (PTPLS). */
  readonly persistsThroughPowerLoss: boolean;
  /** All registered controllers. */
  readonly registrants: readonly Registrant[];
}

const ONCS_RESERVATIONS = 1 << 5;
/** CTRATT: 128-bit host identifiers. */
const CTRATT_HOST_ID_128 = 1 << 0;

/**
 * Reservations (NVMe Base 2.x, section "Reservations") control which hosts may write to or read a shared namespace. A host
 * first sets its host identifier (feature 81h), and then registers a key. All methods throw UnsupportedError if controller
 * or namespace don't support reservations, and NvmeError (Reservation Conflict, ...), TimeoutError, DeviceGoneError,
 * ClosedError.
 */
export class NvmeReservations {
  constructor(
    private readonly controller: CommandTarget,
    private readonly nsid: number,
    /** Identify Namespace, RESCAP. */
    private readonly capabilities: number,
  ) {}

  /** Registers a key for this host. @throws ArgumentError if it doesn't fit 64 bits or is zero */
  async register(key: bigint, options: { readonly persist?: PersistThroughPowerLoss } = {}): Promise<void> {
    checkKeys("options", options, ["persist"]);
    await this.change(0, 0n, notZero("key", key), false, options.persist);
  }

  /**
   * Replaces the key of this host.
   * @param current the current key; undefined: any (IEKEY)
   * @throws ArgumentError as register()
   */
  async replace(
    current: bigint | undefined,
    key: bigint,
    options: { readonly persist?: PersistThroughPowerLoss } = {},
  ): Promise<void> {
    checkKeys("options", options, ["persist"]);
    await this.change(2, current ?? 0n, notZero("key", key), current === undefined, options.persist);
  }

  /** Ends the registration of this host, and a reservation that it holds. @param key undefined: any (IEKEY) */
  async unregister(key: bigint | undefined): Promise<void> {
    await this.change(1, key ?? 0n, 0n, key === undefined, undefined);
  }

  /** Acquires the reservation. @throws ArgumentError as register() */
  async acquire(key: bigint, type: ReservationType): Promise<void> {
    await this.run("reservation acquire", IoOpcode.reservationAcquire, 0, type, [key, 0n]);
  }

  /**
   * Preempts the hosts that are registered with the key `preempted`: takes over their reservation, and ends their
   * registrations.
   * @param options abort: also aborts the outstanding commands of those hosts
   */
  async preempt(
    key: bigint,
    type: ReservationType,
    preempted: bigint,
    options: { readonly abort?: boolean } = {},
  ): Promise<void> {
    checkKeys("options", options, ["abort"]);
    const action = options.abort === true ? 2 : 1;
    await this.run("reservation preempt", IoOpcode.reservationAcquire, action, type, [key, preempted]);
  }

  /** Releases the reservation. @param type type of the reservation */
  async release(key: bigint, type: ReservationType): Promise<void> {
    await this.run("reservation release", IoOpcode.reservationRelease, 0, type, [key]);
  }

  /** Clears the reservation and all registrations. */
  async clear(key: bigint): Promise<void> {
    await this.run("reservation clear", IoOpcode.reservationRelease, 1, undefined, [key]);
  }

  /** Reservation Report: the registered controllers, and the reservation. */
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
    if (number < 0)
      throw new ArgumentError(
        `type must be one of ${reservationTypes.slice(1).join(", ")}, got ${show(type)}`,
      );
    if (type !== undefined && (this.capabilities & (1 << number)) === 0) {
      throw new UnsupportedError(
        `namespace ${this.nsid} doesn't support reservations of type ${type} (RESCAP)`,
      );
    }
    await this.send(name, opcode, action | (number << 8), keys);
  }

  private async send(name: string, opcode: number, cdw10: number, keys: readonly bigint[]): Promise<void> {
    const bytes = new Uint8Array(keys.length * 8);
    const view = new DataView(bytes.buffer);
    for (const [i, key] of keys.entries()) view.setBigUint64(8 * i, checkU64("key", key), true);
    await ioWrite(this.controller, { name, opcode, nsid: this.nsid, cdw10 }, bytes);
  }

  private async fetch(sizeBytes: number, extended: boolean): Promise<Uint8Array> {
    const command = {
      name: "reservation report",
      opcode: IoOpcode.reservationReport,
      nsid: this.nsid,
      cdw10: sizeBytes / 4 - 1,
      cdw11: extended ? 1 : 0,
    };
    return await ioRead(this.controller, command, sizeBytes);
  }

  private assertSupported(): void {
    const { bdf, identify } = this.controller;
    if ((identify.oncs & ONCS_RESERVATIONS) === 0) {
      throw new UnsupportedError(`${bdf} doesn't support reservations (ONCS)`);
    }
    if (this.capabilities === 0) {
      throw new UnsupportedError(`namespace ${this.nsid} doesn't support reservations (RESCAP)`);
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

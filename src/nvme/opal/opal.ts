/** TCG Opal: ownership, the Locking SP, and locking ranges. */
import { checkBoolean, checkBytes, checkInteger, checkKeys, checkName } from "../../core/check.js";
import { ArgumentError, UnsupportedError } from "../../core/errors.js";
import type { AdminTarget } from "../command/admin-target.js";
import { type SecurityChannel, Turns } from "../command/security-channel.js";
import { decodeOpalDiscovery, type OpalDiscovery } from "../spec/opal/discovery.js";
import {
  OPAL_DISCOVERY,
  OPAL_PIN_BYTES,
  OPAL_PROTOCOL,
  OpalColumn,
  OpalLifeCycle,
  OpalMethod,
  OpalStatus,
  OpalUid,
  rangeUid,
} from "../spec/opal/numbers.js";
import { OpalFormatError } from "../spec/opal/packet.js";
import { NvmeOpalError, OpalSession } from "./session.js";

/** A password: text as UTF-8, or bytes; 1 to 32 of them. */
export type OpalPassword = string | Uint8Array;

/** A locking range, in logical blocks. The global one, 0, has no start and no length: it is what no other range has. */
export interface OpalRange {
  /** First block. */
  readonly start: number;
  /** How many blocks. */
  readonly blocks: number;
  /** Whether the lock against reads has an effect. */
  readonly readLockEnabled: boolean;
  /** Whether that against writes has. */
  readonly writeLockEnabled: boolean;
  /** The lock against reads. */
  readonly readLocked: boolean;
  /** The lock against writes. */
  readonly writeLocked: boolean;
}

/** How a range is set up. What is left out stays as it is. */
export type OpalRangeOptions = { readonly [K in keyof OpalRange]?: OpalRange[K] | undefined };

/** Both locks of a range: none, that against writes, or both. */
export type OpalLock = "unlocked" | "readOnly" | "locked";

const DISCOVERY_BYTES = 2048;
/** Most ranges besides the global one. */
const MOST_RANGES = 254;

const columns: Readonly<Record<keyof OpalRange, number>> = {
  start: OpalColumn.rangeStart,
  blocks: OpalColumn.rangeLength,
  readLockEnabled: OpalColumn.readLockEnabled,
  writeLockEnabled: OpalColumn.writeLockEnabled,
  readLocked: OpalColumn.readLocked,
  writeLocked: OpalColumn.writeLocked,
};
const locks = {
  unlocked: [false, false],
  readOnly: [false, true],
  locked: [true, true],
} as const;

const turns = new Turns();

/**
 * TCG Opal (SSC 1 and 2). The owner (SID) takes and gives back the drive; administrator 1 of the Locking SP has the ranges. Their
 * passwords are the same after activate(). No other program may use Opal meanwhile.
 */
export class NvmeOpal {
  /** @internal */
  constructor(
    private readonly target: AdminTarget,
    private readonly channel: SecurityChannel,
  ) {}

  /**
   * Level 0 Discovery: what the controller has, and whether something is locked. Needs no password.
   * @throws UnsupportedError, NvmeOpalError (the reply is cut short), NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  async discover(): Promise<OpalDiscovery> {
    const protocol = { protocol: OPAL_PROTOCOL, specific: OPAL_DISCOVERY };
    const bytes = await this.channel.receive(protocol, DISCOVERY_BYTES);
    try {
      return decodeOpalDiscovery(bytes);
    } catch (error) {
      if (!(error instanceof OpalFormatError)) throw error;
      throw new NvmeOpalError(`TCG Opal of ${this.target.bdf}, discovery`, error.message);
    }
  }

  /** Sets the first password of the owner. @throws as discover(), ArgumentError, NvmeOpalError (it has an owner) */
  async takeOwnership(password: OpalPassword): Promise<void> {
    const pin = pinOf("password", password);
    await this.inTurn(async (comId) => {
      const first = await this.session(comId, OpalUid.adminSp, undefined, async (session) =>
        (await session.get(OpalUid.pinMsid, OpalColumn.pin, OpalColumn.pin)).get(OpalColumn.pin),
      );
      if (!(first instanceof Uint8Array))
        throw new NvmeOpalError(
          `TCG Opal of ${this.target.bdf}`,
          "it doesn't tell its first password (MSID)",
        );
      const sid = { uid: OpalUid.sid, pin: first };
      try {
        await this.session(comId, OpalUid.adminSp, sid, (session) =>
          session.set(OpalUid.pinSid, [[OpalColumn.pin, pin]]),
        );
      } catch (error) {
        if (!(error instanceof NvmeOpalError) || error.status !== OpalStatus.notAuthorized) throw error;
        throw new NvmeOpalError(
          `TCG Opal of ${this.target.bdf}`,
          "it has an owner already: revert it with the owner's password or the PSID of its label",
          error.status,
        );
      }
    });
  }

  /**
   * Activates the Locking SP; its administrator gets the owner's password. Nothing happens if it is active.
   * @param password the owner's
   * @throws as takeOwnership()
   */
  async activate(password: OpalPassword): Promise<void> {
    await this.asOwner(password, async (session) => {
      const { lifeCycle } = OpalColumn;
      const state = (await session.get(OpalUid.lockingSp, lifeCycle, lifeCycle)).get(lifeCycle);
      if (state !== OpalLifeCycle.active)
        await session.call("Activate", OpalUid.lockingSp, OpalMethod.activate);
    });
  }

  /** Reads a locking range. @param range 0: the global one @throws as takeOwnership() */
  async range(password: OpalPassword, range = 0): Promise<OpalRange> {
    const uid = rangeUid(checkInteger("range", range, 0, MOST_RANGES));
    const row = await this.asAdministrator(password, (session) =>
      session.get(uid, OpalColumn.rangeStart, OpalColumn.writeLocked),
    );
    const number = (column: number): number => {
      const value = row.get(column);
      if (typeof value === "number") return value;
      throw new NvmeOpalError(`TCG Opal of ${this.target.bdf}, Get`, `the reply lacks column ${column}`);
    };
    return {
      start: number(columns.start),
      blocks: number(columns.blocks),
      readLockEnabled: number(columns.readLockEnabled) === 1,
      writeLockEnabled: number(columns.writeLockEnabled) === 1,
      readLocked: number(columns.readLocked) === 1,
      writeLocked: number(columns.writeLocked) === 1,
    };
  }

  /**
   * Sets up a locking range. Start and length of the global one can't be set.
   * @param password the administrator's
   * @throws as takeOwnership()
   */
  async setRange(password: OpalPassword, range: number, options: OpalRangeOptions): Promise<void> {
    const uid = rangeUid(checkInteger("range", range, 0, MOST_RANGES));
    checkKeys("options", options, Object.keys(columns));
    if (range === 0 && (options.start !== undefined || options.blocks !== undefined))
      throw new ArgumentError("the global range 0 has no start and no blocks: it is what no other range has");
    const values: [number, number][] = [];
    for (const name of ["start", "blocks"] as const) {
      const value = options[name];
      if (value !== undefined)
        values.push([columns[name], checkInteger(name, value, 0, Number.MAX_SAFE_INTEGER)]);
    }
    for (const name of ["readLockEnabled", "writeLockEnabled", "readLocked", "writeLocked"] as const) {
      const value = options[name];
      if (value !== undefined) values.push([columns[name], checkBoolean(name, value) ? 1 : 0]);
    }
    if (values.length === 0) throw new ArgumentError("options must change something");
    await this.asAdministrator(password, (session) => session.set(uid, values));
  }

  /** Locks or unlocks a range whose locks are enabled. @throws as takeOwnership() */
  async lock(password: OpalPassword, range: number, lock: OpalLock): Promise<void> {
    const [readLocked, writeLocked] = locks[checkName("lock", lock, ["unlocked", "readOnly", "locked"])];
    await this.setRange(password, range, { readLocked, writeLocked });
  }

  /**
   * Changes the owner's password, and the administrator's if the Locking SP is active. If the second fails, the first is changed.
   * @throws as takeOwnership()
   */
  async changePassword(password: OpalPassword, newPassword: OpalPassword): Promise<void> {
    const pin = pinOf("newPassword", newPassword);
    const isActive = (await this.discover()).locking?.enabled === true;
    await this.asOwner(password, (session) => session.set(OpalUid.pinSid, [[OpalColumn.pin, pin]]));
    if (isActive)
      await this.asAdministrator(password, (session) =>
        session.set(OpalUid.pinAdmin1, [[OpalColumn.pin, pin]]),
      );
  }

  /**
   * Erases all data and takes everything back to the factory's state.
   * @param password the owner's, or with `psid` the PSID that is printed on the drive
   * @throws as takeOwnership()
   */
  async revert(password: OpalPassword, psid = false): Promise<void> {
    const uid = checkBoolean("psid", psid) ? OpalUid.psid : OpalUid.sid;
    const pin = pinOf("password", password);
    await this.inTurn(async (comId) => {
      const session = await this.start(comId, OpalUid.adminSp, { uid, pin });
      // It ends the session, too.
      await session.call("Revert", OpalUid.adminSp, OpalMethod.revert);
    });
  }

  private async asOwner<T>(password: OpalPassword, work: (session: OpalSession) => Promise<T>): Promise<T> {
    const sid = { uid: OpalUid.sid, pin: pinOf("password", password) };
    return await this.inTurn((comId) => this.session(comId, OpalUid.adminSp, sid, work));
  }

  private async asAdministrator<T>(
    password: OpalPassword,
    work: (session: OpalSession) => Promise<T>,
  ): Promise<T> {
    const admin = { uid: OpalUid.admin1, pin: pinOf("password", password) };
    return await this.inTurn((comId, isActive) => {
      if (!isActive)
        throw new UnsupportedError(`the Locking SP of ${this.target.bdf} isn't active; activate() does that`);
      return this.session(comId, OpalUid.lockingSp, admin, work);
    });
  }

  private start(comId: number, provider: string, authority?: { uid: string; pin: Uint8Array }) {
    return OpalSession.start(this.channel, comId, this.target.bdf, provider, authority);
  }

  private async session<T>(
    comId: number,
    provider: string,
    authority: { uid: string; pin: Uint8Array } | undefined,
    work: (session: OpalSession) => Promise<T>,
  ): Promise<T> {
    const session = await this.start(comId, provider, authority);
    let result: T;
    try {
      result = await work(session);
    } catch (error) {
      // The first error tells more than one of the end.
      await session.end().catch(() => {});
      throw error;
    }
    await session.end();
    return result;
  }

  private async inTurn<T>(work: (comId: number, isActive: boolean) => Promise<T>): Promise<T> {
    return await turns.take(this.target, async () => {
      const { opal, locking } = await this.discover();
      if (opal === undefined)
        throw new UnsupportedError(`${this.target.bdf} has no TCG Opal (Level 0 Discovery)`);
      return await work(opal.comId, locking?.enabled === true);
    });
  }
}

function pinOf(name: string, password: OpalPassword): Uint8Array {
  if (typeof password !== "string") checkBytes(name, password);
  const pin = typeof password === "string" ? Buffer.from(password) : password;
  if (pin.length === 0 || pin.length > OPAL_PIN_BYTES)
    throw new ArgumentError(`${name} must have 1 to ${OPAL_PIN_BYTES} bytes, got ${pin.length}`);
  return pin;
}

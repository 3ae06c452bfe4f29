/** A minimal trusted peripheral of TCG Opal: discovery, one session at a time, and the methods that locking needs. */
import { encodeOpalDiscovery } from "../../../nvme/spec/opal/discovery.js";
import {
  OPAL_PIN_BYTES,
  OpalColumn,
  OpalFeature,
  OpalLifeCycle,
  OpalMethod,
  OpalParameter,
  OpalStatus,
  OpalUid,
  rangeUid,
} from "../../../nvme/spec/opal/numbers.js";
import {
  decodeOpal,
  emptyComPacket,
  encodeOpal,
  endOfSession,
  OpalFormatError,
  type OpalMessage,
  OpalNamed,
  type OpalSessionNumbers,
  type OpalValue,
  unwrapOpal,
  wrapOpal,
} from "../../../nvme/spec/opal/packet.js";
import { factoryOpalState, OPAL_RANGES, type OpalLocks } from "./opal-locks.js";

/** The only ComID. */
export const OPAL_COM_ID = 0x1000;
const FIRST_SESSION = 0x1000;
/** Wrong passwords until the authority is locked out. */
const MOST_TRIES = 5;

interface Session extends OpalSessionNumbers {
  readonly provider: string;
  readonly authority: string;
}
/** A status, with the values of a success. */
type Answer = number | readonly OpalValue[];

const flagColumns: Readonly<
  Record<number, "readLockEnabled" | "writeLockEnabled" | "readLocked" | "writeLocked">
> = {
  [OpalColumn.readLockEnabled]: "readLockEnabled",
  [OpalColumn.writeLockEnabled]: "writeLockEnabled",
  [OpalColumn.readLocked]: "readLocked",
  [OpalColumn.writeLocked]: "writeLocked",
};

const hexOf = (value: OpalValue | undefined): string =>
  value instanceof Uint8Array ? Buffer.from(value).toString("hex") : "";
const named = (values: readonly OpalValue[], name: number): OpalValue | undefined => {
  for (const each of values) if (each instanceof OpalNamed && each.name === name) return each.value;
  return undefined;
};
const hexText = (text: string): string => Buffer.from(text).toString("hex");

/** Takes ComPackets, and answers them. Sessions end with a reset, and don't move with a migration. */
export class OpalTper {
  private session: Session | undefined;
  private lastSession = FIRST_SESSION;
  private response: Uint8Array | undefined;
  private readonly wrong = new Map<string, number>();

  /**
   * @param serial the passwords of the factory are made of it
   * @param erase erases all data, and tells whether it did
   */
  constructor(
    private readonly locks: OpalLocks,
    private readonly serial: string,
    private readonly blockSizeBytes: number,
    private readonly erase: () => boolean,
  ) {}

  /** Level 0 Discovery. */
  discovery(): Uint8Array {
    const { state, hasLocked } = this.locks;
    const isActive = state.admin !== null;
    const locking = new Uint8Array(12);
    // Supported, and media encryption: a revert makes all data unreadable.
    locking[0] = 1 | (isActive ? 2 : 0) | (hasLocked ? 4 : 0) | 8;
    const tper = new Uint8Array(12);
    tper[0] = 1;
    const geometry = new Uint8Array(28);
    const shape = new DataView(geometry.buffer);
    shape.setUint32(8, this.blockSizeBytes);
    shape.setBigUint64(12, 1n);
    const opal = new Uint8Array(16);
    const view = new DataView(opal.buffer);
    view.setUint16(0, OPAL_COM_ID);
    view.setUint16(2, 1);
    view.setUint16(5, 1);
    return encodeOpalDiscovery([
      [OpalFeature.tper, tper],
      [OpalFeature.locking, locking],
      [OpalFeature.geometry, geometry],
      [OpalFeature.opal2, opal],
    ]);
  }

  /** Takes a ComPacket. @returns false if it is malformed */
  send(message: Uint8Array): boolean {
    try {
      const packet = unwrapOpal(message);
      if (packet === undefined) return true;
      this.response = this.answer(packet, decodeOpal(packet.tokens));
      return true;
    } catch (error) {
      if (error instanceof OpalFormatError) return false;
      throw error;
    }
  }

  receive(): Uint8Array {
    const { response } = this;
    this.response = undefined;
    return response ?? emptyComPacket(OPAL_COM_ID);
  }

  reset(): void {
    this.session = undefined;
    this.response = undefined;
  }

  private answer(numbers: OpalSessionNumbers, message: OpalMessage): Uint8Array {
    const reply = (tokens: Uint8Array): Uint8Array => wrapOpal(OPAL_COM_ID, numbers, tokens);
    if (numbers.tsn === 0) return reply(this.startSession(message));
    const { session } = this;
    const isOpen = session !== undefined && session.tsn === numbers.tsn && session.hsn === numbers.hsn;
    if (!isOpen) return reply(endOfSession);
    if (message.endsSession) {
      this.session = undefined;
      return reply(endOfSession);
    }
    const answer = this.execute(session, message);
    return reply(typeof answer === "number" ? encodeOpal([], answer) : encodeOpal(answer));
  }

  private startSession({ object, method, values }: OpalMessage): Uint8Array {
    const sync = { object: OpalUid.sessionManager, method: OpalMethod.syncSession };
    const refuse = (status: number): Uint8Array => encodeOpal([], status, sync);
    if (object !== OpalUid.sessionManager || method !== OpalMethod.startSession)
      return refuse(OpalStatus.invalidParameter);
    const [hsn] = values;
    const provider = hexOf(values[1]);
    const authority = hexOf(named(values, OpalParameter.authority)) || OpalUid.anybody;
    if (typeof hsn !== "number" || hsn > 0xffff_ffff) return refuse(OpalStatus.invalidParameter);
    if (this.session !== undefined) return refuse(OpalStatus.spBusy);
    const status = this.authenticate(provider, authority, hexOf(named(values, OpalParameter.challenge)));
    if (status !== OpalStatus.success) return refuse(status);
    this.lastSession++;
    this.session = { hsn, tsn: this.lastSession, provider, authority };
    return encodeOpal([hsn, this.lastSession], 0, sync);
  }

  private authenticate(provider: string, authority: string, challenge: string): number {
    const { sid, admin } = this.locks.state;
    const isAdminSp = provider === OpalUid.adminSp;
    if (!isAdminSp && (provider !== OpalUid.lockingSp || admin === null)) return OpalStatus.invalidParameter;
    if (authority === OpalUid.anybody) return OpalStatus.success;
    const pins: Readonly<Record<string, string>> = isAdminSp
      ? { [OpalUid.sid]: sid ?? hexText(this.msid), [OpalUid.psid]: hexText(`PSID-${this.serial}`) }
      : { [OpalUid.admin1]: admin ?? "" };
    const pin = pins[authority];
    if (pin === undefined) return OpalStatus.invalidParameter;
    const wrong = this.wrong.get(authority) ?? 0;
    if (wrong >= MOST_TRIES) return OpalStatus.authorityLockedOut;
    this.wrong.set(authority, pin === challenge ? 0 : wrong + 1);
    return pin === challenge ? OpalStatus.success : OpalStatus.notAuthorized;
  }

  private get msid(): string {
    return `MSID-${this.serial}`;
  }

  private execute(session: Session, { object, method, values }: OpalMessage): Answer {
    const isOwner = session.provider === OpalUid.adminSp && session.authority === OpalUid.sid;
    switch (method) {
      case OpalMethod.get:
        return this.get(session, object, values);
      case OpalMethod.set:
        return this.set(session, object, values);
      case OpalMethod.activate: {
        if (!isOwner) return OpalStatus.notAuthorized;
        if (object !== OpalUid.lockingSp) return OpalStatus.invalidParameter;
        const { sid, admin } = this.locks.state;
        return this.changed({ admin: admin ?? sid ?? hexText(this.msid) });
      }
      case OpalMethod.revert: {
        const mayRevert = isOwner || session.authority === OpalUid.psid;
        if (!mayRevert) return OpalStatus.notAuthorized;
        if (object !== OpalUid.adminSp) return OpalStatus.invalidParameter;
        if (!this.erase() || !this.locks.change(factoryOpalState)) return OpalStatus.fail;
        this.session = undefined;
        this.wrong.clear();
        return [];
      }
      default:
        return OpalStatus.invalidParameter;
    }
  }

  private changed(changes: Parameters<OpalLocks["change"]>[0]): Answer {
    return this.locks.change(changes) ? [] : OpalStatus.fail;
  }

  private rangeOf(object: string): number {
    for (let range = 0; range < OPAL_RANGES; range++) if (rangeUid(range) === object) return range;
    return -1;
  }

  private get({ provider, authority }: Session, object: string, [cells]: readonly OpalValue[]): Answer {
    const asked = Array.isArray(cells) ? cells : [];
    const from = named(asked, OpalParameter.startColumn) ?? 0;
    const to = named(asked, OpalParameter.endColumn) ?? OpalColumn.writeLocked;
    if (typeof from !== "number" || typeof to !== "number") return OpalStatus.invalidParameter;
    const row = (columns: readonly OpalNamed[]): Answer => [
      columns.filter(({ name }) => name >= from && name <= to),
    ];
    if (provider === OpalUid.adminSp) {
      if (object === OpalUid.pinMsid) return row([new OpalNamed(OpalColumn.pin, Buffer.from(this.msid))]);
      if (object !== OpalUid.lockingSp) return OpalStatus.notAuthorized;
      const { active, inactive } = OpalLifeCycle;
      return row([new OpalNamed(OpalColumn.lifeCycle, this.locks.state.admin === null ? inactive : active)]);
    }
    const range = this.locks.state.ranges[this.rangeOf(object)];
    if (authority !== OpalUid.admin1 || range === undefined) return OpalStatus.notAuthorized;
    const flags = Object.entries(flagColumns).map(
      ([column, name]) => new OpalNamed(Number(column), range[name] ? 1 : 0),
    );
    return row([
      new OpalNamed(OpalColumn.rangeStart, range.start),
      new OpalNamed(OpalColumn.rangeLength, range.blocks),
      ...flags,
    ]);
  }

  private set({ provider, authority }: Session, object: string, values: readonly OpalValue[]): Answer {
    const row = named(values, OpalParameter.values);
    if (!Array.isArray(row)) return OpalStatus.invalidParameter;
    const isOwner = provider === OpalUid.adminSp && authority === OpalUid.sid;
    const isAdministrator = provider === OpalUid.lockingSp && authority === OpalUid.admin1;
    const range = this.rangeOf(object);
    if (isAdministrator && range >= 0) return this.setRange(range, row);
    const isPin = (isOwner && object === OpalUid.pinSid) || (isAdministrator && object === OpalUid.pinAdmin1);
    if (!isPin) return OpalStatus.notAuthorized;
    const pin = named(row, OpalColumn.pin);
    if (!(pin instanceof Uint8Array) || pin.length > OPAL_PIN_BYTES) return OpalStatus.invalidParameter;
    return this.changed(isOwner ? { sid: hexOf(pin) } : { admin: hexOf(pin) });
  }

  private setRange(number: number, row: readonly OpalValue[]): Answer {
    const { ranges } = this.locks.state;
    const before = ranges[number];
    if (before === undefined) return OpalStatus.invalidParameter;
    const range = { ...before };
    for (const cell of row) {
      if (!(cell instanceof OpalNamed) || typeof cell.value !== "number") return OpalStatus.invalidParameter;
      const flag = flagColumns[cell.name];
      const isPlace = cell.name === OpalColumn.rangeStart || cell.name === OpalColumn.rangeLength;
      if (flag !== undefined && cell.value <= 1) range[flag] = cell.value === 1;
      else if (isPlace && number > 0)
        range[cell.name === OpalColumn.rangeStart ? "start" : "blocks"] = cell.value;
      else return OpalStatus.invalidParameter;
    }
    const overlaps = ranges.some(
      (other, i) =>
        i > 0 &&
        i !== number &&
        number > 0 &&
        Math.max(other.start, range.start) < Math.min(other.start + other.blocks, range.start + range.blocks),
    );
    if (overlaps) return OpalStatus.invalidParameter;
    return this.changed({ ranges: ranges.map((each, i) => (i === number ? range : each)) });
  }
}

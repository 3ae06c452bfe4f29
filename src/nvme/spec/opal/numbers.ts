/** Identifiers and numbers of TCG Storage (Core 2.01, Opal SSC 2.01): what both ends of an Opal session name. */

/** Security protocol of TCG (SECP). */
export const OPAL_PROTOCOL = 1;
/** SPSP of Level 0 Discovery; of others it is the ComID. */
export const OPAL_DISCOVERY = 1;
/** Most bytes of a password (C_PIN). */
export const OPAL_PIN_BYTES = 32;

/** Objects, by their UIDs in hexadecimal. */
export const OpalUid = {
  sessionManager: "00000000000000ff",
  adminSp: "0000020500000001",
  lockingSp: "0000020500000002",
  anybody: "0000000900000001",
  sid: "0000000900000006",
  /** Admin1 of the Locking SP. */
  admin1: "0000000900010001",
  psid: "000000090001ff01",
  pinMsid: "0000000b00008402",
  pinSid: "0000000b00000001",
  pinAdmin1: "0000000b00010001",
  globalRange: "0000080200000001",
} as const;

const FIRST_RANGE = 0x0003_0000;

/** The UID of a locking range. @param range 0: the global one */
export function rangeUid(range: number): string {
  return range === 0 ? OpalUid.globalRange : `00000802${(FIRST_RANGE + range).toString(16).padStart(8, "0")}`;
}

/** Methods, by their UIDs. */
export const OpalMethod = {
  startSession: "000000000000ff02",
  syncSession: "000000000000ff03",
  get: "0000000600000016",
  set: "0000000600000017",
  revert: "0000000600000202",
  activate: "0000000600000203",
} as const;

/** Columns of the tables C_PIN, SP and Locking. */
export const OpalColumn = {
  pin: 3,
  lifeCycle: 6,
  rangeStart: 3,
  rangeLength: 4,
  readLockEnabled: 5,
  writeLockEnabled: 6,
  readLocked: 7,
  writeLocked: 8,
} as const;

/** Names of parameters. */
export const OpalParameter = { values: 1, startColumn: 3, endColumn: 4, challenge: 0, authority: 3 } as const;

/** Life cycle states of the Locking SP. */
export const OpalLifeCycle = { inactive: 8, active: 9 } as const;

/** Statuses of methods. */
export const OpalStatus = {
  /** Done. */
  success: 0,
  /** NOT_AUTHORIZED: a wrong password, or no right to do this. */
  notAuthorized: 1,
  /** SP_BUSY: another session is open. */
  spBusy: 3,
  /** SP_FAILED. */
  spFailed: 4,
  /** SP_DISABLED. */
  spDisabled: 5,
  /** SP_FROZEN. */
  spFrozen: 6,
  /** NO_SESSIONS_AVAILABLE. */
  noSessionsAvailable: 7,
  /** INVALID_PARAMETER: out of range, or not in this state. */
  invalidParameter: 0xc,
  /** TPER_MALFUNCTION. */
  tperMalfunction: 0xf,
  /** AUTHORITY_LOCKED_OUT: too many wrong passwords. */
  authorityLockedOut: 0x12,
  /** FAIL. */
  fail: 0x3f,
} as const;

/** Codes of Level 0 features. */
export const OpalFeature = {
  /** TPer: how it communicates. */
  tper: 1,
  /** Locking. */
  locking: 2,
  /** Geometry: alignment of ranges. */
  geometry: 3,
  /** Opal 1. */
  opal1: 0x200,
  /** Opal 2. */
  opal2: 0x203,
} as const;

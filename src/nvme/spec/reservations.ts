/** Reservations: NVMe Base 2.x, figures "Reservation Status Data Structure" and "Registered Controller Data Structure". */
import { bytes, u8, u16, u32, u64 } from "../../core/struct.js";
import { at, record } from "./record.js";

/** Reservation Register, Acquire and Release, CDW10: ignores the current key (IEKEY). */
export const IGNORE_EXISTING_KEY = 1 << 3;

/** Reservation types by number (RTYPE), which is also the number of the type's bit in RESCAP. */
export const reservationTypes = [
  "none",
  "write-exclusive",
  "exclusive-access",
  "write-exclusive-registrants-only",
  "exclusive-access-registrants-only",
  "write-exclusive-all-registrants",
  "exclusive-access-all-registrants",
] as const;
/** A reservation type other than none. */
export type ReservationType = Exclude<(typeof reservationTypes)[number], "none">;

/** Reservation Status: the fields common to the 24-byte header and the longer extended one. */
export const reservationHeader = record("Reservation Status", 24, {
  /** Counts registrations and their changes. */
  gen: at(0, u32),
  /** Type of the reservation; 0: none. */
  rtype: at(4, u8),
  /** Number of registered controllers. */
  regctl: at(5, u16),
  /** 1: registrations persist through a loss of power. */
  ptpls: at(9, u8),
});

/** A registered controller, with a host identifier of 64 bits. */
export const registrant = record("Registered Controller", 24, {
  /** Controller identifier. */
  cntlid: at(0, u16),
  /** Bit 0: the host of this controller holds the reservation. */
  rcsts: at(2, u8),
  /** Host identifier. */
  hostid: at(8, bytes(8)),
  /** Reservation key. */
  rkey: at(16, u64),
});

/** A registered controller, with a host identifier of 128 bits. */
export const extendedRegistrant = record("Registered Controller Extended", 64, {
  /** Controller identifier. */
  cntlid: at(0, u16),
  /** Bit 0: the host of this controller holds the reservation. */
  rcsts: at(2, u8),
  /** Reservation key. */
  rkey: at(8, u64),
  /** Host identifier. */
  hostid: at(16, bytes(16)),
});

/** Reservations: NVMe Base 2.x, figures "Reservation Status Data Structure" and "Registered Controller Data Structure". */
import { bytes, u8, u16, u32, u64 } from "../../core/struct.js";
import { at, record } from "./record.js";

/** Reservation types by number (RTYPE); RESCAP has a bit for each at the same place. */
export const reservationTypes = [
  "none",
  "write-exclusive",
  "exclusive-access",
  "write-exclusive-registrants-only",
  "exclusive-access-registrants-only",
  "write-exclusive-all-registrants",
  "exclusive-access-all-registrants",
] as const;
export type ReservationType = Exclude<(typeof reservationTypes)[number], "none">;

/** Its first 24 bytes; an extended one is longer, with nothing in it. */
export const reservationHeader = record("Reservation Status", 24, {
  gen: at(0, u32),
  rtype: at(4, u8),
  regctl: at(5, u16),
  ptpls: at(9, u8),
});

export const registrant = record("Registered Controller", 24, {
  cntlid: at(0, u16),
  rcsts: at(2, u8),
  hostid: at(8, bytes(8)),
  rkey: at(16, u64),
});

export const extendedRegistrant = record("Registered Controller Extended", 64, {
  cntlid: at(0, u16),
  rcsts: at(2, u8),
  rkey: at(8, u64),
  hostid: at(16, bytes(16)),
});

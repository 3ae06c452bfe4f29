/** What Namespace Management is given: NVMe Base 2.x, "Host Software Specified Fields", and the command sets' parts. */
import { array, u8, u16, u32, u64 } from "../../core/struct.js";
import { IDENTIFY_BYTES } from "./identify.js";
import { at, record } from "./record.js";

/** Where fields of Identify Namespace are in it, they have the same place. */
export const namespaceToCreate = record("Namespace Management Data", IDENTIFY_BYTES, {
  nsze: at(0, u64),
  ncap: at(8, u64),
  flbas: at(26, u8),
  dps: at(29, u8),
  nmic: at(30, u8),
  anagrpid: at(92, u32),
  nvmsetid: at(100, u16),
  endgid: at(102, u16),
  lbstm: at(384, u64),
  nphndls: at(392, u16),
  /** Zoned: bit 0, zone random write areas are used. */
  znsco: at(499, u8),
  rar: at(500, u32),
  ror: at(504, u32),
  rnumzrwa: at(508, u32),
  phndl: at(512, array(u16, 128)),
});

/** Data of Namespace Management: NVMe Base 2.x, "Host Software Specified Fields", and the command sets' fields. */
import { array, u8, u16, u32, u64 } from "../../core/struct.js";
import { IDENTIFY_BYTES } from "./identify.js";
import { at, record } from "./record.js";

/** Data of Namespace Management, create. Fields of Identify Namespace have the same offset here. */
export const namespaceToCreate = record("Namespace Management Data", IDENTIFY_BYTES, {
  /** Namespace size, in blocks. */
  nsze: at(0, u64),
  /** Namespace capacity, in blocks. */
  ncap: at(8, u64),
  /** LBA format; see {@link Flbas}. */
  flbas: at(26, u8),
  /** Protection settings; see {@link Dps}. */
  dps: at(29, u8),
  /** Sharing; see {@link Nmic}. */
  nmic: at(30, u8),
  /** ANA group; 0: the controller chooses. */
  anagrpid: at(92, u32),
  /** NVM set; 0: the controller chooses. */
  nvmsetid: at(100, u16),
  /** Endurance group; 0: the controller chooses. */
  endgid: at(102, u16),
  /** Logical block storage tag mask. */
  lbstm: at(384, u64),
  /** Number of placement handles in `phndl`. */
  nphndls: at(392, u16),
  /** Zoned create options: bit 0, zone random write areas are used. */
  znsco: at(499, u8),
  /** Requested active resources (zoned). */
  rar: at(500, u32),
  /** Requested open resources (zoned). */
  ror: at(504, u32),
  /** Requested number of zone random write areas (zoned). */
  rnumzrwa: at(508, u32),
  /** Reclaim unit handles of the placement handles. */
  phndl: at(512, array(u16, 128)),
});

/** Flexible data placement: NVM Command Set 1.1, figures "Reclaim Unit Handle Status" and its descriptor. */
import { u16, u32, u64 } from "../../core/struct.js";
import { at, record } from "./record.js";

/** Management operation (MO) for reclaim unit handles: Receive reads their status, Send updates them. */
export const RECLAIM_UNIT_HANDLES = 1;

/** Reclaim Unit Handle Status: the header; NRUHSD is the number of descriptors. */
export const reclaimUnitHeader = record("Reclaim Unit Handle Status", 16, { nruhsd: at(14, u16) });

/** A reclaim unit handle's descriptor. */
export const reclaimUnitHandle = record("Reclaim Unit Handle Status Descriptor", 32, {
  /** Placement identifier. */
  pid: at(0, u16),
  /** Reclaim unit handle identifier. */
  ruhid: at(2, u16),
  /** Estimated active reclaim unit time remaining, in seconds. */
  earutr: at(4, u32),
  /** Reclaim unit available media writes, in blocks. */
  ruamw: at(8, u64),
});

/** Key Value Command Set 1.x: its Identify structure. */
import { array, bytes, u8, u16, u32, u64 } from "../../core/struct.js";
import { IDENTIFY_BYTES } from "./identify.js";
import { at, nested, record } from "./record.js";

/** One KV format: limits of keys and values, in bytes. */
export const keyValueFormat = record("KV Format", 16, {
  kml: at(0, u16),
  fopt: at(3, u8),
  vml: at(4, u32),
  /** Most keys in a namespace; 0 is no limit. */
  mnk: at(8, u32),
});
export type KeyValueFormat = ReturnType<typeof keyValueFormat.decode>;

/** CNS 05h, CSI 01h. Sizes in bytes. */
export const identifyKeyValueNamespace = record(
  "I/O Command Set specific Identify Namespace (KV)",
  IDENTIFY_BYTES,
  {
    nsze: at(0, u64),
    nuse: at(16, u64),
    nsfeat: at(24, u8),
    nkvf: at(25, u8),
    nmic: at(26, u8),
    rescap: at(27, u8),
    fpi: at(28, u8),
    novg: at(32, u32),
    anagrpid: at(36, u32),
    nsattr: at(43, u8),
    nvmsetid: at(44, u16),
    endgid: at(46, u16),
    nguid: at(48, bytes(16)),
    eui64: at(64, bytes(8)),
    kvf: at(72, array(nested(keyValueFormat), 16)),
    /** Vendor specific. */
    vs: at(3840, bytes(256)),
  },
);
export type IdentifyKeyValueNamespace = ReturnType<typeof identifyKeyValueNamespace.decode>;

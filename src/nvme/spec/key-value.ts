/** Key Value Command Set 1.x: its opcodes and its Identify structure. */
import { array, bytes, u8, u16, u32, u64 } from "../../core/struct.js";
import { IDENTIFY_BYTES } from "./identify.js";
import { at, nested, record } from "./record.js";

/** Opcodes of I/O commands to key value namespaces, besides those of reservations and Flush. */
export const KeyValueOpcode = {
  /** Store. */
  store: 0x01,
  /** Retrieve. */
  retrieve: 0x02,
  /** List. */
  list: 0x06,
  /** Delete. */
  delete: 0x10,
  /** Exist. */
  exist: 0x14,
} as const;

/** Most bytes of a key: four dwords of the command hold it. */
export const MAX_KEY_BYTES = 16;

/** One KV format: limits of keys and values, in bytes. */
export const keyValueFormat = record("KV Format", 16, {
  /** Longest key, in bytes. */
  kml: at(0, u16),
  /** Format options (FOPT). */
  fopt: at(3, u8),
  /** Longest value, in bytes. */
  vml: at(4, u32),
  /** Most keys in a namespace; 0: no limit. */
  mnk: at(8, u32),
});
/** A KV format, decoded: limits of keys and values. */
export type KeyValueFormat = ReturnType<typeof keyValueFormat.decode>;

/** CNS 05h, CSI 01h. Sizes in bytes. */
export const identifyKeyValueNamespace = record(
  "I/O Command Set specific Identify Namespace (KV)",
  IDENTIFY_BYTES,
  {
    /** Namespace size, in bytes. */
    nsze: at(0, u64),
    /** Namespace utilization, in bytes. */
    nuse: at(16, u64),
    /** Namespace features (NSFEAT). */
    nsfeat: at(24, u8),
    /** Number of KV formats (NKVF). */
    nkvf: at(25, u8),
    /** Sharing capabilities; see {@link Nmic}. */
    nmic: at(26, u8),
    /** Reservation capabilities; see {@link Rescap}. */
    rescap: at(27, u8),
    /** Format progress; see {@link Fpi}. */
    fpi: at(28, u8),
    /** Optimal value granularity, in bytes; 0: not reported. */
    novg: at(32, u32),
    /** ANA group of the namespace; 0: none. */
    anagrpid: at(36, u32),
    /** Namespace attributes: bit 0 is write-protected. */
    nsattr: at(43, u8),
    /** NVM set of the namespace; 0: none. */
    nvmsetid: at(44, u16),
    /** Endurance group of the namespace; 0: none. */
    endgid: at(46, u16),
    /** Namespace globally unique identifier, 16 bytes; zeros: none. */
    nguid: at(48, bytes(16)),
    /** IEEE extended unique identifier, 8 bytes; zeros: none. */
    eui64: at(64, bytes(8)),
    /** KV formats. */
    kvf: at(72, array(nested(keyValueFormat), 16)),
    /** Vendor specific. */
    vs: at(3840, bytes(256)),
  },
);
/** Identify Namespace of the Key Value Command Set (CNS 05h, CSI 01h), decoded. */
export type IdentifyKeyValueNamespace = ReturnType<typeof identifyKeyValueNamespace.decode>;

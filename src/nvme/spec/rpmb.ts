/** Replay Protected Memory Block: its frames, requests and results (NVMe Base 2.x, section "Replay Protected Memory Block"). */
import { bytes, u8, u16, u32 } from "../../core/struct.js";
import { at, bits, record } from "./record.js";

/** Security protocol of RPMB (SECP). */
export const RPMB_PROTOCOL = 0xea;
/** SPSP of RPMB. */
export const RPMB_SPECIFIC = 1;
/** Bytes of a sector, which addresses and counts are in. */
export const RPMB_SECTOR_BYTES = 512;
/** Bytes of a key and of a message authentication code. */
export const RPMB_KEY_BYTES = 32;
/** Unit of a target's size, in bytes. */
export const RPMB_UNIT_BYTES = 128 << 10;
/** The message authentication code is of the bytes from here on. */
export const RPMB_MAC_FROM = 223;

/** RPMB Data Frame, before its data. */
export const rpmbFrame = record("RPMB Data Frame", 256, {
  /** The key, or the message authentication code. */
  mac: at(191, bytes(RPMB_KEY_BYTES)),
  target: at(RPMB_MAC_FROM, u8),
  nonce: at(224, bytes(16)),
  writeCounter: at(240, u32),
  /** In sectors. */
  address: at(244, u32),
  sectors: at(248, u32),
  result: at(252, u16),
  type: at(254, u16),
});

/** Request message types. The type of a response is 256 times that of its request. */
export const RpmbRequest = {
  /** Authentication key programming. */
  programKey: 1,
  /** Reading of the write counter. */
  readCounter: 2,
  /** Authenticated data write. */
  writeData: 3,
  /** Authenticated data read. */
  readData: 4,
  /** Result of a key programming or a write. */
  readResult: 5,
  /** Authenticated Device Configuration Block write. */
  writeConfiguration: 6,
  /** Authenticated Device Configuration Block read. */
  readConfiguration: 7,
} as const;

/** Results of a request, bits 6:0. */
export const RpmbResult = {
  /** Success. */
  success: 0,
  /** General failure. */
  generalFailure: 1,
  /** The message authentication code doesn't match the key. */
  authenticationFailure: 2,
  /** The write counter doesn't match. */
  counterFailure: 3,
  /** The address is out of range. */
  addressFailure: 4,
  /** Writing failed. */
  writeFailure: 5,
  /** Reading failed. */
  readFailure: 6,
  /** No key was programmed. */
  keyNotProgrammed: 7,
  /** The Device Configuration Block is invalid. */
  invalidConfiguration: 8,
} as const;

/** Bit of the result: the write counter has reached its end, and nothing can be written any more. */
export const RPMB_COUNTER_EXPIRED = 1 << 7;

/** RPMBS of Identify Controller. */
export const rpmbSupport = record("RPMBS", 4, {
  targets: at(0, bits(u8, 0, 3)),
  /** 0: HMAC SHA-256. */
  authentication: at(0, bits(u8, 3, 3)),
  /** In 128 KiB, zero-based. */
  size: at(2, u8),
  /** In sectors, zero-based. */
  access: at(3, u8),
});

/** RPMB Device Configuration Block, the data of target 0's configuration. */
export const rpmbConfiguration = record("RPMB Device Configuration Block", RPMB_SECTOR_BYTES, {
  /** 1: boot partitions are protected by the locks below, and no longer by a feature; can't be taken back. */
  bootPartitionProtection: at(0, bits(u8, 0, 1)),
  /** 1: boot partition 0 is locked. */
  bootPartition0Locked: at(1, bits(u8, 0, 1)),
  /** 1: boot partition 1 is locked. */
  bootPartition1Locked: at(1, bits(u8, 1, 1)),
  /** Namespace Write Protection Authentication Control. */
  writeProtectionControl: at(2, u8),
});
/** RPMB Device Configuration Block, decoded. */
export type RpmbConfiguration = ReturnType<typeof rpmbConfiguration.decode>;

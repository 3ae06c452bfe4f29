/** Layout of submission and completion queue entries in 32-bit words: NVMe Base 2.x, "Submission Queue Entry". */

/** 32-bit words of a submission queue entry (64 bytes). */
export const SQE_WORDS = 16;
/** The same of a controller whose entries take twice the space, of which the second half is unused: quirk `entries-128-bytes`. */
export const WIDE_SQE_WORDS = 32;
/** 32-bit words of a completion queue entry (16 bytes). */
export const CQE_WORDS = 4;
/** Bytes of a submission queue entry. */
export const SQE_BYTES = SQE_WORDS * 4;
/** Bytes of a completion queue entry. */
export const CQE_BYTES = CQE_WORDS * 4;
/** CC.IOSQES: log2 of SQE_BYTES. */
export const IOSQES = 6;
/** CC.IOCQES: log2 of CQE_BYTES. */
export const IOCQES = 4;

/** Fused operation (FUSE), a field of CDW0. */
export const Fuse = {
  /** First bit of the field. */
  SHIFT: 8,
  /** The field's bits, in place. */
  MASK: 3 << 8,
  /** First command of a fused operation. */
  first: 1,
  /** Second command of a fused operation. */
  second: 2,
} as const;

/** First word of the metadata pointer (MPTR) of a submission queue entry. */
export const MPTR = 4;
/** First word of the data pointer (DPTR) of a submission queue entry. */
export const DPTR = 6;

/** PRP or SGL for Data Transfer (PSDT), a field of CDW0. */
export const Psdt = {
  /** First bit of the field. */
  SHIFT: 14,
  /** The field's bits, in place. */
  MASK: 3 << 14,
  /** Data by PRPs; MPTR is an address. */
  prp: 0,
  /** Data by an SGL; MPTR is an address. */
  sgl: 1,
  /** Data by an SGL; MPTR is the address of an SGL segment with one descriptor. */
  sglMetadata: 2,
} as const;

/** Bits 1:0 of an opcode: the direction of the command's data. */
export const DataDirection = {
  MASK: 3,
  none: 0,
  hostToController: 1,
  controllerToHost: 2,
  bidirectional: 3,
} as const;

/** Direction of a command's data: a value of {@link DataDirection}. */
export function dataDirection(opcode: number): number {
  return opcode & DataDirection.MASK;
}

/** What register blocks read and write: a BAR, or anything else that has registers. */

/** The memory of mapped registers, by width of access. All are undefined while registers aren't mapped. */
export interface MappedRegisters {
  /** For 8 bits. */
  bytes: Uint8Array | undefined;
  /** For 16 bits. */
  halves: Uint16Array | undefined;
  /** For 32 bits, and for 64 bits in halves. */
  words: Uint32Array | undefined;
  /** For 64 bits at once. */
  longs: BigUint64Array | undefined;
}

/** Registers that aren't mapped. @internal */
export const NOT_MAPPED: Readonly<MappedRegisters> = {
  bytes: undefined,
  halves: undefined,
  words: undefined,
  longs: undefined,
};

/** Registers by offset. Each call is one access of exactly that width, little-endian. All throw ClosedError after close. */
export interface RegisterAccess {
  /** Names the registers in errors, such as `BAR 0 of 0000:00:03.0`. */
  readonly label: string;
  /** Length in bytes. */
  readonly sizeBytes: number;
  /** Where loads and stores do the same as the calls. The owner sets and clears its fields; undefined if it never maps. */
  readonly mapped?: MappedRegisters;
  /** One access of 8 bits. */
  read8(offset: number): number;
  /** One access of 16 bits. */
  read16(offset: number): number;
  /** One access of 32 bits. */
  read32(offset: number): number;
  /** One access of 64 bits. */
  readWhole64(offset: number): bigint;
  /** One access of 8 bits. */
  write8(offset: number, value: number): void;
  /** One access of 16 bits. */
  write16(offset: number, value: number): void;
  /** One access of 32 bits. */
  write32(offset: number, value: number): void;
  /** One access of 64 bits. */
  writeWhole64(offset: number, value: bigint): void;
  /** Whether the device has gone. A wait asks when a register reads all ones. */
  isGone?(): boolean;
  /** Ends a wait with its reason. A wait asks when it begins. */
  waitSignal?(): AbortSignal;
}

/** What the emulated controller did with the memory that its host lent it. */

/** Statistics of the cache in the host memory buffer. */
export interface HostMemoryUse {
  /** What the host has given; 0 for nothing. */
  readonly sizeBytes: number;
  /** Reads that the cache answered. */
  readonly hits: number;
  /** Reads that the cache couldn't answer. */
  readonly misses: number;
  /** Lines that the host had changed or unmapped. */
  readonly damaged: number;
}

/** What the client and the server exchange: answers, and the client's memory. */

/** Our memory, which the server may access by message (VFIO_USER_DMA_READ and DMA_WRITE). */
export interface ClientDma {
  /**
   * Fills `target` from the memory mapped at I/O virtual address `iova`.
   * @returns false if the range isn't mapped in one piece, or not for reading
   */
  read(iova: bigint, target: Uint8Array): boolean;
  /**
   * Writes `source` to the memory mapped at I/O virtual address `iova`.
   * @returns false if the range isn't mapped in one piece, or not for writing
   */
  write(iova: bigint, source: Uint8Array): boolean;
}

/** The server's answer to a request. */
export interface Answer {
  /** What follows the message header. */
  readonly payload: Uint8Array;
  /** Descriptors that came with the answer; the caller closes them. */
  readonly fds: readonly number[];
}

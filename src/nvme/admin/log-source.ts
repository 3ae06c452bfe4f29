/** Options of {@link NvmeLogs.read}, under the specification's names. */
export interface LogPageOptions {
  /** Namespace the page is about; all (FFFFFFFFh) by default. */
  readonly nsid?: number | undefined;
  /** Log Specific Parameter, 7 bits. */
  readonly lsp?: number | undefined;
  /** Log Specific Identifier, 16 bits. */
  readonly lsi?: number | undefined;
  /** Retain Asynchronous Event: reading does not clear the event that told of the page. */
  readonly rae?: boolean | undefined;
  /** Command Set Identifier. */
  readonly csi?: number | undefined;
  /** Index in the UUID list; 0 is none. */
  readonly uuidIndex?: number | undefined;
  /** First byte, multiple of 4. */
  readonly offset?: number | undefined;
  /**
   * First entry, in place of a first byte (OT, index offset): 0 is the header, where the page has one. Only of pages that
   * {@link NvmeLogs.supportedLogPages} calls `indexOffset`, and of one command's length.
   */
  readonly index?: number | undefined;
}

/** Of pages that are read whole. */
export type WholePageOptions = Omit<LogPageOptions, "offset" | "index">;

/** What parts of the logs' API need to read pages. */
export interface LogSource {
  read(lid: number, sizeBytes: number, options?: LogPageOptions): Promise<Uint8Array>;
  readGrowing(
    lid: number,
    firstBytes: number,
    needed: (page: Uint8Array) => number,
    options?: WholePageOptions,
  ): Promise<Uint8Array>;
}

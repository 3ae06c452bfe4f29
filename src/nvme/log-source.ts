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
}

/** What parts of the logs' API need to read pages. */
export interface LogSource {
  read(lid: number, sizeBytes: number, options?: LogPageOptions): Promise<Uint8Array>;
  readGrowing(
    lid: number,
    firstBytes: number,
    needed: (page: Uint8Array) => number,
    options?: Omit<LogPageOptions, "offset">,
  ): Promise<Uint8Array>;
}

/** Options of Get Log Page, and the interface that the log helpers use. */

/** Options of {@link NvmeLogs.read}, under the specification's names. */
export interface LogPageOptions {
  /** Namespace of the page; FFFFFFFFh (default): the controller or all namespaces. */
  readonly nsid?: number | undefined;
  /** Log Specific Parameter, 7 bits. */
  readonly lsp?: number | undefined;
  /** Log Specific Identifier, 16 bits. */
  readonly lsi?: number | undefined;
  /** Retain Asynchronous Event: reading doesn't clear the event that names the page. */
  readonly rae?: boolean | undefined;
  /** Command Set Identifier. */
  readonly csi?: number | undefined;
  /** Index in the UUID list; 0 is none. */
  readonly uuidIndex?: number | undefined;
  /** Offset of the first byte, a multiple of 4; 0 by default. */
  readonly offset?: number | undefined;
  /**
   * Index of the first entry, instead of `offset` (OT); 0 is the header, if the page has one. Only for pages with
   * `indexOffset` in {@link NvmeLogs.supportedLogPages}, and only for the size of one transfer.
   */
  readonly index?: number | undefined;
}

/** Options for pages that are read completely. */
export type WholePageOptions = Omit<LogPageOptions, "offset" | "index">;

/** Reads log pages: what the log helpers need of {@link NvmeLogs}. */
export interface LogSource {
  read(lid: number, sizeBytes: number, options?: LogPageOptions): Promise<Uint8Array>;
  readGrowing(
    lid: number,
    firstBytes: number,
    needed: (page: Uint8Array) => number,
    options?: WholePageOptions,
  ): Promise<Uint8Array>;
}

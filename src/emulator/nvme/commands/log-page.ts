/** A log page of another part of the controller than Get Log Page itself. */

/** A page that another part of the controller has. */
export interface LogProvider {
  /** The page as asked for by the current command, or a status. */
  page(): Uint8Array | number;
  /** It was read, and its event is cleared (RAE is 0). */
  read?(): void;
}

/** A log page that a service provides for Get Log Page. */

/** Provides a log page. */
export interface LogProvider {
  /** The page as asked for by the current command, or a status. */
  page(): Uint8Array | number;
  /** It was read, and its event is cleared (RAE is 0). */
  read?(): void;
}

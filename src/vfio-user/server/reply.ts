/** The form of the server's answer to a request. */

/** What the server answers a request with. */
export interface Reply {
  readonly parts?: readonly Uint8Array[];
  /** Descriptors to send along. */
  readonly fds?: readonly number[];
  /** Called once the descriptors were sent, or can't be sent any more. */
  readonly sent?: () => void;
}

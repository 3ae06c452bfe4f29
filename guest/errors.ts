/** An error that the user can act on: its message is shown without a stack. */
export class GuestToolError extends Error {
  override name = "GuestToolError";
}

/** Something the user can act on: its message is shown alone, without a stack. */
export class GuestToolError extends Error {
  override name = "GuestToolError";
}

/** The error of changes to the host. */
import { IovaError } from "../../core/errors.js";

/** A change to the host failed and was undone, or can't be taken back. The message says which, and what is left. */
export class HostChangeError extends IovaError {
  constructor(message: string, options?: ErrorOptions) {
    super("ERR_IOVA_HOST_CHANGE", message, options);
  }
}

/** An error as the end of a sentence. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

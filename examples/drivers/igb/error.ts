/** Errors of the network controller. */
import { IovaError } from "iova";

/** The device or a call broke a rule that the message names. */
export class IgbError extends IovaError {
  constructor(message: string) {
    super("ERR_IGB", message);
  }
}

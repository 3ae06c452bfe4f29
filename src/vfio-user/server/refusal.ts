/** The error that a request is answered with. */
import { errnoName } from "../../core/errno.js";
import { IovaError } from "../../core/errors.js";

/** What the server answers a request with that it doesn't carry out. */
export class Refusal extends IovaError {
  constructor(readonly errno: number) {
    super("ERR_IOVA_REFUSED", `refused: ${errnoName(errno)}`);
  }
}

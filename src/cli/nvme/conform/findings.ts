/** How a check says that something is wrong, or doesn't apply. */
import { IovaError } from "../../../core/errors.js";

/** The controller breaks the specification. */
export class Broken extends IovaError {
  constructor(message: string) {
    super("ERR_IOVA_NVME_PROTOCOL", message);
  }
}

/** The check doesn't apply to this controller. */
export class NotApplicable extends IovaError {
  constructor(why: string) {
    super("ERR_IOVA_UNSUPPORTED", why);
  }
}

/** @throws Broken unless it holds */
export function expect(holds: boolean, found: string): void {
  if (!holds) throw new Broken(found);
}

/** @throws Broken unless bytes are these */
export function expectSame(found: Uint8Array, wanted: ArrayLike<number>): void {
  const at = found.findIndex((byte, i) => byte !== wanted[i]);
  expect(at < 0, `byte ${at} differs`);
}

/** @throws NotApplicable unless the controller has what the check is about */
export function needs(has: boolean, what: string): void {
  if (!has) throw new NotApplicable(what);
}

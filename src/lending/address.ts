/** Addresses of functions that a server lends: `served:/path/of/socket@0000:00:03.0`. */
import { show } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";

/** The beginning of such an address. */
export const SERVED = "served:";

/** The parts of an address. */
export interface ServedAddress {
  /** Path of the server's socket. */
  readonly socket: string;
  /** PCI address of the function, as it was written. */
  readonly bdf: string;
}

/** Reads an address; undefined if it is of another kind. @throws ArgumentError if its parts are missing */
export function parseServed(address: string): ServedAddress | undefined {
  if (!address.startsWith(SERVED)) return undefined;
  const at = address.lastIndexOf("@");
  const [socket, bdf] = [address.slice(SERVED.length, Math.max(at, 0)), address.slice(at + 1)];
  if (at < 0 || socket === "" || bdf === "")
    throw new ArgumentError(`${show(address)}: write it as ${SERVED}/path/of/socket@0000:00:03.0`);
  return { socket, bdf };
}

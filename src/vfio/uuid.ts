/** UUIDs as text, and as the 16 bytes that VFIO uses. */
import { show } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function isUuid(text: string): boolean {
  return typeof text === "string" && UUID.test(text);
}

/** The 16 bytes of a UUID, in the order of its text, which VFIO requires. @throws ArgumentError */
export function uuidToBytes(uuid: string): Uint8Array {
  if (!isUuid(uuid)) throw new ArgumentError(`${show(uuid)} is not a UUID`);
  return Uint8Array.from(Buffer.from(uuid.replaceAll("-", ""), "hex"));
}

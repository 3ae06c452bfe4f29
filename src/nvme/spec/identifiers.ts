/** Text form of identifiers in the NVMe data structures. */
import { show } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";

/** Formats the 16 bytes of a UUID (most significant byte first, RFC 9562) as 8-4-4-4-12 hex digits. */
export function uuidText(uuid: Uint8Array): string {
  const hex = Buffer.from(uuid).toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Parses a UUID into its 16 bytes. @throws ArgumentError if `text` isn't a UUID */
export function uuidBytes(text: string): Uint8Array {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) {
    throw new ArgumentError(`${show(text)} isn't a UUID; expected 8-4-4-4-12 hex digits`);
  }
  return Buffer.from(text.replaceAll("-", ""), "hex");
}

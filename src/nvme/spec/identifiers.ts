import { ArgumentError } from "../../core/errors.js";

/** A UUID's 16 bytes as NVMe stores them (RFC 9562, most significant first) in its usual form. */
export function uuidText(uuid: Uint8Array): string {
  const hex = Buffer.from(uuid).toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** The bytes of a UUID. @throws ArgumentError where `text` is none */
export function uuidBytes(text: string): Uint8Array {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) {
    throw new ArgumentError(`${JSON.stringify(text)} is no UUID`);
  }
  return Buffer.from(text.replaceAll("-", ""), "hex");
}

/** Ethernet addresses as text. */
import { IgbError } from "./error.js";

const ADDRESS = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;

/** `52:54:00:12:34:56` as bytes. @throws IgbError if it is malformed */
export function parseMac(text: string): Uint8Array {
  if (!ADDRESS.test(text)) throw new IgbError(`an address is such as 52:54:00:12:34:56, got ${text}`);
  return Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16));
}

/** Bytes as `52:54:00:12:34:56`. */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

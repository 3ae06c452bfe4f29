/**
 * Decodes vital product data (PCI 3.0, appendix I): names and numbers that the manufacturer wrote into a memory of the device.
 * The bytes are a device's word: each step of a loop consumes some of them, so that their number is the limit.
 */
import { checkBytes, checkInteger } from "../../core/check.js";
import { hexDigits } from "../../core/hex-digits.js";

/** What 15 bits can address. */
export const MAX_VPD_BYTES = 0x8000;
const MAX_NOTES = 8;

const IDENTIFIER = 0x82;
const READ_ONLY = 0x90;
const READ_WRITE = 0x91;
/** A small resource: the low 3 bits are its length. */
const END = 0x78;
const LARGE = 0x80;

const titles: Readonly<Record<string, string>> = {
  PN: "Part number",
  EC: "Engineering change level",
  FG: "Fabric geography",
  LC: "Location",
  MN: "Manufacturer",
  PG: "PCI geography",
  SN: "Serial number",
  CP: "Extended capability",
  RV: "Checksum and reserved bytes",
  YA: "Asset tag",
  RW: "Free bytes",
};

/** A field of vital product data. */
export interface PciVpdField {
  /** Two characters. */
  readonly keyword: string;
  /** What the specification says that the keyword means. */
  readonly title: string;
  /** Its value, without blanks and zeros at the end; undefined if it isn't ASCII text. */
  readonly text: string | undefined;
  /** Its value as hexadecimal text, two digits for each byte. */
  readonly bytes: string;
}

/** Vital product data, decoded. It can be made JSON. */
export interface PciVpd {
  /** Undefined if there is none. */
  readonly productName: string | undefined;
  /** What the manufacturer wrote, with the checksum. */
  readonly readOnly: readonly PciVpdField[];
  /** What software may write. */
  readonly readWrite: readonly PciVpdField[];
  /** Whether the bytes up to the checksum add up to 0; undefined without a checksum. */
  readonly checksum: "good" | "bad" | undefined;
  /** Bytes of the writable part that no field uses; undefined if it doesn't say. */
  readonly freeBytes: number | undefined;
  /** What is damaged, and what isn't decoded because of it. */
  readonly notes: readonly string[];
}

/**
 * Decodes vital product data as a device gives them. What is damaged is a note, not an error.
 * @param bytes from their start, at most 32768
 * @throws ArgumentError
 */
export function parseVpd(bytes: Uint8Array): PciVpd {
  checkBytes("bytes", bytes);
  checkInteger("length of the vital product data", bytes.length, 0, MAX_VPD_BYTES);
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const notes: string[] = [];
  const readOnly: PciVpdField[] = [];
  const readWrite: PciVpdField[] = [];
  let productName: string | undefined;
  let checksum: PciVpd["checksum"];
  let freeBytes: number | undefined;
  let isEnded = false;
  let at = 0;
  while (!isEnded && at < view.length && notes.length < MAX_NOTES) {
    const tag = view.readUInt8(at);
    const place = `resource 0x${hexDigits(tag, 2)} at byte ${at}`;
    isEnded = (tag & ~7) === END;
    if (isEnded) break;
    if (tag < LARGE || at + 3 > view.length) {
      notes.push(
        `${place} is ${tag < LARGE ? "of an unknown kind" : "cut off"}: nothing after it is decoded`,
      );
      break;
    }
    const start = at + 3;
    const length = view.readUInt16LE(at + 1);
    const end = Math.min(start + length, view.length);
    if (end < start + length)
      notes.push(`${place} says that it has ${length} bytes, but only ${end - start} follow`);
    if (tag === IDENTIFIER) productName ??= trimmed(view.toString("latin1", start, end));
    else if (tag === READ_ONLY)
      for (const { field, valueAt } of fieldsIn(view, start, end, notes)) {
        readOnly.push(field);
        if (field.keyword === "RV" && field.bytes !== "") checksum ??= sumOf(view, valueAt + 1);
      }
    else if (tag === READ_WRITE)
      for (const { field } of fieldsIn(view, start, end, notes)) {
        if (field.keyword === "RW") freeBytes ??= field.bytes.length / 2;
        else readWrite.push(field);
      }
    else notes.push(`${place} is of an unknown kind`);
    at = end;
  }
  if (!isEnded) notes.push("there is no end tag");
  return { productName, readOnly, readWrite, checksum, freeBytes, notes };
}

/** The fields of a resource, with the places of their values. */
function* fieldsIn(
  view: Buffer,
  start: number,
  to: number,
  notes: string[],
): Generator<{ readonly field: PciVpdField; readonly valueAt: number }> {
  let at = start;
  while (at + 3 <= to) {
    const keyword = view.toString("latin1", at, at + 2);
    if (!/^[\x21-\x7e]{2}$/.test(keyword)) {
      notes.push(`there is no keyword at byte ${at}: the rest of its resource isn't decoded`);
      return;
    }
    const length = view.readUInt8(at + 2);
    const valueAt = at + 3;
    const end = Math.min(valueAt + length, to);
    if (end < valueAt + length)
      notes.push(
        `field ${keyword} at byte ${at} says that it has ${length} bytes, but only ${end - valueAt} follow`,
      );
    const text = trimmed(view.toString("latin1", valueAt, end));
    yield {
      field: {
        keyword,
        title:
          titles[keyword] ??
          (keyword.startsWith("V")
            ? "Vendor specific"
            : keyword.startsWith("Y")
              ? "System specific"
              : "Unknown"),
        text: /^[\x20-\x7e]*$/.test(text) ? text : undefined,
        bytes: view.toString("hex", valueAt, end),
      },
      valueAt,
    };
    at = end;
  }
  if (at < to) notes.push(`${to - at} bytes at byte ${at} are too few for a field`);
}

function sumOf(view: Buffer, to: number): "good" | "bad" {
  return view.subarray(0, to).reduce((sum, byte) => (sum + byte) & 0xff, 0) === 0 ? "good" : "bad";
}

function trimmed(text: string): string {
  return text.replace(/[\0 ]+$/, "");
}

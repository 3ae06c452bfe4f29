/** Formats what `iova nvme` prints: JSON, tables, pairs and hex dumps. */
import { largestOf } from "../../core/lists.js";
import { visible } from "../../core/visible.js";
import { printJsonText } from "../terminal.js";

/** A JSON value. A bigint becomes bare digits, as nvme-cli prints it. */
export type Json =
  | string
  | number
  | bigint
  | boolean
  | null
  | readonly Json[]
  | { readonly [key: string]: Json | undefined };

function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}

/** JSON text with an indent of two. Keys without a value are left out. */
export function toJson(value: Json, indent = ""): string {
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const inner = `${indent}  `;
  const parts = isList(value)
    ? value.map((item) => toJson(item, inner))
    : Object.entries(value).flatMap(([key, item]) =>
        item === undefined ? [] : [`${JSON.stringify(key)}: ${toJson(item, inner)}`],
      );
  const [open, close] = isList(value) ? "[]" : "{}";
  if (parts.length === 0) return `${open}${close}`;
  return `${open}\n${inner}${parts.join(`,\n${inner}`)}\n${indent}${close}`;
}

export function printJson(value: Json): void {
  printJsonText(toJson(value));
}

/** `0x10`; 0 stays 0, as C's %#x prints it. */
export function hex(value: number | bigint): string {
  return value === 0 || value === 0n ? "0" : `0x${value.toString(16)}`;
}

/** Lines of `name : value`, with the colons aligned. */
export function pairs(entries: readonly (readonly [name: string, value: string])[]): string {
  const width = largestOf(
    entries.map(([name]) => name.length),
    0,
  );
  return entries.map(([name, value]) => `${name.padEnd(width)} : ${visible(value)}`.trimEnd()).join("\n");
}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"] as const;

/** Decimal units, as disks are sold and nvme-cli prints them: `67.11 MB`. */
export function decimalBytes(bytes: number | bigint): string {
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(2)} ${UNITS[unit]}`;
}

/** Bytes as hexadecimal and as text, 16 a line; `*` stands for equal lines, as in hexdump. */
export function hexDump(bytes: Uint8Array): string {
  const lines: string[] = [];
  let last = "";
  let skipped = false;
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const digits = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const isLastRow = at + 16 >= bytes.length;
    if (digits === last && !isLastRow) {
      if (!skipped) lines.push("*");
      skipped = true;
      continue;
    }
    last = digits;
    skipped = false;
    const text = row.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(4, "0")}: ${digits.padEnd(47)}  ${text}`);
  }
  return lines.join("\n");
}

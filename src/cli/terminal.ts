/**
 * Prints the command's text, and makes text from devices safe for a terminal first: a device must not be able to colour,
 * move, hide or reorder what an operator reads.
 */
import { inspect } from "node:util";

/** Control characters (C0, DEL, C1), format characters (bidirectional overrides, zero width), separators, lone surrogates. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const digits = code.toString(16);
  return code <= 0xff ? `\\x${digits.padStart(2, "0")}` : `\\u{${digits}}`;
}

/** The text on one line, with each unsafe character as `\xNN` or `\u{NNNN}`. */
export function visible(text: string): string {
  return text.replace(UNSAFE, escaped);
}

/** The same for text of several lines. */
export function visibleLines(text: string): string {
  return text.replace(UNSAFE, (character) => (character === "\n" ? character : escaped(character)));
}

/** A string field of a device: it ends at the first NUL, as the kernel and nvme-cli read it, and blanks around it are padding. */
export function deviceText(field: string): string {
  return field.replace(/\0.*$/s, "").replace(/^ +| +$/g, "");
}

/** Writes lines to standard output, with a newline at the end. */
export function print(text: string): void {
  const lines = visibleLines(text);
  process.stdout.write(lines.endsWith("\n") ? lines : `${lines}\n`);
}

/** Writes lines in place of the line that is being typed. */
export function printOverPrompt(text: string): void {
  process.stdout.write(`\r\x1b[K${visibleLines(text)}\n`);
}

/** Writes JSON text to standard output. Unsafe characters that JSON.stringify() leaves as they are become `\uNNNN`. */
export function printJsonText(json: string): void {
  const ascii = json.replace(UNSAFE, (character) => {
    if (character === "\n") return character;
    const units = Array.from({ length: character.length }, (_, at) => character.charCodeAt(at));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  });
  process.stdout.write(`${ascii}\n`);
}

/** Writes an unexpected error to standard error, with its stack and causes. */
export function printCrash(error: unknown): void {
  process.stderr.write(`${visibleLines(inspect(error))}\n`);
}

/** Writes one line that begins with `iova: ` to standard error. */
export function printError(message: string): void {
  process.stderr.write(`iova: ${visible(message)}\n`);
}

/**
 * Makes text from devices safe for a terminal: a device must not be able to colour, move, hide or reorder what an operator
 * reads.
 */

/** Control characters (C0, DEL, C1), format characters (bidirectional overrides, zero width), separators, lone surrogates. */
export const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

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

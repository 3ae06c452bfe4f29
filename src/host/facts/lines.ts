/** Lines of a configuration file, as parsers take them. */

/** No line that the parsers look for is longer. It also bounds how long a pattern can search. */
const MAX_LENGTH = 4096;

/** Lines without blanks at their ends, cut after 4096 characters. */
export function linesOf(text: string): string[] {
  return text.split("\n").map((line) => line.slice(0, MAX_LENGTH).trimEnd());
}

/** The specification's names, made of the identifiers that the library has for them. */

const SPELLINGS: readonly (readonly [RegExp, string])[] = [
  [/\bIo\b/g, "I/O"],
  [/\bNvme Mi\b/g, "NVMe-MI"],
  [/\bNvm\b/g, "NVM"],
  [/\bLba\b/g, "LBA"],
  [/\bAsync\b/g, "Asynchronous"],
  [/\bOf\b/g, "of"],
];

/** `deleteIoSubmissionQueue` becomes `Delete I/O Submission Queue`. */
export function specName(identifier: string): string {
  const words = identifier.replace(/[A-Z]/g, (letter) => ` ${letter}`);
  const capitalized = words.charAt(0).toUpperCase() + words.slice(1);
  return SPELLINGS.reduce((text, [pattern, spelling]) => text.replace(pattern, spelling), capitalized);
}

/** The name of a number in a table of identifiers; undefined where it isn't there. */
export function nameOf(table: Readonly<Record<string, number>>, value: number): string | undefined {
  const identifier = Object.keys(table).find((key) => table[key] === value);
  return identifier === undefined ? undefined : specName(identifier);
}

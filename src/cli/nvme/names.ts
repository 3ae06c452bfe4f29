/** Makes the specification's names from the library's identifiers. */

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

/** The name of a number in a table of identifiers; undefined if the table lacks it. */
export function nameOf(table: Readonly<Record<string, number>>, value: number): string | undefined {
  const identifier = Object.keys(table).find((key) => table[key] === value);
  return identifier === undefined ? undefined : specName(identifier);
}

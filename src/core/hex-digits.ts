/** Numbers of a fixed width in hexadecimal. */

/** `10d3`, with leading zeros. @param digits how many at least */
export function hexDigits(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

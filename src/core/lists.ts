/**
 * Functions for lists of any length. A list that is spread into a call, of Math.max() for one, lies on the
 * stack: beyond some 100,000 items that throws a RangeError.
 */

/** Adds items at the end of a list. */
export function append<T>(list: T[], items: Iterable<T>): void {
  for (const item of items) list.push(item);
}

/** The largest of some numbers. @param atLeast the result if none is larger */
export function largestOf(values: Iterable<number>, atLeast = Number.NEGATIVE_INFINITY): number {
  let largest = atLeast;
  for (const value of values) if (value > largest) largest = value;
  return largest;
}

/** The smallest of some numbers; Infinity of none. */
export function smallestOf(values: Iterable<number>): number {
  let smallest = Number.POSITIVE_INFINITY;
  for (const value of values) if (value < smallest) smallest = value;
  return smallest;
}

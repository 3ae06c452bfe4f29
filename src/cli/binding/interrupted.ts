/** The end of a program by a signal, after it has undone what it did. */

/** A signal asked the program to end, and everything was undone. */
export class Interrupted extends Error {
  constructor(readonly signal: NodeJS.Signals) {
    super(`interrupted by ${signal}: everything is as it was before`);
  }
}

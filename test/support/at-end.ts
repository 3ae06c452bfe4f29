/** What is to be removed when a test file or a program of tests ends. */

const duties: (() => void)[] = [];
let isExitWatched = false;

/**
 * Calls `duty` when the test file ends, or the process where that comes first. Vitest ends its processes by a signal, without
 * an `exit` event. One listener of the process does all duties: Node.js warns of more than ten.
 */
export function atEnd(duty: () => void): void {
  duties.push(duty);
  if (!isExitWatched) process.once("exit", endAll);
  isExitWatched = true;
}

/** Does all duties now, the last one first. */
export function endAll(): void {
  for (const duty of duties.splice(0).toReversed()) duty();
}

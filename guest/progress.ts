/** Shows the steps of long preparations on stderr. */
const PLAIN_INTERVAL_MS = 10_000;

/** Progress of long steps: download, unpack, compile. */
export interface Progress {
  /** A new state of the running step. Called as often as the caller likes. */
  update(text: string): void;
  /** A line that stays: a step has ended, or the user needs to know something. */
  note(text: string): void;
}

/**
 * Progress on stderr, so that stdout stays the command's own: one line that
 * rewrites itself on a terminal, an occasional plain line in a log.
 */
export class StderrProgress implements Progress {
  #lastStep = "";
  #lastPlain = 0;
  #onLine = false;

  update(text: string): void {
    if (process.stderr.isTTY) {
      process.stderr.write(`\r\x1b[K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`);
      this.#onLine = true;
      return;
    }
    // The step is the text before the colon; a new step always gets a line.
    const step = text.split(":", 1)[0] ?? text;
    const now = Date.now();
    if (step === this.#lastStep && now - this.#lastPlain < PLAIN_INTERVAL_MS) return;
    this.#lastStep = step;
    this.#lastPlain = now;
    process.stderr.write(`${text}\n`);
  }

  note(text: string): void {
    process.stderr.write(`${this.#onLine ? "\r\x1b[K" : ""}${text}\n`);
    this.#onLine = false;
  }
}

export const silentProgress: Progress = {
  update: () => {},
  note: () => {},
};

/** The progress line of a long command. */
import { visible } from "../core/visible.js";

/** A line on a terminal that each update overwrites. By default, shows nothing if the stream is no terminal. */
export class ProgressLine {
  /** Whether anything is shown. */
  readonly isShown: boolean;
  private readonly isTerminal: boolean;
  private last = "";

  /** @param always writes plain lines if the stream is no terminal */
  constructor(
    private readonly stream: NodeJS.WriteStream,
    always: boolean,
  ) {
    this.isTerminal = stream.isTTY === true;
    this.isShown = this.isTerminal || always;
  }

  /** @param done from 0 to 1 */
  show(what: string, done: number): void {
    if (!this.isShown) return;
    const text = `${String(Math.floor(done * 100)).padStart(3)} %  ${visible(what)}`;
    if (text === this.last) return;
    this.last = text;
    // A terminal that doesn't know its width reports 0.
    const width = (this.stream.columns || 80) - 1;
    if (this.isTerminal) this.stream.write(`\r\x1b[2K${text.slice(0, width)}`);
    else this.stream.write(`${text}\n`);
  }

  /** Erases the line. */
  end(): void {
    if (this.isTerminal && this.last !== "") this.stream.write("\r\x1b[2K");
    this.last = "";
  }
}

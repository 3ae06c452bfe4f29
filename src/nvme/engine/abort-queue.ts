/** Abort commands, limited to the number that a controller allows at once. */
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import type { CommandOptions } from "../command/command-options.js";
import { AdminOpcode } from "../spec/opcodes.js";

/** Bit 0 of an Abort's result: the command was not aborted. */
const NOT_ABORTED = 1;

/** Sends Abort commands, and lets those above the controller's limit wait. */
export class AbortQueue {
  private scope = new AbortController();
  private underWay = 0;
  private readonly waiting: (() => void)[] = [];

  /**
   * @param submit sends an admin command
   * @param limit how many Aborts the controller allows at once (Abort Command Limit + 1)
   */
  constructor(
    private readonly submit: (command: NvmeCommand, options: CommandOptions) => Promise<NvmeCompletion>,
    private readonly limit: () => number,
  ) {}

  /**
   * Asks the controller to abort a command. The command's own completion says how it ended. Never rejects.
   * @returns false if the controller answered that it did not abort the command
   */
  async abort(sqid: number, cid: number): Promise<boolean> {
    const { signal } = this.scope;
    if (this.underWay >= this.limit()) {
      await new Promise<void>((resolve) => {
        this.waiting.push(resolve);
      });
    } else this.underWay++;
    try {
      const cdw10 = ((cid << 16) | sqid) >>> 0;
      const { dw0 } = await this.submit({ name: "Abort", opcode: AdminOpcode.abort, cdw10 }, { signal });
      return (dw0 & NOT_ABORTED) === 0;
    } catch {
      // If the controller failed, the command ends with it. Otherwise the command's time limit still applies.
      return true;
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.underWay--;
      else next();
    }
  }

  /** Gives up all Aborts. Call it when the controller has stopped: it has forgotten the commands. */
  giveUpAll(): void {
    this.scope.abort();
    this.scope = new AbortController();
  }
}

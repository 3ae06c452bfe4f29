/** What a subcommand of `iova nvme` consists of. */
import type { CommandDescription } from "../described/description.js";

/** One subcommand. */
export interface NvmeSubcommand {
  readonly description: CommandDescription;
  /**
   * @param argv arguments after the name, without --help
   * @throws ConfigError on wrong usage, IovaError where the work fails
   */
  run(argv: readonly string[]): Promise<void>;
}

/** What a subcommand of `iova nvme` consists of. */

/** One subcommand. */
export interface NvmeSubcommand {
  readonly name: string;
  /** Operands, for the list of subcommands. */
  readonly operands: string;
  /** One line: what it does. */
  readonly summary: string;
  /** Text of `--help`, with a newline at its end. */
  readonly help: string;
  /** nvme-cli's names, each with the arguments that it stands for. */
  readonly aliases?: Readonly<Record<string, readonly string[]>>;
  /**
   * @param argv arguments after the name, without --help
   * @throws ConfigError on wrong usage, IovaError where the work fails
   */
  run(argv: readonly string[]): Promise<void>;
}

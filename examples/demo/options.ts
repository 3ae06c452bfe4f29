import { parseArgs } from "node:util";
import { ConfigError } from "iova";

export interface DemoOptions {
  /** PCI address; undefined: a guest is booted; `first`: the first NVMe controller that nobody uses. */
  readonly target: string | undefined;
  readonly destroyData: boolean;
  readonly yes: boolean;
  readonly json: boolean;
  readonly help: boolean;
}

export const HELP = `Usage: npm run demo [-- [BDF] [--destroy-data [--yes]] [--json]]

Drives an NVMe controller from this process, through iommufd and then through VFIO type1.

Without BDF it boots a QEMU guest with its own controller, writes, reads back and compares.
With the PCI address of a controller of this host it only reads, unless told otherwise.

  --destroy-data  overwrite the first 16 MiB of namespace 1 (asked once more)
  --yes           don't ask
  --json          print one JSON object as the last line
  --help          this text
`;

/** @throws ConfigError */
export function parseDemoOptions(argv: readonly string[]): DemoOptions {
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        "destroy-data": { type: "boolean", default: false },
        yes: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    if (positionals.length > 1)
      throw new ConfigError(`one controller at a time, got ${positionals.join(" ")}`);
    return {
      target: positionals[0],
      destroyData: values["destroy-data"],
      yes: values.yes,
      json: values.json,
      help: values.help,
    };
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

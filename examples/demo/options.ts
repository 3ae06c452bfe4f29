/** The demo's command line. */
import { parseArgs } from "node:util";
import { ConfigError } from "iova";

export interface DemoOptions {
  /**
   * PCI address or `vfio-user:PATH`. Undefined for an emulated controller in this process; `first` for the first unused NVMe
   * controller.
   */
  readonly target: string | undefined;
  /** Run in a QEMU guest. */
  readonly guest: boolean;
  readonly destroyData: boolean;
  readonly yes: boolean;
  readonly json: boolean;
  readonly help: boolean;
}

export const HELP = `Usage: npm run demo [-- [TARGET | --guest] [--destroy-data [--yes]] [--json]]

Drives an NVMe controller from this process: writes, reads back and compares.

Without arguments it uses an emulated controller in this process, over vfio-user. This needs no
root, no device and no IOMMU. With --guest it boots a QEMU guest and drives QEMU's controller
through each backend that works there. TARGET is a controller of this host, such as 0000:00:03.0,
or of another program, vfio-user:/path/of/socket. A target is only read from, unless you pass
--destroy-data.

  --guest         boot a QEMU guest
  --destroy-data  overwrite the first 16 MiB of namespace 1 (asks first)
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
        guest: { type: "boolean", default: false },
        "destroy-data": { type: "boolean", default: false },
        yes: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    if (positionals.length > 1)
      throw new ConfigError(`give one controller at most, got ${positionals.join(" ")}`);
    if (values.guest && positionals.length > 0)
      throw new ConfigError("--guest brings its own controller: leave the target out");
    return {
      target: positionals[0],
      guest: values.guest,
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

import { parseArgs } from "node:util";
import { ConfigError } from "iova";

export interface DemoOptions {
  /**
   * PCI address or `vfio-user:PATH`; undefined: an emulated controller in this process; `first`: the first NVMe controller
   * that nobody uses.
   */
  readonly target: string | undefined;
  /** In a guest with a kernel of its own. */
  readonly guest: boolean;
  readonly destroyData: boolean;
  readonly yes: boolean;
  readonly json: boolean;
  readonly help: boolean;
}

export const HELP = `Usage: npm run demo [-- [TARGET | --guest] [--destroy-data [--yes]] [--json]]

Drives an NVMe controller from this process: writes, reads back and compares.

Without anything, the controller is emulated here and reached over vfio-user: no root, no
device, no IOMMU. With --guest it is QEMU's, in a guest whose kernel has iommufd and VFIO type1,
and driven through both. TARGET is a controller of this host, as a PCI address such as
0000:00:03.0 (iommufd, then type1), or one of another program, as vfio-user:/path/of/socket;
those are only read from, unless told otherwise.

  --guest         boot a QEMU guest
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
        guest: { type: "boolean", default: false },
        "destroy-data": { type: "boolean", default: false },
        yes: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    if (positionals.length > 1)
      throw new ConfigError(`one controller at a time, got ${positionals.join(" ")}`);
    if (values.guest && positionals.length > 0)
      throw new ConfigError("--guest has a controller of its own: leave the target out");
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

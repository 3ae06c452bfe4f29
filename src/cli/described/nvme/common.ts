/** Options and sentences that subcommands of `iova nvme` share. */
import { backend, vfToken } from "../common.js";
import { flag, value } from "../description.js";

export const TARGET =
  "TARGET is a PCI address such as 0000:00:03.0 of a function bound to vfio-pci (iova bind), vfio-user:PATH, or served:PATH@BDF (iova serve).";

/** Options of every subcommand that opens a controller. */
export const controllerOptions = {
  backend,
  timeout: value("MS", "time limit of each command in milliseconds (default 30000)", { short: "t" }),
  "vf-token": vfToken,
  "trust-server": flag("vfio-user: also map files that the server could truncate (SPDK)"),
  quirks: value(
    "LIST",
    'add and remove known quirks (+NAME,-NAME), or give the whole list (NAME,NAME); "none"',
    { joined: true },
  ),
} as const;

/** Options of every subcommand with JSON output. */
export const jsonOptions = {
  json: flag("print JSON"),
  "output-format": value("FORMAT", "json, the same as --json; or normal", {
    short: "o",
    offer: ["json", "normal"],
  }),
} as const;

export const yesOption = flag("don't ask; needed without a terminal");

/** The only namespace, unless there are several. */
export const namespaceOption = value("N", "the namespace (default: the only one)", { short: "n" });

/** The range of blocks that read, write and trim take. */
export const blocksOptions = {
  "start-block": value("N", "first logical block (default 0)", { short: "s" }),
  blocks: value("N", "how many logical blocks"),
  "block-count": value("N", "zero-based, as in nvme-cli: 0 is one block", { short: "c" }),
  "data-size": value("BYTES", "the same in bytes, a multiple of the block size", { short: "z" }),
} as const;

/** `iova nvme list`, `identify`, `smart`, `log` and `regs`. */
import { describe, flag, value } from "../description.js";
import { controllerOptions, jsonOptions, TARGET } from "./common.js";

export const nvmeListDescription = describe({
  name: "nvme list",
  operands: "[TARGET ...]",
  summary: "the NVMe controllers of this host, with their drivers",
  usage: ["[TARGET ...] [OPTIONS]"],
  text: [
    "Lists the NVMe controllers on this host's PCI bus with their namespaces. Those of the kernel's nvme driver are read from sysfs. " +
      "Those bound to vfio-pci are opened, unless another process has them open. With targets (PCI addresses, or vfio-user:PATH) " +
      "lists only these.",
  ],
  offers: ["target"],
  options: {
    ...jsonOptions,
    verbose: flag("also the quirks of the controllers that are opened, and their reasons", "v"),
    ...controllerOptions,
  },
  examples: [{ command: "iova nvme list --json", text: "lists them for a program" }],
});

const structures = [
  ...["id-ctrl", "id-ns", "list-ns", "ns-descs", "nvm-id-ns", "nvm-id-ctrl", "zns-id-ns", "zns-id-ctrl"],
  "cmdset-ind-id-ns",
] as const;

export const identifyDescription = describe({
  name: "nvme identify",
  operands: "TARGET",
  summary: "Identify data structures (also id-ctrl, id-ns, list-ns, ...)",
  usage: ["TARGET [--namespace-id N] [OPTIONS]"],
  text: [
    "Prints an Identify data structure: the controller's, or with --namespace-id a namespace's. For id-ns and similar, the namespace " +
      "is by default the only one.",
    TARGET,
  ],
  offers: ["target", "nothing"],
  options: {
    "namespace-id": value("N", "the namespace", { short: "n" }),
    cns: value("CNS", "another structure: one of the names above, or a number, which is printed as bytes", {
      offer: structures,
    }),
    all: flag("list-ns: also namespaces that aren't attached", "a"),
    csi: value("N", "its command set: 0 NVM, 1 key value, 2 zoned", { short: "y", offer: ["0", "1", "2"] }),
    cntid: value("N", "its controller id"),
    "cns-specific-id": value("N", "its CNS specific identifier"),
    "raw-binary": flag("write the 4096 bytes unchanged", "b"),
    ...jsonOptions,
    ...controllerOptions,
  },
  examples: [
    { command: "iova nvme id-ctrl 0000:00:03.0", text: "decodes what the controller says of itself" },
  ],
  aliases: Object.fromEntries(structures.map((name) => [name, ["--cns", name]])),
});

export const smartDescription = describe({
  name: "nvme smart",
  operands: "TARGET",
  summary: "health: temperature, wear, errors (also smart-log)",
  usage: ["TARGET [--namespace-id N] [OPTIONS]"],
  text: [
    "Prints the SMART / Health Information log. Temperatures are in kelvin in JSON, data units are 512,000 bytes, controller_busy_time " +
      "is in minutes.",
    TARGET,
  ],
  offers: ["target", "nothing"],
  options: {
    "namespace-id": value("N", "of one namespace, if the controller supports that (default all)", {
      short: "n",
    }),
    ...jsonOptions,
    ...controllerOptions,
  },
  examples: [{ command: "iova nvme smart 0000:00:03.0", text: "prints temperature, wear and errors" }],
  aliases: { "smart-log": [] },
});

/** Log pages with a name. */
export const logNames = [
  ...["error", "smart", "firmware", "changed-ns", "effects", "supported", "self-test", "endurance"],
  "sanitize",
] as const;

export const logDescription = describe({
  name: "nvme log",
  operands: "NAME TARGET",
  summary: "log pages: error, firmware, effects, ... (also error-log, get-log, ...)",
  usage: ["NAME TARGET [OPTIONS]", "TARGET --log-id N --log-len BYTES [OPTIONS]"],
  text: [
    `Prints a log page: one that has a name (${logNames.join(", ")}), or any other as bytes. Without --rae, reading a page clears the ` +
      "event that announced it.",
    TARGET,
  ],
  offers: [logNames, "target", "nothing"],
  options: {
    "log-id": value("N", "identifier of a page without a name", { short: "i" }),
    "log-len": value("BYTES", "how much of it, a multiple of 4 (default 512)", { short: "l" }),
    lpo: value("BYTES", "first byte, a multiple of 4", { short: "L" }),
    ot: value("1", "--lpo counts entries, not bytes, if the page supports it", {
      short: "O",
      offer: ["0", "1"],
    }),
    lsp: value("N", "log specific parameter", { short: "s" }),
    lsi: value("N", "log specific identifier: for endurance the group (default 1)", { short: "S" }),
    "group-id": value("N", "the same as --lsi, for endurance", { short: "g" }),
    csi: value("N", "command set: 0 NVM, 1 key value, 2 zoned", { short: "y", offer: ["0", "1", "2"] }),
    "namespace-id": value("N", "of one namespace (default all)", { short: "n" }),
    rae: flag("keep the event", "r"),
    "raw-binary": flag("write a page without a name unchanged", "b"),
    ...jsonOptions,
    ...controllerOptions,
  },
  examples: [{ command: "iova nvme log error 0000:00:03.0", text: "prints the newest errors" }],
  aliases: {
    "error-log": ["error"],
    "fw-log": ["firmware"],
    "changed-ns-list-log": ["changed-ns"],
    "effects-log": ["effects"],
    "supported-log-pages": ["supported"],
    "self-test-log": ["self-test"],
    "endurance-log": ["endurance"],
    "sanitize-log": ["sanitize"],
    "get-log": [],
  },
});

export const regsDescription = describe({
  name: "nvme regs",
  operands: "TARGET",
  summary: "the controller's registers, decoded (also show-regs)",
  usage: ["TARGET [--enable] [OPTIONS]"],
  text: [
    "Prints the controller's registers and what their bits mean. Opening the function resets it. With --enable the controller is " +
      "started first, so that CC, CSTS and the registers of the admin queue show a running controller.",
    TARGET,
  ],
  offers: ["target", "nothing"],
  options: {
    enable: flag("start the controller first"),
    "human-readable": flag("changes nothing: fields are always printed", "H"),
    ...jsonOptions,
    ...controllerOptions,
  },
  examples: [
    { command: "iova nvme regs 0000:00:03.0 --enable", text: "decodes them while the controller runs" },
  ],
  aliases: { "show-regs": [] },
});

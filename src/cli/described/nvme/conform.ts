/** `iova nvme conform`. */
import { describe, flag, value } from "../description.js";
import { controllerOptions, forceOption, jsonOptions, TARGET, yesOption } from "./common.js";

export const conformDescription = describe({
  name: "nvme conform",
  operands: "TARGET [--destroy-data] [--html FILE]",
  summary: "check a controller against the specification",
  usage: ["TARGET [--only TEXT] [--html FILE]", "TARGET --destroy-data --yes"],
  text: [
    "Resets the controller and checks its registers, queues, commands, errors, data pointers and interrupts. Reads data only, unless --destroy-data also has it write to the namespace, format and sanitize it. Each check names the section of the specification.",
    TARGET,
  ],
  offers: ["target", "nothing"],
  options: {
    "destroy-data": flag(
      "also check what overwrites blocks, formats, sanitizes, makes namespaces, or resets the NVM subsystem",
    ),
    firmware: value(
      "FILE",
      "with --destroy-data: an image that the controller takes, to be put into a spare slot",
      {
        offer: "file",
      },
    ),
    only: value("TEXT", "only checks whose subject or name has this text"),
    html: value("FILE", "also write a page", { offer: "file" }),
    "namespace-id": value("N", "the namespace (default: the first)", { short: "n" }),
    force: forceOption,
    yes: yesOption,
    timeout: value("MS", "time limit of each command in milliseconds (default 10000)", { short: "t" }),
    backend: controllerOptions.backend,
    "vf-token": controllerOptions["vf-token"],
    "trust-server": controllerOptions["trust-server"],
    ...jsonOptions,
  },
  examples: [{ command: "iova nvme conform 0000:00:03.0 --html report.html", text: "changes no data" }],
  statuses: { 1: "a check failed, or the run" },
});

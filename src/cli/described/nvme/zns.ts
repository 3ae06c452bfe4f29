/** `iova nvme zns`. */
import { describe, flag, value } from "../description.js";
import { controllerOptions, forceOption, jsonOptions, namespaceOption, TARGET, yesOption } from "./common.js";

/** As in `reportedStates`, which uses the library. */
const states = ["all", "empty", "imp-opened", "exp-opened", "closed", "full", "readonly", "offline"] as const;

/** Options of every action. */
export const zoneOptions = {
  "start-lba": value("N", "first block of the zone; for report where to start", { short: "s" }),
  zslba: value("N", "the same as --start-lba"),
  "select-all": flag("all zones that the action applies to", "a"),
  "namespace-id": namespaceOption,
  force: forceOption,
  yes: yesOption,
  ...jsonOptions,
  ...controllerOptions,
} as const;

export const zoneReportOptions = {
  descs: value("N", "report: at most N zones", { short: "d" }),
  state: value("NAME", `report: ${states.join(", ")}`, { short: "S", offer: states }),
} as const;

export const zoneAppendOptions = {
  data: value("FILE", "append: where from; - is standard input", { short: "d", offer: "file" }),
  "data-file": value("FILE", "the same as --data", { offer: "file" }),
  "data-size": value("BYTES", "append: how much of it (default all)", { short: "z" }),
} as const;

export const znsDescription = describe({
  name: "nvme zns",
  operands: "report|open|... TARGET",
  summary: "zones: report, open, close, finish, reset, append",
  usage: [
    "report TARGET [--start-lba N] [--descs N] [--state NAME]",
    "open | close | finish | reset TARGET --start-lba N | --select-all",
    "append TARGET --zslba N --data FILE",
    "id-ctrl | id-ns TARGET",
  ],
  text: [
    "Zones of a zoned namespace. nvme-cli's names (report-zones, open-zone, zone-append, ...) work too. finish, reset and append " +
      "change data, and ask or need --yes. id-ctrl and id-ns take the options of iova nvme identify.",
    TARGET,
  ],
  offers: [["report", "open", "close", "finish", "reset", "append", "id-ctrl", "id-ns"], "target", "nothing"],
  options: { ...zoneOptions, ...zoneReportOptions, ...zoneAppendOptions },
  examples: [
    { command: "iova nvme zns report 0000:00:03.0 --descs 10", text: "prints the first ten zones" },
    {
      command: "iova nvme zns append 0000:00:03.0 --zslba 0 --data log.bin --yes",
      text: "appends a file to the first",
    },
  ],
});

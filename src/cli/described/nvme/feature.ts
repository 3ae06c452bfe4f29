/** `iova nvme feature`. */
import { describe, flag, value } from "../description.js";
import { controllerOptions, jsonOptions, TARGET, yesOption } from "./common.js";

/** As in `FeatureSelect` of the library, which a description can't load. */
const selections = ["current", "default", "saved", "supported"] as const;

export const featureDescription = describe({
  name: "nvme feature",
  operands: "get|set TARGET -f N",
  summary: "read or set a feature (also get-feature, set-feature)",
  usage: ["get TARGET --feature-id N [OPTIONS]", "set TARGET --feature-id N --value V [OPTIONS]"],
  text: [
    "Reads or sets a feature. Without --save the value lasts until the next reset, which this command does when it ends.",
    TARGET,
  ],
  offers: [["get", "set"], "target", "nothing"],
  options: {
    "feature-id": value(
      "N",
      "which one: 1 Arbitration, 2 Power Management, 3 LBA Range Type, 4 Temperature Threshold, ...",
      { short: "f" },
    ),
    "namespace-id": value("N", "of one namespace", { short: "n" }),
    cdw11: value("N", "get: selects a value, for some features", { short: "c" }),
    sel: value("N", `get: ${selections.join(", ")}, or 0 to 3`, { short: "s", offer: selections }),
    "data-len": value("BYTES", "get: bytes of its data structure (default: its size)", { short: "l" }),
    value: value("V", "set: the value (CDW11)", { short: "V" }),
    cdw12: value("N", "set: the second word"),
    data: value("FILE", "set: its data structure; - is standard input", { short: "d", offer: "file" }),
    save: flag("set: keep it over resets"),
    yes: yesOption,
    ...jsonOptions,
    ...controllerOptions,
  },
  examples: [
    { command: "iova nvme feature get 0000:00:03.0 --feature-id 2", text: "prints the power state" },
    {
      command: "iova nvme feature set 0000:00:03.0 --feature-id 6 --value 0 --yes",
      text: "turns the write cache off",
    },
  ],
  aliases: { "get-feature": ["get"], "set-feature": ["set"] },
});

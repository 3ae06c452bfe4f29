/** `iova nvme fdp`. */
import { flag, value } from "../description.js";
import { changes } from "./common.js";

const verbs = ["configs", "usage", "stats", "events", "status", "update", "set-events"] as const;

export const fdpDescriptions = {
  fdp: {
    ...changes("fdp", "flexible data placement: configs, usage, stats, events, status, ...", {
      text: "configs, usage, stats and events are of an endurance group; status, update and set-events of a namespace. update and set-events change something, and ask or need --yes.",
      options: {
        "endgrp-id": value("N", "the endurance group (default 1)", { short: "e" }),
        "namespace-id": value("N", "the namespace (default: the only one)", { short: "n" }),
        "host-events": flag("events: the host's, not the controller's", "E"),
        pids: value("LIST", "update: placement identifiers, with commas", { short: "p" }),
        "placement-handle": value("N", "set-events: index of the placement handle (default 0)"),
        "event-types": value("LIST", "set-events: types of events, with commas"),
        enable: flag("set-events: report them; otherwise don't"),
      },
      example: ["", ""],
    }),
    operands: "configs|... TARGET",
    usage: [
      "configs | usage | stats | events TARGET [-e N]",
      "status TARGET [-n N]",
      "update TARGET -p LIST --yes",
      "set-events TARGET --event-types LIST [--enable] --yes",
    ],
    offers: [verbs, "target", "nothing"],
    examples: [{ command: "iova nvme fdp stats 0000:00:03.0", text: "how much was written, and erased" }],
  },
} as const;

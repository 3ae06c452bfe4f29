/** `iova nvme perf`. */
import { describe, flag, value } from "../description.js";
import { controllerOptions, forceOption, namespaceOption, TARGET } from "./common.js";

/** As in `workloads`, which uses the library. */
const workloads = ["read", "randread", "write", "randwrite", "randrw"] as const;

export const perfDescription = describe({
  name: "nvme perf",
  operands: "TARGET [-q DEPTH] [-w WORKLOAD]",
  summary: "measure commands per second and their latency",
  usage: ["TARGET [-q DEPTH] [-o SIZE] [-w WORKLOAD] [-t SECONDS] ..."],
  text: [
    "Measures commands per second, their latency, and their CPU time. Each queue has its own thread, which polls it without pause.",
    TARGET,
  ],
  offers: ["target", "nothing"],
  options: {
    "queue-depth": value("DEPTH", "commands outstanding on each queue (default 1)", { short: "q" }),
    "io-size": value(
      "SIZE",
      "bytes of each command, such as 512, 4k or 1M (default 4k, or one block if that is larger)",
      {
        short: "o",
      },
    ),
    workload: value("WORKLOAD", `${workloads.join(", ")} (default randread; randrw is one half each)`, {
      short: "w",
      offer: workloads,
    }),
    time: value("SECONDS", "time to measure (default 5)", { short: "t" }),
    warmup: value("SECONDS", "time to run before that (default 1)"),
    queues: value("N", "queues, each on a thread of its own (default 1)"),
    interrupts: flag("wait for interrupts instead of polling"),
    "namespace-id": namespaceOption,
    backend: controllerOptions.backend,
    "vf-token": controllerOptions["vf-token"],
    "trust-server": controllerOptions["trust-server"],
    json: flag("print JSON"),
    force: forceOption,
    yes: flag("don't ask before a workload that overwrites the namespace"),
  },
  examples: [{ command: "iova nvme perf 0000:00:03.0 -q 32 -t 10", text: "reads at random for 10 seconds" }],
});

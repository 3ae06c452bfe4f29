/** `iova nvme perf`. */
import { describe, flag, value } from "../description.js";
import { prinfo } from "./block-commands.js";
import { controllerOptions, forceOption, namespaceOption, TARGET } from "./common.js";

/** As in `workloads`, which uses the library. */
const workloads = ["read", "randread", "write", "randwrite", "rw", "randrw"] as const;

export const perfDescription = describe({
  name: "nvme perf",
  operands: "TARGET ... [-q DEPTH] [-w WORKLOAD]",
  summary: "measure commands per second and their latency",
  usage: ["TARGET ... [-q DEPTH] [-o SIZE] [-w WORKLOAD] [-t SECONDS] ..."],
  text: [
    "Measures commands per second, their latency, and their CPU time, of one controller or several at once. Each queue has its own thread, which polls it without pause.",
    "--verify writes the whole namespace first, or --size of it, compares each read with what was written, and reads all of it at the end. It counts the blocks that are wrong, and ends with status 1 if there are any.",
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
    bssplit: value("LIST", "several sizes, and how many commands in 100 have each: 4k/60:64k/40"),
    size: value("SIZE", "how much of the namespace, from its first block on (default all)"),
    workload: value("WORKLOAD", `${workloads.join(", ")} (default randread)`, {
      short: "w",
      offer: workloads,
    }),
    rwmixread: value("PERCENT", "reads among the commands of rw and randrw (default 50)"),
    sgl: flag("describe data by SGLs, not PRPs"),
    prinfo,
    verify: flag("verify all data"),
    rate: value("SIZE", "at most so many bytes a second, such as 100M, of all queues together"),
    "rate-iops": value("N", "at most so many commands a second"),
    "steady-state": value(
      "PERCENT",
      "warm up until IOPS vary and drift by no more, for 20 times --ss-dur at most",
    ),
    "ss-dur": value("SECONDS", "in so much time (default 10)"),
    time: value("SECONDS", "time to measure (default 5)", { short: "t" }),
    warmup: value("SECONDS", "time to run before that (default 1)"),
    queues: value("N", "queues of each controller, each on a thread of its own (default 1)"),
    cpus: value("LIST", "processors of the threads, in turn: 0,2-5"),
    interrupts: flag("wait for interrupts instead of polling"),
    "namespace-id": namespaceOption,
    backend: controllerOptions.backend,
    "vf-token": controllerOptions["vf-token"],
    "trust-server": controllerOptions["trust-server"],
    histogram: flag("also print how latencies are spread"),
    html: value("FILE", "also write a page with charts", { offer: "file" }),
    json: flag("print JSON"),
    force: forceOption,
    yes: flag("don't ask before a workload that overwrites the namespace"),
  },
  examples: [
    { command: "iova nvme perf 0000:00:03.0 -q 32 -t 10", text: "reads at random for 10 seconds" },
    {
      command: "iova nvme perf 0000:00:03.0 -w randrw --rwmixread 70 --html perf.html --yes",
      text: "also writes, and draws charts",
    },
  ],
});

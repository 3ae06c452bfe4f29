/** `iova watch`. */
import { json } from "./common.js";
import { describe, value } from "./description.js";

/** Longest time between two looks, in seconds. */
export const MAX_INTERVAL_S = 3600;

export const watchDescription = describe({
  name: "watch",
  operands: "[--interval S]",
  summary: "show live which processes use devices: mappings, pinned memory, interrupts, errors",
  usage: ["[--interval S] [--count N] [--json]"],
  text: [
    "Shows the processes of this library, and all others that have VFIO's nodes open. A process of the library tells what its DMA spaces " +
      "have mapped, how many interrupts its drivers have taken, and its devices' newest errors; that costs it an addition each, and works " +
      "while it hangs, too. Of other programs the kernel tells what they have open and pinned.",
    "You see your own processes; root sees all. On a terminal the picture is drawn anew at each look; otherwise each look is printed " +
      "after the last. Ctrl-C ends it.",
  ],
  offers: [],
  options: {
    interval: value("S", `seconds between two looks, from 0.1 to ${MAX_INTERVAL_S} (default 1)`, {
      short: "i",
    }),
    count: value("N", "end after so many looks", { short: "n" }),
    json: { ...json, text: "print a line of JSON for each look" },
  },
  examples: [
    { command: "iova watch", text: "shows what happens now" },
    { command: "iova watch --count 1 --json", text: "prints it once, for a program" },
  ],
});

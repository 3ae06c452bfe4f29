/** `iova nvme report`. */
import { value } from "../description.js";
import { reads } from "./common.js";

export const reportDescriptions = {
  report: reads("report", "everything that a controller says of itself, on one page", {
    text:
      "Registers, Identify data, namespaces, logs, features and lists. What the controller refuses is listed at the end. Logs that " +
      "reading clears are left out.",
    options: {
      "namespace-id": value("N", "only this namespace (default: the first 32)", { short: "n" }),
      html: value("FILE", "also write a page", { offer: "file" }),
    },
    example: ["--html report.html", "prints it, and writes a page"],
  }),
};

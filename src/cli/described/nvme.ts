/** `iova nvme` and its subcommands. */
import { type CommandDescription, describe } from "./description.js";
import { blockDescriptions } from "./nvme/block-commands.js";
import { formatDescription, readDescription, trimDescription, writeDescription } from "./nvme/blocks.js";
import { TARGET } from "./nvme/common.js";
import { conformDescription } from "./nvme/conform.js";
import { controllerDescriptions } from "./nvme/controller.js";
import { dataDescriptions } from "./nvme/data.js";
import { fdpDescriptions } from "./nvme/fdp.js";
import { featureDescription } from "./nvme/feature.js";
import {
  identifyDescription,
  logDescription,
  nvmeListDescription,
  regsDescription,
  smartDescription,
} from "./nvme/information.js";
import { kvDescriptions } from "./nvme/kv.js";
import { logDescriptions } from "./nvme/logs.js";
import { maintenanceDescriptions } from "./nvme/maintenance.js";
import { namespaceDescriptions } from "./nvme/namespaces.js";
import { passthruDescriptions } from "./nvme/passthru.js";
import { perfDescription } from "./nvme/perf.js";
import { reportDescriptions } from "./nvme/report.js";
import { reservationDescriptions } from "./nvme/reservations.js";
import { rpmbDescriptions } from "./nvme/rpmb.js";
import { sedDescriptions } from "./nvme/sed.js";
import { znsDescription } from "./nvme/zns.js";

export const nvmeDescriptions: readonly CommandDescription[] = [
  nvmeListDescription,
  identifyDescription,
  smartDescription,
  logDescription,
  featureDescription,
  regsDescription,
  readDescription,
  writeDescription,
  trimDescription,
  formatDescription,
  znsDescription,
  ...Object.values(namespaceDescriptions),
  ...Object.values(logDescriptions),
  ...Object.values(maintenanceDescriptions),
  ...Object.values(fdpDescriptions),
  ...Object.values(dataDescriptions),
  ...Object.values(rpmbDescriptions),
  ...Object.values(sedDescriptions),
  ...Object.values(blockDescriptions),
  ...Object.values(reservationDescriptions),
  ...Object.values(kvDescriptions),
  ...Object.values(controllerDescriptions),
  ...Object.values(passthruDescriptions),
  ...Object.values(reportDescriptions),
  perfDescription,
  conformDescription,
];

export const nvmeDescription = describe({
  name: "nvme",
  operands: "SUBCOMMAND TARGET",
  summary: "use an NVMe controller: list, identify, smart, read, write, ...",
  usage: ["SUBCOMMAND ..."],
  text: [
    TARGET,
    "nvme-cli's names of subcommands and options work too, and --json prints its keys. iova nvme SUBCOMMAND --help has their options.",
  ],
  offers: [],
  options: {},
  examples: [{ command: "iova nvme list", text: "shows the controllers of this host" }],
});

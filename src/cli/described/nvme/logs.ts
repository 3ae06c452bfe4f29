/** `iova nvme telemetry-log`, `ana-log`, ...: log pages that `iova nvme log` doesn't have. */
import { flag, value } from "../description.js";
import { reads } from "./common.js";

const none = {} as const;
const prints = ["", "prints it"] as const;
const aggregate = {
  "log-entries": value("N", "at most so many (default all)", { short: "e" }),
  rae: flag("changes nothing: reading ends the event", "r"),
} as const;

export const logDescriptions = {
  telemetry: reads("telemetry-log", "telemetry, which only the vendor can decode, to a file", {
    needs: "-O FILE",
    options: {
      "output-file": value("FILE", "where to", { short: "O", offer: "file" }),
      "host-generate": value("N", "1 captures it now, 0 reads what was captured (default 1)", { short: "g" }),
      "controller-init": flag("what the controller captured by itself", "c"),
      "data-area": value("N", "last data area, 1 to 4 (default 3)", { short: "d" }),
    },
    example: ["-O telemetry.bin", "captures it now, and writes it to a file"],
  }),
  access: reads("ana-log", "asymmetric namespace access: groups and their states", {
    options: { groups: flag("without the namespaces", "g") },
    example: prints,
  }),
  persistent: reads("persistent-event-log", "events that outlast power cycles, decoded", {
    options: {
      action: value("N", "changes nothing: the whole log is read in a context of its own", { short: "a" }),
    },
    example: prints,
  }),
  features: reads("fid-support-effects-log", "features that there are, and what setting them changes", {
    options: none,
    example: prints,
  }),
  management: reads("mi-cmd-support-effects-log", "NVMe-MI commands that there are, and what they change", {
    options: none,
    example: prints,
  }),
  mediaUnits: reads("media-unit-stat-log", "media units: spare, wear, and where they belong", {
    options: { "domain-id": value("N", "of one domain (default all)", { short: "d" }) },
    example: prints,
  }),
  capacities: reads("supported-cap-config-log", "capacity configurations that capacity-mgmt can select", {
    options: { "domain-id": value("N", "of one domain (default all)", { short: "d" }) },
    example: prints,
  }),
  reservations: reads("resv-notif-log", "the oldest reservation notification", {
    options: none,
    example: prints,
  }),
  predictable: reads("predictable-lat-log", "predictable latency of an NVM set", {
    options: { "nvmset-id": value("N", "the set (default 1)", { short: "i" }) },
    example: ["-i 1", "prints it of NVM set 1"],
  }),
  predictableEvents: reads("pred-lat-event-agg-log", "NVM sets with predictable latency events", {
    options: aggregate,
    example: prints,
  }),
  enduranceEvents: reads("endurance-event-agg-log", "endurance groups with events", {
    options: aggregate,
    example: prints,
  }),
  rotational: reads("rotational-media-info-log", "rotating media of an endurance group", {
    options: { "endg-id": value("N", "the group (default 1)", { short: "e" }) },
    example: prints,
  }),
  dispersed: reads("dispersed-ns-participating-nss-log", "NVM subsystems where a dispersed namespace is", {
    options: { "namespace-id": value("N", "the namespace (default 1)", { short: "n" }) },
    example: prints,
  }),
  managers: reads("mgmt-addr-list-log", "addresses of management agents", { options: none, example: prints }),
  reachabilityGroups: reads("reachability-groups-log", "namespaces that reach each other", {
    options: { "groups-only": flag("without the namespaces", "g") },
    example: prints,
  }),
  reachabilityAssociations: reads("reachability-associations-log", "groups that reach each other", {
    options: { "associations-only": flag("without the groups", "a") },
    example: prints,
  }),
  power: reads("power-measurement-log", "power of intervals, and their histogram", {
    options: none,
    example: prints,
  }),
  changedAllocated: reads("changed-alloc-ns-list-log", "namespaces of the subsystem that changed", {
    options: none,
    example: prints,
  }),
};

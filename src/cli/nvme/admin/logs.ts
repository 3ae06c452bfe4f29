/** `iova nvme telemetry-log`, `ana-log`, ...: log pages under nvme-cli's JSON keys. */
import type { CapacityConfiguration } from "../../../nvme/admin/capacity-configurations.js";
import type { NvmeController } from "../../../nvme/controller.js";
import {
  AnaState,
  identifierTable,
  mediaUnitHeader,
  predictableLatencyLog,
  reservationLog,
  rotationalMediaLog,
  TELEMETRY_BLOCK_BYTES,
} from "../../../nvme/spec/log-pages.js";
import { FeatureId, LogPageId } from "../../../nvme/spec/opcodes.js";
import { logDescriptions } from "../../described/nvme/logs.js";
import { type Arguments, commands, type Work } from "../command.js";
import { openSink, STANDARD } from "../commands/data-file.js";
import { nameOf } from "../names.js";
import { hex, type Json, pairs } from "../output.js";
import { persistentEventsJson } from "./persistent-events.js";
import { topologyCommands } from "./topology-logs.js";

const ID = 0xffff;
const areas = [1, 2, 3, 4] as const;

const accessStates: Readonly<Record<number, string>> = {
  [AnaState.optimized]: "optimized",
  [AnaState.nonOptimized]: "non-optimized",
  [AnaState.inaccessible]: "inaccessible",
  [AnaState.persistentLoss]: "persistent-loss",
  [AnaState.change]: "change",
};

/** A page of words by identifier: those that are supported. */
function words(lid: number, list: string, key: string, names: Readonly<Record<string, number>>): () => Work {
  return () => async (nvme) => {
    const page = identifierTable.decode(await nvme.logs.read(lid, identifierTable.sizeBytes));
    const supported = [...page.words.entries()].filter(([, word]) => (word & 1) === 1);
    return {
      json: { [list]: supported.map(([id, word]) => ({ [`${key}_${id}`]: word })) },
      text: pairs(
        supported.map(([id, word]) => [
          `0x${id.toString(16).padStart(2, "0")} (${nameOf(names, id) ?? "Unknown"})`,
          hex(word),
        ]),
      ),
    };
  };
}

function entries(
  args: Arguments<"log-entries">,
  read: (nvme: NvmeController) => Promise<readonly number[]>,
): Work {
  const most = args.number("log-entries");
  return async (nvme) => {
    const ids = await read(nvme);
    return {
      json: {
        num_entries_avail: ids.length,
        list_of_entries: ids.slice(0, most).map((entry) => ({ entry })),
      },
    };
  };
}

const capacityJson = ({ configurationId, domainId, groups }: CapacityConfiguration): Json => ({
  cap_config_id: configurationId,
  domainid: domainId,
  egcn: groups.length,
  "Endurance Descriptor": groups.map((group) => ({
    endgid: group.enduranceGroupId,
    cap_adj_factor: group.capacityAdjustment,
    tegcap: group.totalCapacity,
    segcap: group.spareCapacity,
    egsets: group.nvmSets.length,
    egchans: group.channels.length,
    "Channel Descriptor": group.channels.map(({ channelId, mediaUnits }) => ({
      chanid: channelId,
      chmus: mediaUnits.length,
      // nvme-cli gives a media unit's identifier and length the keys of a channel.
      "Media Descriptor": mediaUnits.map((unit) => ({
        chanid: unit.mediaUnitId,
        chmus: unit.descriptorLength,
      })),
    })),
    "NVM Set IDs": group.nvmSets.map((nvmsetid) => ({ nvmsetid })),
  })),
});

export const logCommands = commands(logDescriptions, {
  telemetry(args) {
    const path = args.text("output-file");
    if (path === undefined || path === "" || path === STANDARD) return args.missing("output-file FILE");
    const last = areas[(args.number("data-area", 4, 1) ?? 3) - 1] ?? 3;
    const isNew = args.number("host-generate", 1) !== 0;
    const ofController = args.has("controller-init");
    const lid = ofController ? LogPageId.telemetryController : LogPageId.telemetryHost;
    return async (nvme) => {
      const { telemetry } = nvme.logs;
      const { header, data } = await (ofController
        ? telemetry.controller({ areas: last, rae: true })
        : isNew
          ? telemetry.host({ areas: last })
          : telemetry.lastHost({ areas: last }));
      const head = await nvme.logs.read(lid, TELEMETRY_BLOCK_BYTES);
      await using sink = await openSink(path);
      await sink.write(head);
      await sink.write(data);
      const bytes = head.length + data.length;
      const { hostGeneration, controllerGeneration } = header;
      const generation = ofController ? controllerGeneration : hostGeneration;
      return {
        json: { lid, bytes, generation, file: path },
        text: `wrote ${bytes} bytes of telemetry to ${path}`,
      };
    };
  },
  access(args) {
    const groupsOnly = args.has("groups");
    return async (nvme) => {
      const { changeCount, groups } = await nvme.logs.lists.asymmetricNamespaceAccess({ groupsOnly });
      const list = groups.map((group) => ({
        grpid: group.groupId,
        nnsids: group.namespaces.length,
        chgcnt: group.changeCount,
        state: accessStates[group.state] ?? "invalid state",
        NSIDS: group.namespaces.map((nsid) => ({ nsid })),
      }));
      return {
        json: {
          "Asymmetric Namespace Access Log for NVMe device": nvme.bdf,
          chgcnt: changeCount,
          ngrps: list.length,
          // The blank is nvme-cli's.
          "ANA DESC LIST ": list,
        },
      };
    };
  },
  persistent: () => async (nvme) => ({
    json: persistentEventsJson(await nvme.logs.lists.persistentEvents()),
  }),
  features: words(LogPageId.featuresSupported, "fid_support", "fid", FeatureId),
  management: words(LogPageId.managementCommandsSupported, "mi_command_support", "mi_cmd", {}),
  mediaUnits(args) {
    const lsi = args.number("domain-id", ID) ?? 0;
    return async (nvme) => {
      const page = await nvme.logs.read(LogPageId.mediaUnitStatus, mediaUnitHeader.sizeBytes, {
        lsi,
        rae: true,
      });
      const { channels, selectedConfiguration } = mediaUnitHeader.decode(page);
      const units = await nvme.logs.lists.mediaUnits(lsi);
      const list = units.map((unit) => ({
        muid: unit.mediaUnitId,
        domainid: unit.domainId,
        endgid: unit.enduranceGroupId,
        nvmsetid: unit.nvmSetId,
        cap_adj_fctr: unit.capacityAdjustment,
        avl_spare: unit.availableSpare,
        percent_used: unit.percentageUsed,
        mucs: unit.channels,
        cio: unit.channelOffset,
      }));
      return {
        json: { nmu: list.length, cchans: channels, sel_config: selectedConfiguration, mus_list: list },
      };
    };
  },
  capacities(args) {
    const domain = args.number("domain-id", ID) ?? 0;
    return async (nvme) => {
      const list = await nvme.logs.lists.capacityConfigurations(domain);
      return { json: { sccn: list.length, "Capacity Descriptor": list.map(capacityJson) } };
    };
  },
  reservations: () => async (nvme) => {
    const page = await nvme.logs.read(LogPageId.reservationNotification, reservationLog.sizeBytes);
    const { count, type, available, nsid } = reservationLog.decode(page);
    return { json: { count, rn_log_type: type, num_logs: available, NSID: nsid } };
  },
  predictable(args) {
    const set = args.number("nvmset-id", ID, 1) ?? 1;
    return async (nvme) => {
      const page = await nvme.logs.read(LogPageId.predictableLatency, predictableLatencyLog.sizeBytes, {
        lsi: set,
      });
      const log = predictableLatencyLog.decode(page);
      return {
        json: {
          nvmset_id: set,
          status: log.status,
          event_type: log.eventType,
          dtwin_reads_typical: log.windowReadsTypical,
          dtwin_writes_typical: log.windowWritesTypical,
          dtwin_time_maximum: log.windowTimeMaximum,
          ndwin_time_minimum_high: log.otherTimeMinimumHigh,
          ndwin_time_minimum_low: log.otherTimeMinimumLow,
          dtwin_reads_estimate: log.windowReadsEstimate,
          dtwin_writes_estimate: log.windowWritesEstimate,
          dtwin_time_estimate: log.windowTimeEstimate,
        },
      };
    };
  },
  predictableEvents: (args) => entries(args, ({ logs }) => logs.lists.predictableLatencyEvents()),
  enduranceEvents: (args) => entries(args, ({ logs }) => logs.lists.enduranceGroupEvents()),
  rotational(args) {
    const group = args.number("endg-id", ID, 1) ?? 1;
    return async (nvme) => {
      const page = await nvme.logs.read(LogPageId.rotationalMedia, rotationalMediaLog.sizeBytes, {
        lsi: group,
      });
      const log = rotationalMediaLog.decode(page);
      return {
        json: {
          endgid: log.enduranceGroupId,
          numa: log.actuators,
          nrs: log.nominalSpeed,
          spinc: log.spinups,
          fspinc: log.failedSpinups,
          ldc: log.loads,
          fldc: log.failedLoads,
        },
      };
    };
  },
  ...topologyCommands,
  changedAllocated: () => async (nvme) => {
    const ids = await nvme.logs.changedAllocatedNamespaces();
    const list = ids === "many" ? ["0xffffffff"] : ids.map((nsid) => `0x${nsid.toString(16)}`);
    const numbered = list.map((nsid, index): [string, Json] => [`[${String(index + 1).padStart(4)}]`, nsid]);
    return {
      json: { "Changed Allocated Namespace List Log": nvme.bdf, [nvme.bdf]: Object.fromEntries(numbered) },
    };
  },
});

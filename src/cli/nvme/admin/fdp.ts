/** `iova nvme fdp`: flexible data placement, under nvme-cli's JSON keys. */
import type { NvmeController } from "../../../nvme/controller.js";
import { FdpEventType } from "../../../nvme/spec/fdp.js";
import { FeatureId } from "../../../nvme/spec/opcodes.js";
import { fdpDescriptions } from "../../described/nvme/fdp.js";
import { type Ask, commands, type Result } from "../command.js";
import { openNamespace } from "../open.js";
import type { Json } from "../output.js";

/** Of a Media Reallocated event: the LBA is valid. */
const HAS_LBA = 1;

async function configs({ logs }: NvmeController, group: number): Promise<Json> {
  const list = await logs.fdp.configurations(group);
  return {
    n: list.length - 1,
    configs: list.map((config) => ({
      fdpa: config.reclaimGroupBits | (config.volatileWriteCache << 4) | (config.valid << 7),
      vss: config.vendorBytes,
      nrg: config.reclaimGroups,
      nruh: config.reclaimUnitHandles,
      nnss: config.namespaces,
      runs: config.reclaimUnitBytes,
      erutl: config.reclaimUnitTimeLimit,
      ruhs: config.handleTypes.map((ruht) => ({ ruht })),
    })),
  };
}

async function events({ logs }: NvmeController, group: number, whose: "host" | "controller"): Promise<Json> {
  const list = await logs.fdp.events(group, whose);
  return {
    n: list.length,
    events: list.map((event) => {
      const { type, typeSpecific } = event;
      const view = new DataView(typeSpecific.buffer, typeSpecific.byteOffset);
      const isMoved = type === FdpEventType.mediaReallocated;
      return {
        type,
        fdpef: event.placementIdValid | (event.nsidValid << 1) | (event.locationValid << 2),
        pid: event.placementId,
        timestamp: event.timestamp,
        nsid: event.nsid,
        nlbam: isMoved ? view.getUint16(2, true) : undefined,
        lba: isMoved && (view.getUint8(0) & HAS_LBA) !== 0 ? view.getBigUint64(4, true) : undefined,
      };
    }),
  };
}

export const fdpCommands = commands(fdpDescriptions, {
  fdp(args) {
    const { verb } = args;
    args.asks = verb === "update" || verb === "set-events";
    const group = args.number("endgrp-id", 0xffff) ?? 1;
    const nsid = args.number("namespace-id", 0xffff_fffe, 1);
    const whose = args.has("host-events") ? "host" : "controller";
    const pids = args.list("pids", 0xffffn)?.map(Number);
    const types = args.list("event-types", 0xffn)?.map(Number);
    const handle = args.number("placement-handle", 0xffff) ?? 0;
    if (verb === "update" && pids === undefined) args.missing("pids LIST");
    if (verb === "set-events" && types === undefined) args.missing("event-types LIST");
    const work: Readonly<Record<string, (nvme: NvmeController, ask: Ask) => Promise<Json>>> = {
      configs: (nvme) => configs(nvme, group),
      usage: async ({ logs }) => {
        const handles = await logs.fdp.handleUsage(group);
        return { nruh: handles.length, ruhus: handles.map((ruha) => ({ ruha })) };
      },
      stats: async ({ logs }) => {
        const { hostBytesWritten, mediaBytesWritten, mediaBytesErased } = await logs.fdp.statistics(group);
        return {
          hbmw: String(hostBytesWritten),
          mbmw: String(mediaBytesWritten),
          mbe: String(mediaBytesErased),
        };
      },
      events: (nvme) => events(nvme, group, whose),
      status: async (nvme) => {
        const handles = await (await openNamespace(nvme, nsid)).placement.handles();
        const ruhss = handles.map(({ placement, handle: ruhid, activeSeconds, availableBlocks }) => ({
          pid: placement,
          ruhid,
          earutr: activeSeconds,
          ruamw: availableBlocks,
        }));
        return { nruhsd: ruhss.length, ruhss };
      },
      update: async (nvme, ask) => {
        const ns = await openNamespace(nvme, nsid);
        await ask(`This moves the placement identifiers ${pids?.join(", ")} to empty reclaim units`);
        await ns.placement.update(pids ?? []);
        return { nsid: ns.nsid, pids };
      },
      "set-events": async (nvme, ask) => {
        const { nsid: id } = await openNamespace(nvme, nsid);
        const list = types ?? [];
        await ask(`This sets which FDP events namespace ${id} reports`);
        await nvme.features.set(FeatureId.flexibleDataPlacementEvents, (handle | (list.length << 16)) >>> 0, {
          nsid: id,
          cdw12: args.has("enable") ? 1 : 0,
          data: Uint8Array.from(list),
        });
        return { nsid: id, event_types: list };
      },
    };
    return async (nvme, ask): Promise<Result> => ({ json: (await work[verb]?.(nvme, ask)) ?? null });
  },
});

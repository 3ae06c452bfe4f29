/** `iova nvme reachability-groups-log`, `mgmt-addr-list-log`, ...: logs of NVMe 2.1 to 2.3 under nvme-cli's JSON keys. */
import { ManagementAddressType } from "../../../nvme/spec/log-pages.js";
import { BROADCAST_NSID } from "../../../nvme/spec/opcodes.js";
import type { Arguments, Work } from "../command.js";
import type { Json } from "../output.js";

const managerNames: Readonly<Record<number, string>> = {
  [ManagementAddressType.subsystemAgent]: "NVM subsystem management agent",
  [ManagementAddressType.fabricManager]: "fabric interface manager",
};

export const topologyCommands = {
  dispersed(args: Arguments<"namespace-id">): Work {
    const nsid = args.number("namespace-id", BROADCAST_NSID, 1) ?? 1;
    return async (nvme) => {
      const { generation, subsystems } = await nvme.logs.topology.dispersedNamespace(nsid);
      const names = subsystems.map((nqn, i): [string, Json] => [`participating_nss ${i}`, nqn]);
      return { json: { genctr: generation, numpsub: subsystems.length, ...Object.fromEntries(names) } };
    };
  },
  managers: (): Work => async (nvme) => {
    const list = await nvme.logs.topology.managementAddresses();
    if (list.length === 0) return { json: { list: "All management address descriptors reserved" } };
    const entries = list.map(({ type, uri }, i): [string, Json] => [
      `descriptor: ${i}`,
      { [`type: ${type}`]: { definition: managerNames[type] ?? "reserved" }, address: uri },
    ]);
    return { json: Object.fromEntries(entries) };
  },
  reachabilityGroups(args: Arguments<"groups-only">): Work {
    const groupsOnly = args.has("groups-only");
    return async (nvme) => {
      const { changeCount, groups } = await nvme.logs.topology.reachabilityGroups({ groupsOnly });
      const list = groups.map(({ groupId, changeCount: chngc, namespaces }): [string, Json] => [
        `rgid: ${groupId}`,
        // nvme-cli repeats the key nnid for each namespace.
        { nnid: namespaces.length, chngc, nsid: namespaces },
      ]);
      return { json: { chngc: changeCount, nrgd: groups.length, ...Object.fromEntries(list) } };
    };
  },
  reachabilityAssociations(args: Arguments<"associations-only">): Work {
    const associationsOnly = args.has("associations-only");
    return async (nvme) => {
      const { topology } = nvme.logs;
      const { changeCount, associations } = await topology.reachabilityAssociations({ associationsOnly });
      const list = associations.map(({ associationId, changeCount: chngc, characteristics, groups }) => [
        `rasid: ${associationId}`,
        // nvme-cli repeats the key rgid for each group.
        { nrid: groups.length, chngc, rac: characteristics, rgid: groups },
      ]);
      return { json: { chngc: changeCount, nrad: associations.length, ...Object.fromEntries(list) } };
    };
  },
  power: (): Work => async (nvme) => {
    const { log, averageWatts, maximumWatts, histogram } = await nvme.logs.powerMeasurement();
    return {
      json: {
        ver: log.version,
        pmgn: log.generation,
        pme: log.enabled,
        ncpdf: log.nonContiguous,
        epf: log.estimated,
        mipwrts: log.hasMaximumTime,
        phdo: log.overflowed,
        pmt: log.type,
        sze: log.totalBytes,
        pmc: log.count,
        nphd: log.bins,
        smtr: log.minutesRemaining,
        smts: log.stopTime,
        phds: log.binBytes,
        phbs: log.binMilliwatts,
        nphds: log.mostBins,
        vss: log.vendorBytes,
        phdoc: log.overflowCount,
        aipwr: log.average,
        average_watts: averageWatts ?? null,
        mipwr: log.maximum,
        maximum_watts: maximumWatts ?? null,
        mipwrt: log.maximumTime,
        ipwrpe: log.percentError,
        descs: histogram.map(({ count, fromWatts }) => ({ phbc: count, from_watts: fromWatts ?? null })),
      },
    };
  },
};

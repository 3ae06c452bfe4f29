/** `iova nvme resv-register`, `resv-acquire`, `resv-release` and `resv-report`. */
import type { NvmeController } from "../../../nvme/controller.js";
import type { NvmeReservations } from "../../../nvme/namespace/reservations.js";
import { FeatureId } from "../../../nvme/spec/opcodes.js";
import { reservationTypes } from "../../../nvme/spec/reservations.js";
import { reservationDescriptions } from "../../described/nvme/reservations.js";
import { type Arguments, commands, type Result, type Work } from "../command.js";
import { openNamespace } from "../open.js";

type Common = Arguments<"hostid" | "namespace-id">;

/** EXHID: a Host Identifier of 16 bytes. */
const EXTENDED = 1;

/** Sets the Host Identifier, and opens the namespace. */
function reserving(args: Common) {
  const nsid = args.number("namespace-id", 0xffff_fffe, 1);
  const digits = args.text("hostid");
  if (digits !== undefined && !/^([0-9a-f]{16}){1,2}$/i.test(digits))
    throw args.wrong(`--hostid ${digits}: expected 16 or 32 hexadecimal digits`);
  return async (nvme: NvmeController): Promise<{ nsid: number; reservations: NvmeReservations }> => {
    if (digits !== undefined) {
      const data = Buffer.from(digits, "hex");
      await nvme.features.set(FeatureId.hostIdentifier, data.length === 16 ? EXTENDED : 0, { data });
    }
    const ns = await openNamespace(nvme, nsid);
    return { nsid: ns.nsid, reservations: ns.reservations };
  };
}

/** Asks, and changes the reservation. */
function change(args: Common, verb: string, run: (reservations: NvmeReservations) => Promise<void>): Work {
  const open = reserving(args);
  return async (nvme, ask): Promise<Result> => {
    const { nsid, reservations } = await open(nvme);
    await ask(`This changes reservations of namespace ${nsid} (${verb})`);
    await run(reservations);
    return { json: { nsid, action: verb }, text: `reservations of namespace ${nsid}: ${verb} done` };
  };
}

function typeOf(args: Arguments<"rtype">) {
  const type = reservationTypes[args.needed("rtype", 6, 1)];
  return type === undefined || type === "none" ? args.missing("rtype N") : type;
}

export const reservationCommands = commands(reservationDescriptions, {
  register(args) {
    const action = args.number("rrega", 2) ?? 0;
    const crkey = args.big("crkey") ?? 0n;
    const current = args.has("iekey") ? undefined : crkey;
    const cptpl = args.number("cptpl", 3) ?? 0;
    if (cptpl === 1) throw args.wrong("--cptpl 1 is reserved: expected 0, 2 or 3");
    const persist = cptpl === 0 ? undefined : cptpl === 3;
    if (action === 1) return change(args, "unregister", (reservations) => reservations.unregister(current));
    const key = args.big("nrkey", undefined, 1n) ?? args.missing("nrkey KEY");
    return action === 2
      ? change(args, "replace", (reservations) => reservations.replace(current, key, { persist }))
      : change(args, "register", (reservations) => reservations.register(key, { persist }));
  },
  acquire(args) {
    const action = args.number("racqa", 2) ?? 0;
    const key = args.big("crkey") ?? args.missing("crkey KEY");
    const type = typeOf(args);
    if (action === 0) return change(args, "acquire", (reservations) => reservations.acquire(key, type));
    const preempted = args.big("prkey") ?? args.missing("prkey KEY");
    const abort = action === 2;
    return change(args, "preempt", (reservations) => reservations.preempt(key, type, preempted, { abort }));
  },
  release(args) {
    const key = args.big("crkey") ?? args.missing("crkey KEY");
    if (args.number("rrela", 1) === 1)
      return change(args, "clear", (reservations) => reservations.clear(key));
    const type = typeOf(args);
    return change(args, "release", (reservations) => reservations.release(key, type));
  },
  report(args) {
    const open = reserving(args);
    return async (nvme) => {
      const { reservations } = await open(nvme);
      const { generation, type, persistsThroughPowerLoss, registrants } = await reservations.report();
      const list = registrants.map(({ controllerId, holds, key, hostId }) => {
        const isLong = hostId.length === 16;
        const hostid = isLong
          ? Buffer.from(hostId).toString("hex")
          : new DataView(hostId.buffer, hostId.byteOffset).getBigUint64(0, true);
        return { cntlid: controllerId, rcsts: holds ? 1 : 0, hostid, rkey: key };
      });
      const isExtended = (nvme.identify.ctratt & 1) !== 0;
      return {
        json: {
          gen: generation,
          rtype: reservationTypes.indexOf(type ?? "none"),
          regctl: list.length,
          ptpls: persistsThroughPowerLoss ? 1 : 0,
          [isExtended ? "regctlext" : "regctls"]: list,
        },
      };
    };
  },
});

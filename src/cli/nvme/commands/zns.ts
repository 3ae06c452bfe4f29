/** `iova nvme zns`: zones of a zoned namespace. */

import { ArgumentError } from "../../../core/errors.js";
import { ZoneAction } from "../../../nvme/spec/opcodes.js";
import { NO_WRITE_POINTER } from "../../../nvme/spec/zoned.js";
import { parseOptions } from "../../command-line.js";
import {
  znsDescription,
  zoneAppendOptions,
  zoneOptions,
  zoneReportOptions,
} from "../../described/nvme/zns.js";
import { table } from "../../table.js";
import { print } from "../../terminal.js";
import {
  bigOption,
  controllerOptions,
  namespaceOption,
  numberOption,
  targetOperand,
  usage,
  wantsJson,
} from "../arguments.js";
import { assertCanConfirm, confirm } from "../confirm.js";
import { namespaceId, withController } from "../open.js";
import { hex, type Json, printJson } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { assertUnused } from "../unused.js";
import { openSource, STANDARD } from "./data-file.js";
import { identify } from "./identify.js";
import {
  appendLimitBytes,
  appendToZone,
  changeZone,
  reportedStates,
  reportZones,
  stateName,
  typeName,
  type ZoneReport,
  zonedShape,
} from "./zones.js";

interface Common {
  readonly "start-lba"?: string | undefined;
  readonly zslba?: string | undefined;
  readonly "namespace-id"?: string | undefined;
  readonly backend?: string | undefined;
  readonly timeout?: string | undefined;
  readonly json?: boolean | undefined;
  readonly "output-format"?: string | undefined;
}

/** @throws ConfigError */
function commonOf(values: Common, operands: readonly string[]) {
  return {
    target: targetOperand("zns", operands),
    start: bigOption("zns", "start-lba", values["start-lba"] ?? values.zslba),
    nsid: namespaceOption("zns", values["namespace-id"]),
    options: controllerOptions("zns", values),
    json: wantsJson("zns", values),
  };
}

function reportJson({ count, zones }: ZoneReport): Json {
  return {
    nr_zones: count,
    zone_list: zones.map(({ zslba, wp, zcap, zs, zt, za }) => ({
      slba: zslba,
      wp,
      cap: zcap,
      state: stateName(zs),
      type: typeName(zt),
      attrs: za,
    })),
  };
}

function reportText({ count, zones }: ZoneReport): string {
  const rows = zones.map(({ zslba, wp, zcap, zs, zt, za }) => [
    hex(zslba),
    wp === NO_WRITE_POINTER ? "-" : hex(wp),
    hex(zcap),
    stateName(zs),
    typeName(zt),
    hex(za),
  ]);
  return `nr_zones: ${count}\n${table(["SLBA", "WP", "Cap", "State", "Type", "Attrs"], rows)}`;
}

async function report(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseOptions(
    argv,
    { ...zoneOptions, ...zoneReportOptions },
    znsDescription,
  );
  const { target, start, nsid, options, json } = commonOf(values, positionals);
  const most = numberOption("zns", "descs", values.descs, 0, 0xffff_ffff) ?? 0xffff_ffff;
  const name = values.state ?? "all";
  const states = Object.hasOwn(reportedStates, name)
    ? reportedStates[name]
    : /^[0-7]$/.test(name)
      ? Number(name)
      : undefined;
  if (states === undefined) {
    throw usage("zns", `--state ${name}: expected one of ${Object.keys(reportedStates).join(", ")}`);
  }
  const result = await withController(target, options, async (nvme) => {
    const shape = await zonedShape(nvme, await namespaceId(nvme, nsid));
    return await reportZones(nvme, shape, { start: start ?? 0n, states, most });
  });
  if (json) printJson(reportJson(result));
  else print(reportText(result));
}

/** Actions on zones. A destructive one loses data, or ends writing to the zone. */
const actions = {
  open: { code: ZoneAction.open, isDestructive: false },
  close: { code: ZoneAction.close, isDestructive: false },
  finish: { code: ZoneAction.finish, isDestructive: true },
  reset: { code: ZoneAction.reset, isDestructive: true },
} as const;

async function change(verb: keyof typeof actions, argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseOptions(argv, zoneOptions, znsDescription);
  const { target, start, nsid, options, json } = commonOf(values, positionals);
  const all = values["select-all"] === true;
  if (all === (start !== undefined)) throw usage("zns", `zns ${verb} needs --start-lba N, or --select-all`);
  const { code, isDestructive } = actions[verb];
  const yes = values.yes === true || !isDestructive;
  assertCanConfirm(`zns ${verb}`, yes);
  const which = start === undefined ? "all zones" : `the zone at block ${start}`;
  await withController(target, options, async (nvme) => {
    const { nsid: id } = await zonedShape(nvme, await namespaceId(nvme, nsid));
    if (isDestructive) await assertUnused(nvme, id, values.force === true);
    const lost = verb === "reset" ? ", whose data is lost" : "";
    await confirm(nvme, `This does a ${verb} of ${which} of namespace ${id}${lost}`, yes);
    await changeZone(nvme, id, { name: verb, code }, start);
    if (json) printJson({ action: verb, nsid: id, zslba: start ?? null });
    else print(`zns ${verb}: ${which} of namespace ${id}`);
  });
}

async function append(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseOptions(
    argv,
    { ...zoneOptions, ...zoneAppendOptions },
    znsDescription,
  );
  const { target, start, nsid, options, json } = commonOf(values, positionals);
  const path = values["data-file"] ?? values.data;
  if (start === undefined) throw usage("zns", "zns append needs --zslba N");
  if (path === undefined || path === "") throw usage("zns", "zns append needs --data FILE, or -");
  const wanted = numberOption("zns", "data-size", values["data-size"], 1, 2 ** 32);
  const yes = values.yes === true;
  if (path === STANDARD && !yes) {
    throw usage("zns", "standard input holds the data and can't answer the question: add --yes");
  }
  assertCanConfirm("zns append", yes);
  await using source = await openSource(path);
  await withController(target, options, async (nvme) => {
    const shape = await zonedShape(nvme, await namespaceId(nvme, nsid));
    const most = await appendLimitBytes(nvme);
    const data = new Uint8Array(Math.min(wanted ?? most + 1, most + 1));
    const length = await source.read(data);
    if (length > most) {
      throw new ArgumentError(
        `${source.name} has more than the ${most} bytes that one append can carry here`,
      );
    }
    if (length === 0 || (wanted !== undefined && length < wanted)) {
      throw new ArgumentError(
        `${source.name} has ${length} bytes${wanted === undefined ? "" : `, not ${wanted}`}`,
      );
    }
    if (length % shape.blockSizeBytes !== 0) {
      throw new ArgumentError(
        `${source.name} has ${length} bytes, which is no whole number of blocks of ${shape.blockSizeBytes}`,
      );
    }
    const blocks = length / shape.blockSizeBytes;
    await assertUnused(nvme, shape.nsid, values.force === true);
    await confirm(nvme, `This appends ${blocks} blocks to the zone at block ${start}`, yes);
    const lba = await appendToZone(nvme, shape, start, data.subarray(0, length));
    if (json) printJson({ nsid: shape.nsid, zslba: start, alba: lba, blocks });
    else print(`appended ${blocks} blocks at block ${lba}`);
  });
}

const verbs: Readonly<Record<string, (argv: readonly string[]) => Promise<void>>> = {
  report,
  "report-zones": report,
  open: (argv) => change("open", argv),
  "open-zone": (argv) => change("open", argv),
  close: (argv) => change("close", argv),
  "close-zone": (argv) => change("close", argv),
  finish: (argv) => change("finish", argv),
  "finish-zone": (argv) => change("finish", argv),
  reset: (argv) => change("reset", argv),
  "reset-zone": (argv) => change("reset", argv),
  append,
  "zone-append": append,
  "id-ctrl": (argv) => identify.run(["--cns", "zns-id-ctrl", ...argv]),
  "id-ns": (argv) => identify.run(["--cns", "zns-id-ns", ...argv]),
};

async function run(argv: readonly string[]): Promise<void> {
  const [verb, ...rest] = argv;
  const act = verb !== undefined && Object.hasOwn(verbs, verb) ? verbs[verb] : undefined;
  if (act === undefined) {
    const got = verb === undefined ? "zns needs an action" : `there is no zns ${JSON.stringify(verb)}`;
    throw usage("zns", `${got}: report, open, close, finish, reset or append`);
  }
  await act(rest);
}

export const zns: NvmeSubcommand = { description: znsDescription, run };

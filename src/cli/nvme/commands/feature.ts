/** `iova nvme feature`: reads and sets features. */

import { ArgumentError } from "../../../core/errors.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { decodeBits } from "../../../nvme/spec/capabilities.js";
import { BROADCAST_NSID, FeatureId, FeatureSelect } from "../../../nvme/spec/opcodes.js";
import { parseCommandLine } from "../../command-line.js";
import { featureDescription } from "../../described/nvme/feature.js";
import { print } from "../../terminal.js";
import { controllerOptions, numberOption, targetOperand, usage, wantsJson } from "../arguments.js";
import { assertCanConfirm, confirm } from "../confirm.js";
import { nameOf } from "../names.js";
import { withController } from "../open.js";
import { hexDump, type Json, pairs, printJson } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { openSource, STANDARD } from "./data-file.js";
import { featureBytes, featureFields, fieldNotes } from "./feature-fields.js";

const selections = Object.keys(FeatureSelect).filter(isSelection);

function isSelection(name: string): name is keyof typeof FeatureSelect {
  return Object.hasOwn(FeatureSelect, name);
}

/** Most bytes of a feature's data structure. */
const MOST_BYTES = 4096;
/** Bits of the value with --sel supported. */
const supportedFields = { saveable: 0, namespaceSpecific: 1, changeable: 2 } as const;

/** @throws ConfigError */
function selectionOf(text: string | undefined): keyof typeof FeatureSelect {
  if (text === undefined) return "current";
  const found = selections.find((name) => name === text || String(FeatureSelect[name]) === text);
  if (found === undefined) throw usage("feature", `--sel ${text}: expected one of ${selections.join(", ")}`);
  return found;
}

/** @throws ConfigError if there is no such file, ArgumentError if its size is wrong */
async function dataOf(path: string): Promise<Uint8Array> {
  await using source = await openSource(path);
  const bytes = new Uint8Array(MOST_BYTES + 1);
  const length = await source.read(bytes);
  if (length === 0 || length > MOST_BYTES) {
    throw new ArgumentError(`${source.name} must have 1 to ${MOST_BYTES} bytes to be a feature's data`);
  }
  return bytes.slice(0, length);
}

type Parsed = ReturnType<typeof parse>;

function parse(argv: readonly string[]) {
  const { values, positionals } = parseCommandLine(featureDescription, argv);
  const [verb, ...rest] = positionals;
  if (verb !== "get" && verb !== "set") {
    throw usage(
      "feature",
      verb === undefined ? "feature needs get or set" : `feature ${verb}: expected get or set`,
    );
  }
  const target = targetOperand(`feature`, rest);
  const fid = numberOption("feature", "feature-id", values["feature-id"], 0, 0xff);
  if (fid === undefined) throw usage("feature", `feature ${verb} needs --feature-id N`);
  const nsid = numberOption("feature", "namespace-id", values["namespace-id"], 0, BROADCAST_NSID);
  const word = (option: "value" | "cdw11" | "cdw12"): number | undefined =>
    numberOption("feature", option, values[option], 0, 0xffff_ffff);
  return {
    verb,
    target,
    fid,
    nsid,
    values,
    value: word("value"),
    cdw11: word("cdw11"),
    cdw12: word("cdw12"),
    select: selectionOf(values.sel),
    sizeBytes: numberOption("feature", "data-len", values["data-len"], 0, MOST_BYTES),
    json: wantsJson("feature", values),
    options: controllerOptions("feature", values),
  };
}

/** What Get Features says of a feature. @param bytes of its data structure; by default its known size */
export async function readFeature(
  nvme: NvmeController,
  fid: number,
  {
    nsid,
    cdw11,
    select = "current",
    sizeBytes,
  }: Partial<Pick<Parsed, "nsid" | "cdw11" | "select" | "sizeBytes">> = {},
): Promise<{ readonly json: Json; readonly text: string }> {
  const bytes = sizeBytes ?? (select === "supported" ? 0 : (featureBytes[fid] ?? 0));
  const { value, data } = await nvme.features.get(fid, {
    nsid,
    select,
    // EXHID asks for a Host Identifier of 16 bytes.
    cdw11: cdw11 ?? (fid === FeatureId.hostIdentifier && bytes === 16 ? 1 : undefined),
    sizeBytes: bytes,
  });
  const table = select === "supported" ? supportedFields : featureFields[fid];
  const fields = table === undefined ? {} : decodeBits(value, table);
  const name = nameOf(FeatureId, fid) ?? "Unknown";
  const lines = Object.entries(fields).map(([field, part]) => {
    const note = fieldNotes[field];
    return [field, `${String(part)}${note === undefined ? "" : ` (${note})`}`] as const;
  });
  const head = `feature 0x${fid.toString(16).padStart(2, "0")} (${name}), ${select}: 0x${value.toString(16).padStart(8, "0")}`;
  const hex = data.length === 0 ? undefined : Buffer.from(data).toString("hex");
  return {
    json: { fid, name, sel: select, value, fields, data: hex },
    text: [
      head,
      ...(lines.length === 0 ? [] : [pairs(lines)]),
      ...(data.length === 0 ? [] : [hexDump(data)]),
    ].join("\n"),
  };
}

async function get({ target, fid, json, options, ...wanted }: Parsed): Promise<void> {
  const { nsid, cdw11, select, sizeBytes } = wanted;
  const found = await withController(target, options, (nvme) =>
    readFeature(nvme, fid, { nsid, cdw11, select, sizeBytes }),
  );
  if (json) printJson(found.json);
  else print(found.text);
}

async function set(parsed: Parsed): Promise<void> {
  const { target, fid, nsid, value, cdw12, values, json, options } = parsed;
  const { data: path } = values;
  const yes = values.yes === true;
  const save = values.save === true;
  if (value === undefined && path === undefined)
    throw usage("feature", "feature set needs --value V or --data FILE");
  if (path === STANDARD && !yes) {
    throw usage("feature", "standard input holds the data and can't answer the question: add --yes");
  }
  assertCanConfirm("feature set", yes);
  const data = path === undefined ? undefined : await dataOf(path);
  const name = nameOf(FeatureId, fid) ?? "Unknown";
  const what = `feature 0x${fid.toString(16).padStart(2, "0")} (${name})`;
  const result = await withController(target, options, async (nvme) => {
    await confirm(nvme, `This sets ${what} to 0x${(value ?? 0).toString(16)}`, yes);
    return await nvme.features.set(fid, value ?? 0, { nsid, save, cdw12, data });
  });
  if (json) printJson({ fid, name, value: value ?? 0, saved: save, result: result.dw0 });
  else
    print(
      `${what} is set to 0x${(value ?? 0).toString(16)}${save ? "" : ", until the next reset (--save keeps it)"}`,
    );
}

async function run(argv: readonly string[]): Promise<void> {
  const parsed = parse(argv);
  if (parsed.verb === "get") await get(parsed);
  else await set(parsed);
}

export const feature: NvmeSubcommand = { description: featureDescription, run };

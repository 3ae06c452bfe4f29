/** Identify data structures under nvme-cli's JSON keys. */
import { uuidText } from "../../../nvme/spec/identifiers.js";
import { identifyController, identifyNamespace, identifyNvmNamespace } from "../../../nvme/spec/identify.js";
import { NamespaceDescriptor, splitNamespaceDescriptors } from "../../../nvme/spec/namespace-descriptors.js";
import type { PowerState } from "../../../nvme/spec/power-state.js";
import { type RecordLayout, u128 } from "../../../nvme/spec/record.js";
import { identifyZonedNamespace } from "../../../nvme/spec/zoned.js";
import type { Json } from "../output.js";

/** Text up to the first NUL. Blanks at its end stay, as in nvme-cli. */
function text(page: Uint8Array, offset: number, length: number): string {
  const field = page.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return Buffer.from(end < 0 ? field : field.subarray(0, end)).toString("latin1");
}

export function hexBytes(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

type Fields = { readonly [name: string]: { readonly offset: number; readonly type: { sizeBytes: number } } };

/**
 * A record's fields in their order. Numbers of 128 bits are text, as in nvme-cli, and bytes are hexadecimal.
 * @param own fields of other types; undefined leaves a field out
 */
export function recordJson<F extends Fields>(
  layout: RecordLayout<F>,
  page: Uint8Array,
  own: Readonly<Record<string, Json | undefined>> = {},
): Record<string, Json> {
  const json: Record<string, Json> = {};
  const values: Readonly<Record<string, unknown>> = layout.decode(page);
  for (const [name, value] of Object.entries(values)) {
    const given = own[name];
    if (given !== undefined) json[name] = given;
    else if (name in own) continue;
    else if (typeof value === "number") json[name] = value;
    else if (typeof value === "bigint")
      json[name] = layout.fields[name]?.type === u128 ? String(value) : value;
    else if (typeof value === "string") json[name] = value;
    else if (value instanceof Uint8Array) json[name] = hexBytes(value);
  }
  return json;
}

/** `nvme id-ctrl -o json`. */
export function controllerJson(page: Uint8Array): Record<string, Json> {
  const { fguid, npss, psd } = identifyController.decode(page);
  const { fields } = identifyController;
  const raw = (name: "sn" | "mn" | "fr" | "subnqn"): string => {
    const { offset, type } = fields[name];
    return text(page, offset, type.sizeBytes);
  };
  const json = recordJson(identifyController, page, {
    sn: raw("sn"),
    mn: raw("mn"),
    fr: raw("fr"),
    subnqn: raw("subnqn"),
    fguid: uuidText(fguid),
    psd: undefined,
    vs: undefined,
  });
  return { ...json, psds: psd.slice(0, npss + 1).map(powerStateJson) };
}

function powerStateJson(state: PowerState): Json {
  return {
    max_power: state.mp,
    flags: state.mxps | (state.nops << 1),
    entry_lat: state.enlat,
    exit_lat: state.exlat,
    read_tput: state.rrt,
    read_lat: state.rrl,
    write_tput: state.rwt,
    write_lat: state.rwl,
    idle_power: state.idlp,
    idle_scale: state.ips,
    active_power: state.actp,
    active_power_work: state.apw,
    active_scale: state.aps,
  };
}

/** `nvme id-ns -o json`. */
export function namespaceJson(page: Uint8Array): Record<string, Json> {
  const { lbaf, nlbaf, nulbaf } = identifyNamespace.decode(page);
  const json = recordJson(identifyNamespace, page, { lbaf: undefined, vs: undefined });
  const lbafs = lbaf
    .slice(0, nlbaf + 1 + nulbaf)
    .map(({ metadataBytes, blockSizeBytes, relativePerformance }) => ({
      ms: metadataBytes,
      ds: blockSizeBytes === 0 ? 0 : Math.log2(blockSizeBytes),
      rp: relativePerformance,
    }));
  return { ...json, lbafs };
}

/** `nvme list-ns -o json`. */
export function namespaceIdsJson(page: Uint8Array): Record<string, Json> {
  return { nsid_list: namespaceIds(page).map((nsid) => ({ nsid })) };
}

function namespaceIds(page: Uint8Array): number[] {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const ids: number[] = [];
  for (let at = 0; at < page.length; at += 4) {
    const nsid = view.getUint32(at, true);
    if (nsid === 0) break;
    ids.push(nsid);
  }
  return ids;
}

/** `nvme ns-descs -o json`. */
export function namespaceDescriptorsJson(page: Uint8Array): Record<string, Json> {
  const descriptors = splitNamespaceDescriptors(page).map(({ offset, type, id }): Json => {
    return { loc: offset, nidt: type, nidl: id.length, ...descriptorValue(type, id) };
  });
  return { "ns-descs": descriptors };
}

function descriptorValue(nidt: number, nid: Uint8Array): Record<string, Json> {
  switch (nidt) {
    case NamespaceDescriptor.eui64.type:
      return { type: "eui64", eui64: hexBytes(nid) };
    case NamespaceDescriptor.nguid.type:
      return { type: "nguid", nguid: hexBytes(nid) };
    case NamespaceDescriptor.uuid.type:
      return { type: "uuid", uuid: uuidText(nid) };
    case NamespaceDescriptor.commandSet.type:
      return { type: "csi", csi: hexBytes(nid).replace(/^0(?=.)/, "") };
    default:
      return { type: "unknown", nid: hexBytes(nid) };
  }
}

/** `nvme nvm-id-ns -o json`. */
export function nvmNamespaceJson(page: Uint8Array): Record<string, Json> {
  const { elbaf } = identifyNvmNamespace.decode(page);
  const elbafs = elbaf.map(({ storageTagBits, guardBits }) => ({
    sts: storageTagBits,
    pif: { 16: 0, 32: 1, 64: 2 }[guardBits],
  }));
  // Identify Namespace has their number; here the ones at the end that are zero are left out.
  const used = elbafs.findLastIndex(({ sts, pif }) => sts > 0 || pif > 0) + 1;
  return { ...recordJson(identifyNvmNamespace, page, { elbaf: undefined }), elbafs: elbafs.slice(0, used) };
}

/** `nvme zns id-ns -o json`. */
export function zonedNamespaceJson(page: Uint8Array): Record<string, Json> {
  const { lbafe } = identifyZonedNamespace.decode(page);
  const used = lbafe.findLastIndex(({ zoneSizeBlocks }) => zoneSizeBlocks > 0n) + 1;
  return {
    ...recordJson(identifyZonedNamespace, page, { lbafe: undefined, vs: undefined }),
    lbafe: lbafe.slice(0, used).map(({ zoneSizeBlocks, extensionBytes }) => ({
      zsze: zoneSizeBlocks,
      zdes: extensionBytes / 64,
    })),
  };
}

/** Identify data structures for people: nvme-cli's names, one field a line. */
import {
  Anacap,
  Apsta,
  type BitTable,
  Cmic,
  Ctratt,
  Dlfeat,
  Dpc,
  Dps,
  Dsto,
  decodeBits,
  Fna,
  Fpi,
  Frmw,
  Hctma,
  Lpa,
  Mc,
  Nmic,
  Nsfeat,
  Nwpc,
  Oacs,
  Oaes,
  Oncs,
  Rescap,
  Sanicap,
  Sgls,
  Vwc,
} from "../../../nvme/spec/capabilities.js";
import { identifyController, identifyNamespace } from "../../../nvme/spec/identify.js";
import { maximumPowerWatts } from "../../../nvme/spec/power-state.js";
import { deviceText } from "../../terminal.js";
import { decimalBytes, hex, type Json, pairs } from "../output.js";

type Fields = Readonly<Record<string, Json>>;

/** Fields that are printed in hexadecimal. */
const HEXADECIMAL = new Set([
  ...["vid", "ssvid", "cmic", "ver", "oaes", "ctratt", "nvmsr", "mec", "oacs", "frmw", "lpa", "sanicap"],
  ...[
    "sqes",
    "cqes",
    "oncs",
    "fuses",
    "fna",
    "vwc",
    "ocfs",
    "sgls",
    "ofcs",
    "anacap",
    "nwpc",
    "rrls",
    "crcap",
  ],
  ...["bpcap", "nsfeat", "mc", "dpc", "dps", "nmic", "rescap", "fpi", "dlfeat", "nsattr", "flbas", "avscc"],
  ...["apsta", "hctma", "icsvscc", "cntrltype", "pic", "zoc", "ozcs", "nstat", "vwci", "lbstm", "zrwacap"],
  ...["nsze", "ncap", "nuse", "mar", "mor"],
]);

function fieldText(name: string, value: Json): string {
  if ((typeof value === "number" || typeof value === "bigint") && HEXADECIMAL.has(name)) return hex(value);
  return deviceText(String(value));
}

function isPlain([, value]: readonly [string, Json]): boolean {
  return typeof value !== "object" || value === null;
}

function entriesOf(fields: Fields): [string, string][] {
  return Object.entries(fields)
    .filter(isPlain)
    .map(([name, value]) => [name, fieldText(name, value)]);
}

/** All fields that have a single value. */
export function recordText(fields: Fields): string {
  return pairs(entriesOf(fields));
}

function withNotes(fields: Fields, notes: Readonly<Record<string, string | undefined>>): string {
  return pairs(
    entriesOf(fields).map(([name, value]) => {
      const note = notes[name];
      return [name, note === undefined ? value : `${value} (${note})`];
    }),
  );
}

/** The fields of a number that are set: `format, namespace management, flush behavior 3`. */
function flagsText(value: number, table: BitTable): string | undefined {
  const fields: Readonly<Record<string, boolean | number>> = decodeBits(value, table);
  const parts = Object.entries(fields).flatMap(([name, part]) => {
    if (part === false || part === 0) return [];
    const words = name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
    return [part === true ? words : `${words} ${part}`];
  });
  return parts.length === 0 ? undefined : parts.join(", ");
}

function flagNotes(
  fields: Fields,
  tables: Readonly<Record<string, BitTable>>,
): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(tables).map(([name, bits]) => {
      const value = fields[name];
      return [name, typeof value === "number" ? flagsText(value, bits) : undefined];
    }),
  );
}

const controllerTables: Readonly<Record<string, BitTable>> = {
  cmic: Cmic,
  oaes: Oaes,
  ctratt: Ctratt,
  oacs: Oacs,
  frmw: Frmw,
  lpa: Lpa,
  apsta: Apsta,
  dsto: Dsto,
  hctma: Hctma,
  sanicap: Sanicap,
  anacap: Anacap,
  oncs: Oncs,
  fna: Fna,
  vwc: Vwc,
  nwpc: Nwpc,
  sgls: Sgls,
};

const namespaceTables: Readonly<Record<string, BitTable>> = {
  nsfeat: Nsfeat,
  mc: Mc,
  dpc: Dpc,
  dps: Dps,
  nmic: Nmic,
  rescap: Rescap,
  fpi: Fpi,
  dlfeat: Dlfeat,
};

export function controllerText(fields: Fields, page: Uint8Array): string {
  const { ver, tnvmcap, unvmcap, ieee, mdts, npss, psd, wctemp, cctemp } = identifyController.decode(page);
  const capacity = (bytes: bigint): string | undefined => (bytes === 0n ? undefined : decimalBytes(bytes));
  const celsius = (kelvin: number): string | undefined => (kelvin === 0 ? undefined : `${kelvin - 273} °C`);
  const states = psd.slice(0, npss + 1).map((state, index) => {
    const watts = maximumPowerWatts(state);
    const power = watts === undefined ? "not reported" : `${watts} W`;
    const operational = state.nops === 1 ? "non-operational" : "operational";
    return `ps ${String(index).padStart(2)} : at most ${power}, ${operational}, entered in ${state.enlat} µs, left in ${state.exlat} µs`;
  });
  const { psds: _shownBelow, ...shown } = fields;
  const text = withNotes(
    { ...shown, ieee: ieee.toString(16).padStart(6, "0") },
    {
      ...flagNotes(fields, controllerTables),
      ver: `${ver >>> 16}.${(ver >>> 8) & 0xff}.${ver & 0xff}`,
      mdts: mdts === 0 ? "no limit" : `${2 ** mdts} pages of CAP.MPSMIN`,
      wctemp: celsius(wctemp),
      cctemp: celsius(cctemp),
      tnvmcap: capacity(tnvmcap),
      unvmcap: capacity(unvmcap),
    },
  );
  return [text, ...states].join("\n");
}

export function namespaceText(fields: Fields, page: Uint8Array): string {
  const { nsze, ncap, nuse, flbas, nlbaf, nulbaf, lbaf } = identifyNamespace.decode(page);
  const current = (flbas & 0xf) | (nlbaf >= 16 ? ((flbas >> 5) & 3) << 4 : 0);
  const blockBytes = BigInt(lbaf[current]?.blockSizeBytes ?? 0);
  const size = (blocks: bigint): string => `${blocks} blocks, ${decimalBytes(blocks * blockBytes)}`;
  const formats = lbaf.slice(0, nlbaf + 1 + nulbaf).map((format, index) => {
    const { blockSizeBytes, metadataBytes, relativePerformance } = format;
    const metadata = metadataBytes === 0 ? "" : ` + ${metadataBytes} of metadata`;
    const best = ["best", "better", "good", "degraded"][relativePerformance] ?? "";
    const inUse = index === current ? " (in use)" : "";
    return `lbaf ${String(index).padStart(2)} : ${blockSizeBytes} bytes${metadata}, performance ${best}${inUse}`;
  });
  return [
    withNotes(fields, {
      ...flagNotes(fields, namespaceTables),
      nsze: size(nsze),
      ncap: size(ncap),
      nuse: size(nuse),
    }),
    ...formats,
  ].join("\n");
}

function listOf(fields: Fields, key: string): Fields[] {
  const list = fields[key];
  return Array.isArray(list) ? list : [];
}

export function nsidsText(fields: Fields): string {
  return listOf(fields, "nsid_list")
    .map(({ nsid }, index) => `[${String(index).padStart(4)}]:${hex(Number(nsid))}`)
    .join("\n");
}

export function descriptorsText(fields: Fields): string {
  return pairs(
    listOf(fields, "ns-descs").map((descriptor) => {
      const type = String(descriptor["type"]);
      return [type, String(descriptor[type] ?? descriptor["nid"])];
    }),
  );
}

export function zonedNamespaceText(fields: Fields): string {
  const formats = listOf(fields, "lbafe").map(
    ({ zsze, zdes }, index) =>
      `lbafe ${String(index).padStart(2)} : zsze ${hex(BigInt(String(zsze)))}, zdes ${String(zdes)}`,
  );
  return [recordText(fields), ...formats].join("\n");
}

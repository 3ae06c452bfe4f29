/** The status field of a completion: NVMe Base 2.x, section "Status Field Definition". */
import { lazily } from "../../core/lazy.js";
import { commandSpecificStatus, genericStatus, mediaStatus, pathStatus } from "./status-codes.js";

/** Status Code Type, completion queue entry bits 27:25 of DW3. */
export const StatusCodeType = {
  /** Generic command status: any command can have it. */
  generic: 0,
  /** Command specific status: its meaning depends on the command. */
  commandSpecific: 1,
  /** Media and data integrity errors. */
  mediaAndDataIntegrity: 2,
  /** Path related status: the path to a namespace. */
  pathRelated: 3,
  /** Vendor specific. */
  vendorSpecific: 7,
} as const;

const typeNames: Readonly<Record<number, string>> = {
  0: "Generic Command Status",
  1: "Command Specific Status",
  2: "Media and Data Integrity Errors",
  3: "Path Related Status",
  7: "Vendor Specific",
};

type Entries = { readonly [key: string]: readonly [code: number, name: string, meaning: string] };
type Keys<T> = { readonly [K in keyof T]: number };

/** By Status Code Type. */
const tables: readonly Entries[] = [genericStatus, commandSpecificStatus, mediaStatus, pathStatus];

function numbersOf<T extends Entries>(type: number, entries: T): Keys<T> {
  const pairs = Object.entries(entries).map(([key, [code]]) => [key, (type << 8) | code] as const);
  return Object.fromEntries(pairs) as Keys<T>;
}

/** Status codes with their type, as in bits 10:0 of the status field: `SCT << 8 | SC`. */
export const NvmeStatus = {
  ...numbersOf(0, genericStatus),
  ...numbersOf(1, commandSpecificStatus),
  ...numbersOf(2, mediaStatus),
  ...numbersOf(3, pathStatus),
} as const;

/** Lowest bit of the Command Retry Delay (CRD) in the status field (DW3 of a completion, shifted right by 17). */
export const STATUS_RETRY_DELAY_SHIFT = 11;
/** Status field: the Error Information log has more on the error (M). */
export const STATUS_MORE = 1 << 13;
/** Status field: the same command would fail again (DNR). */
export const STATUS_DO_NOT_RETRY = 1 << 14;

const known = lazily(
  () =>
    new Map(
      tables.flatMap((entries, type) =>
        Object.values(entries).map(
          ([code, name, meaning]) => [(type << 8) | code, { name, meaning }] as const,
        ),
      ),
    ),
);

/** The specification's name of a status code type, or "Status Code Type N" for an undefined one. */
export function statusTypeName(type: number): string {
  return typeNames[type] ?? `Status Code Type ${type}`;
}

/** The specification's name of a status code, or "Status Code 0xNN" for one that isn't in the tables. */
export function statusName(type: number, code: number): string {
  return known().get((type << 8) | code)?.name ?? `Status Code 0x${code.toString(16).padStart(2, "0")}`;
}

/** Meaning of a status code, in a sentence; undefined for a code that isn't in the tables. */
export function statusMeaning(type: number, code: number): string | undefined {
  return known().get((type << 8) | code)?.meaning;
}

/** What `read`, `write` and `compare` take beside blocks and data: protection, metadata, directives, control bits. */
import { ArgumentError } from "../../../core/errors.js";
import type { IoOptions, ProtectionOptions } from "../../../nvme/namespace/io-options.js";
import type { NvmeNamespace } from "../../../nvme/namespace/namespace.js";
import { DirectiveType } from "../../../nvme/spec/directives.js";
import type { Arguments } from "../command.js";

type ProtectionArguments = Arguments<"prinfo" | "ref-tag" | "app-tag" | "app-tag-mask" | "storage-tag">;
type DetailArguments = Arguments<
  | ("prinfo" | "ref-tag" | "app-tag" | "app-tag-mask" | "storage-tag" | "storage-tag-check")
  | ("metadata" | "metadata-size" | "limited-retry" | "force-unit-access")
>;

/** Most bytes of one command line with details, which are in memory. */
const MOST_BYTES = 64 << 20;

/** The fields of PRINFO and the tags; undefined without any. */
export function protectionOf(args: ProtectionArguments): ProtectionOptions | undefined {
  const prinfo = args.number("prinfo", 15);
  const applicationTag = args.number("app-tag", 0xffff);
  const mask = args.number("app-tag-mask", 0xffff);
  const referenceTag = args.big("ref-tag");
  const storageTag = args.big("storage-tag");
  if ([prinfo, applicationTag, mask, referenceTag, storageTag].every((each) => each === undefined))
    return undefined;
  const bit = (value: number): boolean => ((prinfo ?? 0) & value) !== 0;
  return {
    action: bit(8),
    guard: bit(4),
    reference: bit(1),
    applicationTag,
    applicationTagMask: bit(2) ? (mask ?? 0xffff) : 0,
    referenceTag,
    storageTag,
  };
}

/** Options of the command, and where its metadata goes or comes from. */
export interface Details {
  readonly options: Pick<IoOptions, "fua" | "limitedRetry" | "protection" | "placement" | "stream">;
  readonly metadataFile: string | undefined;
  readonly metadataSize: number | undefined;
}

/** A command line without any of them. */
export const noDetails: Details = { options: {}, metadataFile: undefined, metadataSize: undefined };

/** @returns undefined where the command line has none of them @throws ConfigError */
export function detailsOf(args: DetailArguments): Details | undefined {
  const flags = { limitedRetry: args.has("limited-retry"), fua: args.has("force-unit-access") };
  const given = protectionOf(args);
  const storage = args.has("storage-tag-check");
  if (storage && given?.storageTag === undefined) args.missing("storage-tag N");
  // The library checks a storage tag by default; nvme-cli doesn't.
  const protection = given && { ...given, storage };
  const [metadataFile, metadataSize] = [args.text("metadata"), args.number("metadata-size")];
  if (metadataFile === "" || metadataFile === "-") throw args.wrong("--metadata needs the name of a file");
  if (metadataSize !== undefined && metadataFile === undefined) args.missing("metadata FILE");
  if (!flags.limitedRetry && !flags.fua && protection === undefined && metadataFile === undefined)
    return undefined;
  return { options: { ...flags, protection }, metadataFile, metadataSize };
}

/** `--dir-type` and `--dir-spec` of a write. @throws ConfigError */
export function directiveOf(
  args: Arguments<"dir-type" | "dir-spec">,
): Pick<IoOptions, "placement" | "stream"> {
  const [type, specific] = [args.number("dir-type", 0xf) ?? 0, args.number("dir-spec", 0xffff)];
  if (type === 0) return specific === undefined ? {} : args.missing("dir-type N");
  const value = specific ?? args.missing("dir-spec N");
  if (type === DirectiveType.dataPlacement) return { placement: value };
  if (type === DirectiveType.streams && value > 0) return { stream: value };
  throw args.wrong(
    `--dir-type ${type} --dir-spec ${value}: expected 1 and a stream from 1, or 2 and a placement`,
  );
}

/** Bytes that a command with these details transfers for each block. */
export function shapeOf(
  { blockSizeBytes, metadataBytes, extendedMetadata, protection }: NvmeNamespace,
  { options, metadataFile }: Details,
): { readonly data: number; readonly metadata: number } {
  const acts = options.protection === undefined ? metadataFile === undefined : options.protection.action;
  const strips = acts === true && protection?.isWholeMetadata === true;
  return {
    data: blockSizeBytes + (extendedMetadata && !strips ? metadataBytes : 0),
    metadata: extendedMetadata || strips ? 0 : metadataBytes,
  };
}

/**
 * Bytes of metadata of so many blocks.
 * @throws ArgumentError if --metadata or --metadata-size doesn't fit the namespace
 */
export function metadataLength(ns: NvmeNamespace, details: Details, blocks: bigint): number {
  const { data, metadata } = shapeOf(ns, details);
  if (blocks * BigInt(data) > BigInt(MOST_BYTES))
    throw new ArgumentError(`${blocks} blocks are more than ${MOST_BYTES} bytes, the most with such options`);
  if (details.metadataFile !== undefined && metadata === 0) {
    throw new ArgumentError(
      `namespace ${ns.nsid} transfers no metadata of its own with these options: leave out --metadata`,
    );
  }
  const bytes = Number(blocks) * metadata;
  const size = details.metadataSize;
  if (size !== undefined && size !== bytes)
    throw new ArgumentError(`--metadata-size ${size}: ${blocks} blocks have ${bytes} bytes of metadata`);
  return bytes;
}

/**
 * The metadata that a command sends, if it does.
 * @param bytes content of the file
 * @throws ArgumentError if it has another length than the blocks' metadata, or there is none
 */
export function metadataToSend(
  ns: NvmeNamespace,
  details: Details,
  blocks: bigint,
  bytes: Uint8Array | undefined,
): Uint8Array | undefined {
  const needed = metadataLength(ns, details, blocks);
  if (needed === 0) return undefined;
  if (bytes === undefined) {
    throw new ArgumentError(
      `namespace ${ns.nsid} has metadata: add --metadata FILE${ns.protection?.isWholeMetadata === true ? ", or --prinfo 8" : ""}`,
    );
  }
  if (bytes.length !== needed) {
    throw new ArgumentError(
      `--metadata has ${bytes.length} bytes; ${blocks} blocks of namespace ${ns.nsid} have ${needed}`,
    );
  }
  return bytes;
}

/** The format of the blocks of a namespace: sizes, metadata and protection. */
import { UnsupportedError } from "../../core/errors.js";
import { ProtectionInformation } from "../protection/information.js";
import { Dps, decodeBits, Flbas } from "../spec/capabilities.js";
import { currentLbaFormat, type ExtendedLbaFormat, type IdentifyNamespace } from "../spec/identify.js";

/** How the blocks of a namespace are transferred. */
export interface BlockFormat {
  /** Data bytes per block. */
  readonly blockSizeBytes: number;
  /** Metadata bytes per block; 0: none. */
  readonly metadataBytes: number;
  /** Whether metadata is interleaved with the data (extended LBA) instead of having its own pointer. */
  readonly extended: boolean;
  /** Protection information of the blocks; undefined without protection. */
  readonly protection: ProtectionInformation | undefined;
}

/**
 * Reads the block format from Identify Namespace.
 * @param extension extended LBA format; undefined (a guard of 16 bits) if the controller has none
 * @throws UnsupportedError if this library doesn't support the format
 */
export function blockFormatOf(
  nsid: number,
  identify: IdentifyNamespace,
  extension: ExtendedLbaFormat | undefined,
): BlockFormat {
  const { blockSizeBytes, metadataBytes } = currentLbaFormat(identify);
  if (blockSizeBytes === 0) throw new UnsupportedError(`namespace ${nsid} doesn't have a usable LBA format`);
  const extended = metadataBytes > 0 && decodeBits(identify.flbas, Flbas).metadataExtended;
  const { type, first } = decodeBits(identify.dps, Dps);
  if (type === 0 || metadataBytes === 0) {
    return { blockSizeBytes, metadataBytes, extended, protection: undefined };
  }
  if (type !== 1 && type !== 2 && type !== 3) {
    throw new UnsupportedError(`namespace ${nsid} has protection type ${type}, which isn't supported`);
  }
  const protection = new ProtectionInformation({
    type,
    guardBits: extension?.guardBits ?? 16,
    storageTagBits: extension?.storageTagBits ?? 0,
    blockSizeBytes,
    metadataBytes,
    first,
  });
  return { blockSizeBytes, metadataBytes, extended, protection };
}

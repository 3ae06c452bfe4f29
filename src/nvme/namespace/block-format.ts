import { UnsupportedError } from "../../core/errors.js";
import { ProtectionInformation } from "../protection/information.js";
import { currentLbaFormat, type ExtendedLbaFormat, type IdentifyNamespace } from "../spec/identify.js";

/** FLBAS: metadata is transferred behind each block's data. */
const FLBAS_EXTENDED = 1 << 4;
/** DPS: protection type, and information in the first bytes of the metadata. */
const DPS_TYPE_MASK = 7;
const DPS_FIRST = 1 << 3;

/** How a namespace's blocks are transferred. */
export interface BlockFormat {
  readonly blockSizeBytes: number;
  /** Metadata per block; 0 is none. */
  readonly metadataBytes: number;
  /** Metadata is transferred behind each block's data (extended LBA), and not by a pointer of its own. */
  readonly extended: boolean;
  /** What makes and checks protection information, where there is any. */
  readonly protection: ProtectionInformation | undefined;
}

/**
 * @param extension of the LBA format in use; undefined where the controller has none, which means a guard of 16 bits
 * @throws UnsupportedError where the format is none we know
 */
export function blockFormatOf(
  nsid: number,
  identify: IdentifyNamespace,
  extension: ExtendedLbaFormat | undefined,
): BlockFormat {
  const { blockSizeBytes, metadataBytes } = currentLbaFormat(identify);
  if (blockSizeBytes === 0) throw new UnsupportedError(`namespace ${nsid} has no usable LBA format`);
  const extended = metadataBytes > 0 && (identify.flbas & FLBAS_EXTENDED) !== 0;
  const type = identify.dps & DPS_TYPE_MASK;
  if (type === 0 || metadataBytes === 0) {
    return { blockSizeBytes, metadataBytes, extended, protection: undefined };
  }
  if (type !== 1 && type !== 2 && type !== 3) {
    throw new UnsupportedError(`namespace ${nsid} has protection of type ${type}`);
  }
  const protection = new ProtectionInformation({
    type,
    guardBits: extension?.guardBits ?? 16,
    storageTagBits: extension?.storageTagBits ?? 0,
    blockSizeBytes,
    metadataBytes,
    first: (identify.dps & DPS_FIRST) !== 0,
  });
  return { blockSizeBytes, metadataBytes, extended, protection };
}

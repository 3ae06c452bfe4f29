/** Get LBA Status and the LBA Status Information log: their structures, decoded (NVM Command Set 1.x). */

const HEADER_BYTES = 8;
const ENTRY_BYTES = 16;
const LOG_HEADER_BYTES = 16;
/** The whole namespace should be looked at. */
const ALL = 0xffff_ffff;

/** A range of blocks that Get LBA Status reports. */
export interface LbaStatusDescriptor {
  /** First logical block. */
  readonly lba: bigint;
  /** Number of logical blocks (NLB), as the controller reports it. */
  readonly blocks: number;
  /** Additional status of the range. */
  readonly status: number;
}

/** Result of {@link NvmeNamespace.lbaStatus}. */
export interface LbaStatusList {
  /** Number of descriptors that the controller counts (NLSD). */
  readonly count: number;
  /** Completion condition (CMPC): 0 not told, 1 there are more, 2 these are all. */
  readonly condition: number;
  /** The descriptors that were transferred. */
  readonly descriptors: readonly LbaStatusDescriptor[];
}

/** A namespace in the LBA Status Information log. */
export interface LbaStatusElement {
  /** Namespace. */
  readonly nsid: number;
  /** Number of ranges (NLRD); FFFFFFFFh: the whole namespace should be looked at. */
  readonly count: number;
  /** Recommended action type of Get LBA Status. */
  readonly action: number;
  /** Ranges in which Get LBA Status would find something. */
  readonly ranges: readonly {
    /** First logical block. */
    readonly lba: bigint;
    /** Number of logical blocks (RNLB), as the controller reports it. */
    readonly blocks: number;
  }[];
}

/** The LBA Status Information log (LID 0Eh), decoded. */
export interface LbaStatusLog {
  /** Length of the log, in bytes. */
  readonly sizeBytes: number;
  /** Number of namespaces that the controller counts. */
  readonly count: number;
  /** Estimate of the blocks that can't be read; 0: not reported. */
  readonly unrecoverable: number;
  /** Generation of the log. */
  readonly generation: number;
  /** The namespaces that were transferred. */
  readonly elements: readonly LbaStatusElement[];
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

/** What Get LBA Status returned. Descriptors that it counts but doesn't hold are left out. @internal */
export function decodeLbaStatus(bytes: Uint8Array): LbaStatusList {
  const view = viewOf(bytes);
  const count = view.getUint32(0, true);
  const held = Math.min(count, Math.floor((bytes.length - HEADER_BYTES) / ENTRY_BYTES));
  const descriptors = Array.from({ length: held }, (_, index) => {
    const at = HEADER_BYTES + ENTRY_BYTES * index;
    return {
      lba: view.getBigUint64(at, true),
      blocks: view.getUint32(at + 8, true),
      status: view.getUint8(at + 13),
    };
  });
  return { count, condition: view.getUint8(4) & 7, descriptors };
}

/** The LBA Status Information log. Elements beyond its bytes are left out. @internal */
export function decodeLbaStatusLog(bytes: Uint8Array): LbaStatusLog {
  const view = viewOf(bytes);
  const elements: LbaStatusElement[] = [];
  const count = view.getUint32(4, true);
  for (let at = LOG_HEADER_BYTES; elements.length < count && at + ENTRY_BYTES <= bytes.length; ) {
    const head = { nsid: view.getUint32(at, true), action: view.getUint8(at + 8) };
    const nlrd = view.getUint32(at + 4, true);
    at += ENTRY_BYTES;
    const held = nlrd === ALL ? 0 : Math.min(nlrd, Math.floor((bytes.length - at) / ENTRY_BYTES));
    const ranges = Array.from({ length: held }, (_, index) => ({
      lba: view.getBigUint64(at + ENTRY_BYTES * index, true),
      blocks: view.getUint32(at + ENTRY_BYTES * index + 8, true),
    }));
    at += ENTRY_BYTES * held;
    elements.push({ ...head, count: nlrd, ranges });
  }
  return {
    sizeBytes: view.getUint32(0, true),
    count,
    unrecoverable: view.getUint32(8, true),
    generation: view.getUint16(14, true),
    elements,
  };
}

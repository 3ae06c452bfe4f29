/** Namespace Identification Descriptors (Identify, CNS 03h; NVMe Base 2.x). */
import { uuidText } from "./identifiers.js";

/** Types and lengths. */
export const NamespaceDescriptor = {
  /** IEEE extended unique identifier (NIDT 1). */
  eui64: {
    /** NIDT. */
    type: 1,
    /** NIDL, in bytes. */
    bytes: 8,
  },
  /** Namespace globally unique identifier (NIDT 2). */
  nguid: {
    /** NIDT. */
    type: 2,
    /** NIDL, in bytes. */
    bytes: 16,
  },
  /** Namespace UUID, RFC 9562 (NIDT 3). */
  uuid: {
    /** NIDT. */
    type: 3,
    /** NIDL, in bytes. */
    bytes: 16,
  },
  /** Command set identifier, CSI (NIDT 4). */
  commandSet: {
    /** NIDT. */
    type: 4,
    /** NIDL, in bytes. */
    bytes: 1,
  },
} as const;

/** Permanent identifiers of a namespace (Namespace Identification Descriptors); undefined if it lacks one. */
export interface NamespaceIdentifiers {
  /** EUI-64, 16 hexadecimal digits. */
  readonly eui64?: string;
  /** NGUID, 32 hexadecimal digits. */
  readonly nguid?: string;
  /** UUID, as 8-4-4-4-12 hexadecimal digits. */
  readonly uuid?: string;
  /** Command Set Identifier. */
  readonly csi?: number;
}

/** One descriptor of the list. */
export interface RawNamespaceDescriptor {
  /** Offset in the list, in bytes. */
  readonly offset: number;
  /** NIDT. */
  readonly type: number;
  /** NID, NIDL bytes. */
  readonly id: Uint8Array;
}

/** Splits the list: each descriptor is a type, a length, two reserved bytes, and the identifier. Length 0 ends the list. */
export function splitNamespaceDescriptors(page: Uint8Array): RawNamespaceDescriptor[] {
  const found: RawNamespaceDescriptor[] = [];
  for (let offset = 0; offset + 4 <= page.length; ) {
    const [type = 0, length = 0] = page.subarray(offset, offset + 2);
    if (length === 0) break;
    const start = offset + 4;
    found.push({ offset, type, id: page.subarray(start, start + length) });
    offset = start + length;
  }
  return found;
}

/** Decodes the list. */
export function decodeNamespaceDescriptors(page: Uint8Array): NamespaceIdentifiers {
  const found: { eui64?: string; nguid?: string; uuid?: string; csi?: number } = {};
  for (const { type, id } of splitNamespaceDescriptors(page)) {
    const hex = Buffer.from(id).toString("hex");
    if (type === NamespaceDescriptor.eui64.type) found.eui64 = hex;
    else if (type === NamespaceDescriptor.nguid.type) found.nguid = hex;
    else if (type === NamespaceDescriptor.uuid.type) found.uuid = uuidText(id);
    else if (type === NamespaceDescriptor.commandSet.type) found.csi = id[0] ?? 0;
  }
  return found;
}

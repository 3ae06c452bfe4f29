/** Level 0 Discovery: what a controller has of TCG Storage, without a session (TCG Core 2.01 and Opal 2.01, section 3.1.1). */
import { OpalFeature } from "./numbers.js";
import { OpalFormatError } from "./packet.js";

const HEADER_BYTES = 48;
const DESCRIPTOR_BYTES = 4;

/** What Level 0 Discovery says. */
export interface OpalDiscovery {
  /** Features in their order: code, version, and the bytes that follow. */
  readonly features: readonly {
    /** Its code. */
    readonly code: number;
    /** Its version. */
    readonly version: number;
    /** What follows. */
    readonly data: Uint8Array;
  }[];
  /** Of Opal 2 or 1; undefined if the controller has neither. */
  readonly opal:
    | {
        /** Of the SSC. */
        readonly version: 1 | 2;
        /** First ComID, and how many. */
        readonly comId: number;
        /** How many ComIDs. */
        readonly comIds: number;
        /** Numbers of administrators and users of the Locking SP; 0 in version 1. */
        readonly administrators: number;
        /** Users of the Locking SP. */
        readonly users: number;
      }
    | undefined;
  /** Undefined if there is no locking feature. */
  readonly locking:
    | {
        /** It can lock. */
        readonly supported: boolean;
        /** The Locking SP is active. */
        readonly enabled: boolean;
        /** At least one range is locked. */
        readonly locked: boolean;
        /** It encrypts its medium. */
        readonly mediaEncryption: boolean;
        /** The shadow MBR is enabled. */
        readonly mbrEnabled: boolean;
        /** The shadow MBR is done with. */
        readonly mbrDone: boolean;
      }
    | undefined;
  /** Undefined if there is no geometry feature. */
  readonly geometry:
    | {
        /** Ranges have to be aligned. */
        readonly alignmentRequired: boolean;
        /** Of a logical block. */
        readonly blockSizeBytes: number;
        /** In logical blocks. */
        readonly granularity: bigint;
        /** The first aligned block. */
        readonly lowestAlignedLba: bigint;
      }
    | undefined;
}

/** @throws OpalFormatError if it is cut short */
export function decodeOpalDiscovery(bytes: Uint8Array): OpalDiscovery {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < HEADER_BYTES) throw new OpalFormatError(`it has only ${bytes.length} bytes`);
  const end = view.getUint32(0) + DESCRIPTOR_BYTES;
  if (end < HEADER_BYTES) throw new OpalFormatError(`its length is ${end - DESCRIPTOR_BYTES}`);
  if (end > bytes.length) throw new OpalFormatError(`it is cut short: ${bytes.length} of ${end} bytes`);
  const features: OpalDiscovery["features"][number][] = [];
  for (let at = HEADER_BYTES; at + DESCRIPTOR_BYTES <= end; ) {
    const next = at + DESCRIPTOR_BYTES + view.getUint8(at + 3);
    if (next > end) throw new OpalFormatError(`the feature at byte ${at} is cut short`);
    features.push({
      code: view.getUint16(at),
      version: view.getUint8(at + 2) >>> 4,
      data: Uint8Array.from(bytes.subarray(at + DESCRIPTOR_BYTES, next)),
    });
    at = next;
  }
  /** A feature with at least so many bytes. */
  const found = (code: number, least: number): DataView | undefined => {
    const data = features.find((each) => each.code === code)?.data;
    if (data === undefined) return undefined;
    if (data.length < least) throw new OpalFormatError(`feature 0x${code.toString(16)} is cut short`);
    return new DataView(data.buffer);
  };
  const second = found(OpalFeature.opal2, 9);
  const opal = second ?? found(OpalFeature.opal1, 4);
  const flags = found(OpalFeature.locking, 1)?.getUint8(0);
  const geometry = found(OpalFeature.geometry, 28);
  const bit = (number: number): boolean => ((flags ?? 0) & (1 << number)) !== 0;
  return {
    features,
    opal: opal && {
      version: second === undefined ? 1 : 2,
      comId: opal.getUint16(0),
      comIds: opal.getUint16(2),
      administrators: second?.getUint16(5) ?? 0,
      users: second?.getUint16(7) ?? 0,
    },
    locking:
      flags === undefined
        ? undefined
        : {
            supported: bit(0),
            enabled: bit(1),
            locked: bit(2),
            mediaEncryption: bit(3),
            mbrEnabled: bit(4),
            mbrDone: bit(5),
          },
    geometry: geometry && {
      alignmentRequired: (geometry.getUint8(0) & 1) === 1,
      blockSizeBytes: geometry.getUint32(8),
      granularity: geometry.getBigUint64(12),
      lowestAlignedLba: geometry.getBigUint64(20),
    },
  };
}

/** Encodes features as a controller sends them. */
export function encodeOpalDiscovery(
  features: readonly (readonly [code: number, data: Uint8Array])[],
): Uint8Array {
  const whole = features.reduce((sum, [, data]) => sum + DESCRIPTOR_BYTES + data.length, HEADER_BYTES);
  const bytes = new Uint8Array(whole);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, whole - DESCRIPTOR_BYTES);
  view.setUint32(4, 1);
  let at = HEADER_BYTES;
  for (const [code, data] of features) {
    view.setUint16(at, code);
    view.setUint8(at + 2, 1 << 4);
    view.setUint8(at + 3, data.length);
    bytes.set(data, at + DESCRIPTOR_BYTES);
    at += DESCRIPTOR_BYTES + data.length;
  }
  return bytes;
}

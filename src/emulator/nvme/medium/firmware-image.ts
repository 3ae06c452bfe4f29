/** Firmware images of the emulated controller. */
import { checkInteger, checkKeys, checkString, show } from "../../../core/check.js";
import { ArgumentError } from "../../../core/errors.js";
import { crc16 } from "./protection.js";

/** What has to happen before an image runs, from the smallest to the largest reset. */
export const firmwareResets = ["none", "controller", "conventional", "subsystem"] as const;
/**
 * What has to happen before an image runs: nothing, a controller reset, a conventional PCI reset, an NVM subsystem
 * reset.
 */
export type FirmwareReset = (typeof firmwareResets)[number];

/** Options of a firmware image. */
export interface EmulatedFirmwareOptions {
  /** FR of Identify once it runs: up to 8 printable ASCII characters. */
  readonly revision: string;
  /** The reset after which it runs; none by default, so that it can be activated at once. */
  readonly needs?: FirmwareReset | undefined;
  /** Bytes of the image, a multiple of 4; 64 KiB by default. */
  readonly sizeBytes?: number | undefined;
}

/** The contents of a firmware image. */
export interface FirmwareImage {
  readonly revision: string;
  readonly needs: FirmwareReset;
}

const MAGIC = "iova-nvme-fw";
/** Magic, then reset, revision, length and checksum of all that follows the checksum. */
const NEEDS_AT = 12;
const REVISION_AT = 16;
const REVISION_BYTES = 8;
const LENGTH_AT = 24;
const CHECKSUM_AT = 28;
const HEADER_BYTES = 32;
/** The largest image. */
export const MAX_FIRMWARE_BYTES = 4 << 20;
const DEFAULT_BYTES = 64 * 1024;
export const revisionPattern = /^[ -~]{1,8}$/;

/**
 * Makes an image that the emulated controller takes as firmware.
 * @throws ArgumentError
 */
export function emulatedFirmware(options: EmulatedFirmwareOptions): Uint8Array {
  checkKeys("options", options, ["revision", "needs", "sizeBytes"]);
  const { revision, needs = "none", sizeBytes = DEFAULT_BYTES } = options;
  if (!revisionPattern.test(checkString("revision", revision))) {
    throw new ArgumentError(`revision must be 1 to 8 printable ASCII characters, got ${show(revision)}`);
  }
  if (!firmwareResets.includes(needs)) {
    throw new ArgumentError(`needs must be one of ${firmwareResets.join(", ")}, got ${show(needs)}`);
  }
  checkInteger("sizeBytes", sizeBytes, HEADER_BYTES, MAX_FIRMWARE_BYTES);
  if (sizeBytes % 4 !== 0) throw new ArgumentError(`sizeBytes must be a multiple of 4, got ${sizeBytes}`);
  const image = Buffer.alloc(sizeBytes);
  image.write(MAGIC, "latin1");
  image[NEEDS_AT] = firmwareResets.indexOf(needs);
  image.write(revision.padEnd(REVISION_BYTES), REVISION_AT, "latin1");
  image.writeUInt32LE(sizeBytes, LENGTH_AT);
  // Filler in place of a program.
  for (let i = HEADER_BYTES; i < sizeBytes; i++) image[i] = (i * 167) >>> 4;
  image.writeUInt32LE(checksum(image), CHECKSUM_AT);
  return new Uint8Array(image);
}

/** Reads an image. @returns undefined if it isn't valid */
export function readFirmware(image: Uint8Array): FirmwareImage | undefined {
  const bytes = Buffer.from(image.buffer, image.byteOffset, image.length);
  if (bytes.length < HEADER_BYTES || bytes.toString("latin1", 0, MAGIC.length) !== MAGIC) return undefined;
  if (bytes.readUInt32LE(LENGTH_AT) !== bytes.length || bytes.readUInt32LE(CHECKSUM_AT) !== checksum(bytes)) {
    return undefined;
  }
  const needs = firmwareResets[bytes[NEEDS_AT] ?? 0];
  const revision = bytes.toString("latin1", REVISION_AT, REVISION_AT + REVISION_BYTES).trimEnd();
  return needs === undefined || !revisionPattern.test(revision) ? undefined : { revision, needs };
}

function checksum(image: Buffer): number {
  return crc16(image, 0, CHECKSUM_AT) * 0x1_0000 + crc16(image, HEADER_BYTES, image.length);
}

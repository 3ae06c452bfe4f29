/** The LBA formats that namespaces can have. */
import type { ExtendedLbaFormat, LbaFormat } from "../../../nvme/spec/identify.js";

/** An LBA format of the emulated controller, with the guard its protection information has. */
export interface EmulatedLbaFormat extends LbaFormat, ExtendedLbaFormat {}

function format(blockSizeBytes: number, metadataBytes: number, guardBits: 16 | 64 = 16): EmulatedLbaFormat {
  return { blockSizeBytes, metadataBytes, relativePerformance: 0, storageTagBits: 0, guardBits };
}

/** The formats that Format NVM and namespace management can choose, by index. Those with a 64-bit guard are the last. */
export const lbaFormats: readonly EmulatedLbaFormat[] = [
  format(512, 0),
  format(512, 8),
  format(512, 16),
  format(512, 64),
  format(4096, 0),
  format(4096, 8),
  format(4096, 16),
  format(4096, 64),
  format(512, 16, 64),
  format(4096, 16, 64),
  format(4096, 64, 64),
];

/** Bytes of protection information per block: 8 with a 16-bit guard, 16 with a 64-bit one. */
export function protectionBytes(guardBits: number): number {
  return guardBits === 16 ? 8 : 16;
}

/** Index of the format with these properties, or -1. */
export function findLbaFormat(blockSizeBytes: number, metadataBytes: number, guardBits: number): number {
  return lbaFormats.findIndex(
    (one) =>
      one.blockSizeBytes === blockSizeBytes &&
      one.metadataBytes === metadataBytes &&
      one.guardBits === guardBits,
  );
}

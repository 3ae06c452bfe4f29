/** The class code of NVMe controllers. */
import { UnsupportedError } from "../core/errors.js";
import { hexDigits } from "../core/hex-digits.js";
import type { PciDevice } from "../pci/device.js";

/** Mass storage, non-volatile memory, NVM Express (PCI Code and ID Assignment Specification 1.11, 1.2). */
export const NVME_CLASS = 0x0108_02;

/**
 * @param isKnown whether it is an NVMe controller all the same: some controllers have another class code
 * @throws UnsupportedError
 */
export function assertNvme({ bdf, function: { classCode } }: PciDevice, isKnown: boolean): void {
  if (classCode === NVME_CLASS || isKnown) return;
  const found = hexDigits(classCode, 6);
  throw new UnsupportedError(
    `${bdf} is no NVMe controller: its class code is 0x${found}, not 0x${hexDigits(NVME_CLASS, 6)}`,
  );
}

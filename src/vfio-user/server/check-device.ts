/** Refuses to serve a function that can't exist: one that drivers couldn't use as it says. */
import {
  checkArray,
  checkBytes,
  checkInteger,
  checkMembers,
  checkObject,
  checkPowerOfTwo,
} from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { MAX_MSI_VECTORS, MAX_MSIX_VECTORS, MSIX_ENTRY_BYTES } from "../../vfio/message-interrupts.js";
import { EmulatedConfigSpace, type MsixLayout } from "./config-space.js";
import type { EmulatedBar, EmulatedDevice } from "./emulated-device.js";

const BARS = 6;
const LEAST_MEMORY_BYTES = 16;
const LEAST_IO_BYTES = 4;
const MOST_32BIT_BYTES = 2 ** 31;
const MOST_64BIT_BYTES = 2 ** 52;

/** @throws ArgumentError that names what is wrong */
export function checkDevice(device: EmulatedDevice): void {
  checkMembers("device", device, "an EmulatedDevice", {
    vectors: "object",
    connect: "function",
    reset: "function",
  });
  const { name, configSpace, bars, vectors } = device;
  checkBytes("device.configSpace", configSpace);
  checkInteger("bytes of device.configSpace", configSpace.length, 64, 4096);
  checkBars(bars);
  checkObject("device.vectors", vectors);
  checkInteger("device.vectors.intx", vectors.intx, 0, 1);
  if (vectors.msi !== 0) checkPowerOfTwo("device.vectors.msi", vectors.msi, 1, MAX_MSI_VECTORS);
  checkInteger("device.vectors.msix", vectors.msix, 0, MAX_MSIX_VECTORS);
  const config = new EmulatedConfigSpace(configSpace, bars);
  for (const kind of ["msi", "msix"] as const) {
    const there = kind === "msix" ? (config.msix?.vectors ?? 0) : config.mostMsiVectors;
    if (vectors[kind] > there) {
      throw new ArgumentError(
        `${name} has ${vectors[kind]} ${kind} vectors, but its configuration space tells drivers of ${there}`,
      );
    }
  }
  if (vectors.msix > 0 && config.msix !== undefined) checkMsix(name, bars, config.msix);
}

/** @throws ArgumentError */
function checkBars(bars: readonly (EmulatedBar | undefined)[]): void {
  checkArray("device.bars", bars);
  if (bars.length > BARS)
    throw new ArgumentError(`device.bars must have at most ${BARS} entries, got ${bars.length}`);
  bars.forEach((bar, index) => {
    if (bar === undefined) return;
    const what = `device.bars[${index}]`;
    checkMembers(what, bar, "an EmulatedBar", { read: "function", write: "function" });
    const least = bar.isIo === true ? LEAST_IO_BYTES : LEAST_MEMORY_BYTES;
    const most = bar.is64Bit === true ? MOST_64BIT_BYTES : MOST_32BIT_BYTES;
    checkPowerOfTwo(`${what}.sizeBytes`, bar.sizeBytes, least, most);
    if (bar.is64Bit === true && (index + 1 >= BARS || bars[index + 1] !== undefined))
      throw new ArgumentError(`${what} has 64 bits and takes two registers: leave the next index empty`);
  });
}

/** @throws ArgumentError unless BARs hold both of MSI-X's structures, side by side */
function checkMsix(name: string, bars: readonly (EmulatedBar | undefined)[], msix: MsixLayout): void {
  const { vectors, table, pendingBits } = msix;
  const structures = [
    { what: "table", ...table, sizeBytes: vectors * MSIX_ENTRY_BYTES },
    { what: "pending bits", ...pendingBits, sizeBytes: 8 * Math.ceil(vectors / 64) },
  ] as const;
  for (const { what, bar: index, offset, sizeBytes } of structures) {
    const bar = bars[index];
    const text = `${name}: MSI-X's ${what} (${sizeBytes} bytes for ${vectors} vectors at offset ${offset})`;
    if (bar === undefined || bar.isIo === true) {
      throw new ArgumentError(
        `${text} must be in a memory BAR, but ${bar === undefined ? `there is no BAR ${index}` : `BAR ${index} is I/O`}`,
      );
    }
    if (offset + sizeBytes > bar.sizeBytes)
      throw new ArgumentError(`${text} must lie in BAR ${index}, which has ${bar.sizeBytes} bytes`);
  }
  const [first, second] = [...structures].sort((a, b) => a.offset - b.offset);
  if (
    first?.bar === second?.bar &&
    first !== undefined &&
    first.offset + first.sizeBytes > (second?.offset ?? 0)
  ) {
    throw new ArgumentError(
      `${name}: MSI-X's table (at offset ${table.offset}) and pending bits (at ${pendingBits.offset}) overlap in BAR ${table.bar}`,
    );
  }
}

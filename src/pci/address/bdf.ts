/** Addresses of PCI functions: domain:bus:device.function. */
import { show } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";

const BDF = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])$/i;

/**
 * A PCI address (domain:bus:device.function) as sysfs spells it: `00:03.0` becomes `0000:00:03.0`.
 * @throws ArgumentError on anything else
 */
export function parseBdf(text: string): string {
  const match = typeof text === "string" ? BDF.exec(text) : null;
  if (match === null) {
    const isPath = typeof text === "string" && /^\.{0,2}\//.test(text);
    const hint = isPath
      ? `a vfio-user server's socket is written ${show(`vfio-user:${text}`)}`
      : "give one like 0000:00:03.0";
    throw new ArgumentError(`${show(text)} is no PCI address: ${hint}`);
  }
  const [, domain = "0000", bus, device, fn] = match;
  return `${domain}:${bus}:${device}.${fn}`.toLowerCase();
}

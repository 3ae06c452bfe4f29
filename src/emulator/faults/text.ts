/** Faults as text, for command lines. */

import { checkString } from "../../core/check.js";
import type { BlockSpec } from "../../registers/declaration.js";
import { type DeviceFault, parseDeviceFault } from "./options.js";

/** Option names by their short names on a command line. */
const shortNames: Readonly<Record<string, string>> = {
  latency: "latencyMs",
  duration: "durationMs",
  delta: "deltaBytes",
};

/** Reads a kind and `key=value` pairs, separated by commas. @returns options that nobody has checked yet */
export function faultOptionsOf(text: string): Readonly<Record<string, unknown>> {
  const [kind, ...pairs] = checkString("fault", text).split(",");
  const options: Record<string, unknown> = { kind };
  for (const pair of pairs) {
    const [key = "", value = ""] = pair.split("=", 2);
    const number = value === "" ? Number.NaN : Number(value);
    options[shortNames[key] ?? key] = Number.isNaN(number) ? value : number;
  }
  return options;
}

/** A fault as text, such as `stuck,where=status,nth=3`. The device checks the register. @throws ConfigError */
export function deviceFaultFromText(text: string): DeviceFault<BlockSpec> {
  return parseDeviceFault(faultOptionsOf(text));
}

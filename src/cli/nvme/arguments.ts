/** Command lines of `iova nvme`: options that all subcommands share, and numbers as nvme-cli takes them. */
import type { ConfigError } from "../../core/errors.js";
import { parseServed, SERVED } from "../../lending/address.js";
import { type NvmeQuirkChoice, parseQuirkChoice } from "../../nvme/quirks/quirks.js";
import { parseBdf } from "../../pci/address/bdf.js";
import { allBackendNames, type BackendName } from "../../pci/open.js";
import type { VfioUserOptions } from "../../vfio-user/client/options.js";
import { usageError } from "../command-line.js";

export function usage(name: string, problem: string, cause?: unknown): ConfigError {
  return usageError({ name: `nvme ${name}` }, problem, cause);
}

/** The single operand: the controller. @throws ConfigError */
export function targetOperand(name: string, operands: readonly string[]): string {
  const [target, ...more] = operands;
  if (target === undefined)
    throw usage(name, `${name} needs a target: a PCI address such as 0000:00:03.0, or vfio-user:PATH`);
  if (more.length > 0) throw usage(name, `${name} takes one target, got ${operands.join(" ")}`);
  return checkTarget(name, target);
}

/** @returns the address as sysfs writes it, or vfio-user:PATH @throws ConfigError */
export function checkTarget(name: string, target: string): string {
  if (target.startsWith("vfio-user:")) {
    if (target === "vfio-user:") throw usage(name, "vfio-user: needs the path of a socket");
    return target;
  }
  if (target.startsWith(SERVED)) {
    parseServed(target);
    return target;
  }
  try {
    return parseBdf(target);
  } catch (error) {
    throw usage(name, `${JSON.stringify(target)} is neither a PCI address nor vfio-user:PATH`, error);
  }
}

/** Whether the options ask for JSON. @throws ConfigError */
export function wantsJson(
  name: string,
  values: { readonly json?: boolean | undefined; readonly "output-format"?: string | undefined },
): boolean {
  const format = values["output-format"];
  if (format !== undefined && format !== "json" && format !== "normal") {
    throw usage(name, `--output-format ${format}: expected json or normal`);
  }
  return values.json === true || format === "json";
}

/** A whole number, decimal or 0x; undefined without the option. @throws ConfigError */
export function numberOption(
  name: string,
  option: string,
  text: string | undefined,
  min: number,
  max: number,
): number | undefined {
  const value = bigOption(name, option, text, BigInt(min), BigInt(max));
  return value === undefined ? undefined : Number(value);
}

/** A whole number of up to 64 bits; undefined without the option. @throws ConfigError */
export function bigOption(
  name: string,
  option: string,
  text: string | undefined,
  min = 0n,
  max = 0xffff_ffff_ffff_ffffn,
): bigint | undefined {
  if (text === undefined) return undefined;
  if (!/^(\d+|0x[0-9a-f]+)$/i.test(text)) {
    throw usage(name, `--${option} ${JSON.stringify(text)}: expected a number such as 8 or 0x8`);
  }
  const value = BigInt(text);
  if (value < min || value > max) throw usage(name, `--${option} ${text} is not from ${min} to ${max}`);
  return value;
}

/** The id of one namespace. @throws ConfigError */
export function namespaceOption(name: string, text: string | undefined): number | undefined {
  return numberOption(name, "namespace-id", text, 1, 0xffff_fffe);
}

/** How to open the controller. */
export interface ControllerOptions {
  readonly backend?: BackendName | undefined;
  readonly timeoutMs?: number | undefined;
  readonly vfToken?: string | undefined;
  readonly vfioUser?: VfioUserOptions | undefined;
  readonly quirks?: NvmeQuirkChoice | undefined;
}

/** @throws ConfigError */
export function controllerOptions(
  name: string,
  values: {
    readonly backend?: string | undefined;
    readonly timeout?: string | undefined;
    readonly "vf-token"?: string | undefined;
    readonly "trust-server"?: boolean | undefined;
    readonly quirks?: string | undefined;
  },
): ControllerOptions {
  const backend = allBackendNames.find((known) => known === values.backend);
  if (values.backend !== undefined && backend === undefined) {
    throw usage(name, `--backend ${values.backend}: expected one of ${allBackendNames.join(", ")}`);
  }
  const timeoutMs = numberOption(name, "timeout", values.timeout, 1, 600_000);
  return {
    backend,
    timeoutMs,
    vfToken: values["vf-token"],
    vfioUser: values["trust-server"] === true ? { trustServer: true } : undefined,
    quirks: quirksOption(name, values.quirks),
  };
}

/** @throws ConfigError */
function quirksOption(name: string, text: string | undefined): NvmeQuirkChoice | undefined {
  if (text === undefined) return undefined;
  try {
    return parseQuirkChoice(text);
  } catch (error) {
    throw usage(name, `--quirks ${text}: ${error instanceof Error ? error.message : String(error)}`, error);
  }
}

/** `iova nvme regs`: the controller's registers, decoded. */

import { DeviceGoneError } from "../../../core/errors.js";
import { assertNvme } from "../../../nvme/class-code.js";
import { isKnownNvme } from "../../../nvme/quirks/controller-quirks.js";
import { type BitTable, decodeBits } from "../../../nvme/spec/capabilities.js";
import { NvmeRegister } from "../../../nvme/spec/registers.js";
import type { Bar } from "../../../pci/bar.js";
import { PciDevice } from "../../../pci/device.js";
import { parseCommandLine } from "../../command-line.js";
import { regsDescription } from "../../described/nvme/information.js";
import { print } from "../../terminal.js";
import { controllerOptions, targetOperand, wantsJson } from "../arguments.js";
import { assertBound, withController } from "../open.js";
import { type Json, printJson } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { type RegisterDescription, registers } from "./registers.js";

const ALL_ONES = 0xffff_ffff_ffff_ffffn;

export interface RegisterValue {
  readonly register: RegisterDescription;
  readonly value: bigint;
}

/** @throws DeviceGoneError */
export function readAll(bar: Bar, name: string): RegisterValue[] {
  const cap = bar.read64(NvmeRegister.CAP);
  if (cap === ALL_ONES) throw new DeviceGoneError(name);
  return registers
    .filter(({ present }) => present === undefined || present(cap))
    .map((register) => {
      const { offset, bits } = register;
      return { register, value: bits === 64 ? bar.read64(offset) : BigInt(bar.read32(offset)) };
    });
}

function fieldLines(value: bigint, table: BitTable): string[] {
  // Each field lies in one half of a 64-bit register, so numbers are exact.
  const low = decodeBits(Number(value & 0xffff_ffffn), narrowed(table, 0));
  const high = decodeBits(Number(value >> 32n), narrowed(table, 32));
  const parts: Readonly<Record<string, boolean | number>> = { ...low, ...high };
  return Object.keys(table).map((name) => {
    const part = parts[name];
    return `  ${name.toUpperCase().padEnd(8)} : ${typeof part === "boolean" ? Number(part) : String(part)}`;
  });
}

/** The fields of one half of a register. */
function narrowed(table: BitTable, from: number): BitTable {
  return Object.fromEntries(
    Object.entries(table).flatMap(([name, place]) => {
      const [low, width] = typeof place === "number" ? [place, undefined] : place;
      if (low < from || low >= from + 32) return [];
      return [[name, width === undefined ? low - from : ([low - from, width] as const)]];
    }),
  );
}

export function textOf({ register, value }: RegisterValue): string {
  const { name, offset, bits, title, fields, explain } = register;
  const digits = value.toString(16).padStart(bits / 4, "0");
  const head = `${name.padEnd(8)} 0x${offset.toString(16).padStart(4, "0")} : 0x${digits.padEnd(16)}  ${title}`;
  const notes = explain?.(value) ?? [];
  return [
    head,
    ...(fields === undefined ? [] : fieldLines(value, fields)),
    ...notes.map((note) => `  ${note}`),
  ].join("\n");
}

export function registersJson(all: readonly RegisterValue[]): Json {
  return Object.fromEntries(all.map(({ register, value }) => [register.name.toLowerCase(), value]));
}

async function valuesOf(
  target: string,
  enable: boolean,
  options: ReturnType<typeof controllerOptions>,
): Promise<RegisterValue[]> {
  if (enable) {
    return await withController(target, options, async (nvme) => readAll(nvme.device.bar(0), target));
  }
  assertBound(target);
  using device = PciDevice.open(target, { backend: options.backend, vfioUser: options.vfioUser });
  assertNvme(device, isKnownNvme(device.function));
  return readAll(device.bar(0), target);
}

async function run(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(regsDescription, argv);
  const target = targetOperand("regs", positionals);
  const json = wantsJson("regs", values);
  const all = await valuesOf(target, values.enable === true, controllerOptions("regs", values));
  if (json) printJson(registersJson(all));
  else print(all.map(textOf).join("\n"));
}

export const regs: NvmeSubcommand = { description: regsDescription, run };

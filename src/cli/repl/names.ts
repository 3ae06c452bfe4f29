/** What can be used by name at the prompt of `iova repl`. */
import { checkInteger, show } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import * as kit from "../../doors/pci.js";
import type { Bar } from "../../pci/bar.js";
import type { ConfigSpace } from "../../pci/config-space.js";
import type { PciDevice } from "../../pci/device.js";
import type { InterruptKind, Interrupts } from "../../pci/interrupts.js";
import { deviceText } from "../show.js";
import { Text } from "./text.js";

const WIDTHS = [8, 16, 32, 64] as const;
type Width = (typeof WIDTHS)[number];
const WORD_BYTES = 4;
const LINE_BYTES = 16;

/** The names, and the end of what they have begun. */
export interface Names {
  readonly context: Readonly<Record<string, unknown>>;
  /** Switches interrupts off. */
  close(): void;
}

/**
 * @param regs blocks of registers by name
 * @param say prints a line while the prompt waits
 */
export function namesFor(
  device: PciDevice,
  regs: Readonly<Record<string, unknown>>,
  say: (line: string) => void,
): Names {
  let interrupts: Interrupts | undefined;
  const spaceAt = (where: unknown): Bar | ConfigSpace => {
    if (where === "config") return device.config;
    if (typeof where === "number") return device.bar(where);
    throw new ArgumentError(`a BAR's number or "config" comes first, got ${show(where)}`);
  };
  const end = (): void => {
    interrupts?.close();
    interrupts = undefined;
  };
  return {
    close: end,
    context: {
      ...kit,
      device,
      config: device.config,
      regs,
      bar: (index: number) => device.bar(index),
      show: () => new Text(deviceText(device)),
      peek: (where: unknown, offset: number, bits: unknown = 32) => peek(spaceAt(where), offset, width(bits)),
      poke: (where: unknown, offset: number, value: number | bigint, bits: unknown = 32) =>
        poke(spaceAt(where), offset, value, width(bits)),
      hexdump: (where: unknown, offset: number = 0, bytes: number = 64) =>
        new Text(hexdump(spaceAt(where), offset, bytes)),
      interrupts: (count: number = 1, kind?: InterruptKind) => {
        end();
        if (count === 0) return new Text("interrupts are off");
        interrupts = device.enableInterrupts({ count, kind });
        for (const [index, vector] of interrupts.vectors.entries()) {
          vector.watch((times) => say(`interrupt on vector ${index}${times > 1 ? `, ${times} times` : ""}`));
        }
        const { kind: enabled, vectors } = interrupts;
        const isHeldBack = enabled !== "intx" && !device.config.busMaster;
        return new Text(
          `${vectors.length} of ${enabled}${isHeldBack ? "; the device sends none until config.busMaster = true" : ""}`,
        );
      },
    },
  };
}

/** @throws ArgumentError */
function width(bits: unknown): Width {
  const found = WIDTHS.find((each) => each === bits);
  if (found === undefined)
    throw new ArgumentError(`bits must be one of ${WIDTHS.join(", ")}, got ${show(bits)}`);
  return found;
}

function peek(space: Bar | ConfigSpace, offset: number, bits: Width): number | bigint {
  switch (bits) {
    case 8:
      return space.read8(offset);
    case 16:
      return space.read16(offset);
    case 32:
      return space.read32(offset);
    case 64:
      return space.readWhole64(offset);
  }
}

/** @throws ArgumentError */
function poke(space: Bar | ConfigSpace, offset: number, value: number | bigint, bits: Width): void {
  if (typeof value !== "number" && typeof value !== "bigint")
    throw new ArgumentError(`the value must be a number, got ${show(value)}`);
  switch (bits) {
    case 8:
      space.write8(offset, Number(value));
      return;
    case 16:
      space.write16(offset, Number(value));
      return;
    case 32:
      space.write32(offset, Number(value));
      return;
    case 64:
      if (typeof value === "number") checkInteger("value", value, 0, Number.MAX_SAFE_INTEGER);
      space.writeWhole64(offset, BigInt(value));
  }
}

/** Words of 32 bits, because many devices answer no other width. @throws ArgumentError */
function hexdump(space: Bar | ConfigSpace, offset: number, bytes: number): string {
  const last = space.sizeBytes - WORD_BYTES;
  checkInteger("offset", offset, 0, last);
  checkInteger("bytes", bytes, WORD_BYTES, space.sizeBytes - offset);
  const lines: string[] = [];
  for (let line = offset; line < offset + bytes; line += LINE_BYTES) {
    const end = Math.min(line + LINE_BYTES, offset + bytes);
    const words: string[] = [];
    for (let at = line; at < end; at += WORD_BYTES)
      words.push(space.read32(at).toString(16).padStart(8, "0"));
    lines.push(`${line.toString(16).padStart(6, "0")}: ${words.join(" ")}`);
  }
  return lines.join("\n");
}

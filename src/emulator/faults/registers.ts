/** Faults of registers: what a driver's access gets, and whether it reaches the device. */
import { checkInteger, show } from "../../core/check.js";
import { ConfigError } from "../../core/errors.js";
import type { RegisterBlock } from "../../registers/block.js";
import type { BlockSpec, RegisterSpec } from "../../registers/declaration.js";
import { isReadable } from "../../registers/field-spec.js";
import { placed } from "../../registers/layout.js";
import { type FaultCounter, nextRandom } from "./counter.js";
import type { ParsedFault } from "./options.js";

/** Number that stands for configuration space where BARs have their index. */
export const CONFIG = -1;

/** Names in an error. */
const MOST_NAMES = 20;

/** Accesses that match a fault. */
export interface AccessRange {
  /** Left out: all BARs. */
  readonly bar: number | undefined;
  /** Bytes from the start of the BAR. */
  readonly start: number;
  /** Behind the last byte. */
  readonly end: number;
}

const everywhere: AccessRange = { bar: undefined, start: 0, end: Number.POSITIVE_INFINITY };

/** Where a declared block is in its device. */
export class BlockPlace {
  private readonly registers: ReadonlyMap<string, { readonly offset: number; readonly spec: RegisterSpec }>;

  private resets: ReadonlyMap<number, number> | undefined;

  /** @throws ArgumentError */
  constructor(
    private readonly block: RegisterBlock<BlockSpec>,
    /** The BAR of the block. */
    readonly bar: number,
    /** Where the block starts in the BAR, in bytes. */
    private readonly offset: number,
  ) {
    checkInteger("bar", bar, 0, 5);
    checkInteger("offset", offset, 0, Number.MAX_SAFE_INTEGER);
    this.registers = new Map([...placed(block.registers)].map((each) => [each.name, each]));
  }

  /** @throws ConfigError if the fault names a register that isn't declared, or one in another BAR */
  rangeOf(fault: { readonly where?: string | undefined; readonly bar?: number | undefined }): AccessRange {
    const { where, bar } = fault;
    if (where === undefined) return { ...everywhere, bar };
    const { offset, spec } = this.register(where);
    if (bar !== undefined && bar !== this.bar)
      throw new ConfigError(`fault: register ${where} is in BAR ${this.bar}, got bar: ${bar}`);
    const start = this.offset + offset;
    return { bar: this.bar, start, end: start + spec.width / 8 };
  }

  /** The bytes of a wrong value, and which of their bits are wrong. @throws ConfigError, ArgumentError (a field's value) */
  wrongBytes(fault: Extract<ParsedFault, { kind: "wrong-value" }>): WrongBytes {
    const { spec } = this.register(fault.where);
    const { value, fields } = fault;
    if ((value === undefined) === (fields === undefined))
      throw new ConfigError(`fault: wrong-value of ${fault.where} takes either value or fields`);
    let mask = 2n ** BigInt(spec.width) - 1n;
    let bits = BigInt(value ?? 0);
    if (bits < 0n || bits > mask)
      throw new ConfigError(
        `fault: register ${fault.where} has ${spec.width} bits, got value: ${show(value)}`,
      );
    if (fields !== undefined) {
      mask = 0n;
      for (const [name, wanted] of Object.entries(fields)) {
        const field = Object.hasOwn(spec.fields, name) ? spec.fields[name] : undefined;
        if (field === undefined) throw new ConfigError(`fault: register ${fault.where} has no field ${name}`);
        const low = BigInt(field.low);
        mask |= (2n ** BigInt(field.high - field.low + 1) - 1n) << low;
        bits |= BigInt(field.toBits(name, wanted)) << low;
      }
    }
    return { mask: bytesOf(mask), bits: bytesOf(bits) };
  }

  /** What a byte reads as after a reset, as far as that is declared; 0 otherwise. */
  resetByte(bar: number, at: number): number {
    if (bar !== this.bar) return 0;
    this.resets ??= this.resetBytes();
    return this.resets.get(at - this.offset) ?? 0;
  }

  private resetBytes(): ReadonlyMap<number, number> {
    const bytes = new Map<number, number>();
    for (const { offset, spec } of this.registers.values()) {
      // A register that can't be read may have the place of one that can.
      if (!isReadable(spec.access)) continue;
      const value = bytesOf(BigInt(spec.reset ?? 0));
      for (let i = 0; i < spec.width / 8; i++) bytes.set(offset + i, value[i] ?? 0);
    }
    return bytes;
  }

  private register(name: string): { readonly offset: number; readonly spec: RegisterSpec } {
    const found = this.registers.get(name);
    if (found !== undefined) return found;
    const names = [...this.registers.keys()];
    const some = names.slice(0, MOST_NAMES).join(", ") + (names.length > MOST_NAMES ? ", ..." : "");
    throw new ConfigError(`fault: ${this.block.name} has no register ${name}: expected one of ${some}`);
  }
}

interface WrongBytes {
  readonly mask: Uint8Array;
  readonly bits: Uint8Array;
}

function bytesOf(value: bigint): Uint8Array {
  return new Uint8Array(BigUint64Array.of(value).buffer);
}

type AccessFault = Extract<
  ParsedFault,
  { kind: "all-ones" | "stuck" | "write-lost" | "wrong-value" | "config-garbage" }
>;

/** One fault of accesses, in force. */
export class AccessOrder {
  private until = 0;
  private readonly wrong: WrongBytes | undefined;

  constructor(
    readonly fault: AccessFault,
    readonly counter: FaultCounter,
    private readonly range: AccessRange,
    private readonly place: BlockPlace,
  ) {
    this.wrong = fault.kind === "wrong-value" ? place.wrongBytes(fault) : undefined;
  }

  /** @param isWrite whether the driver writes @returns whether the fault hits the access */
  hits(bar: number, offset: number, length: number, isWrite: boolean): boolean {
    const { kind } = this.fault;
    if (isWrite ? kind !== "all-ones" && kind !== "write-lost" : kind === "write-lost") return false;
    if (bar === CONFIG ? !this.isForConfig() : kind === "config-garbage") return false;
    if (!touches(this.range, bar, offset, length)) return false;
    const now = performance.now();
    if (now < this.until) return true;
    if (!this.counter.hit()) return false;
    if (this.fault.kind !== "config-garbage") this.until = now + this.fault.durationMs;
    return true;
  }

  /** Whether nothing of an access reaches the device. */
  covers(offset: number, length: number): boolean {
    return this.fault.kind === "all-ones" && this.range.start <= offset && offset + length <= this.range.end;
  }

  /** Changes what a read gets. */
  change(bar: number, offset: number, target: Uint8Array): void {
    const { fault, range, wrong } = this;
    for (let i = 0; i < target.length; i++) {
      const at = offset + i;
      if (at < range.start || at >= range.end) continue;
      const byte = target[i] ?? 0;
      switch (fault.kind) {
        case "all-ones":
          target[i] = 0xff;
          break;
        case "stuck":
          target[i] = this.place.resetByte(bar, at);
          break;
        case "wrong-value": {
          const mask = wrong?.mask[at - range.start] ?? 0;
          target[i] = (byte & ~mask) | ((wrong?.bits[at - range.start] ?? 0) & mask);
          break;
        }
        case "config-garbage":
          // The same bytes at each read, as of a device that is broken for good.
          target[i] = nextRandom((nextRandom(fault.seed || 1) ^ ((at + 1) * 0x9e37_79b1)) >>> 0 || 1) >>> 24;
          break;
        default:
      }
    }
  }

  /** A device that answers nothing but all ones does so in configuration space, too. */
  private isForConfig(): boolean {
    const { fault, range } = this;
    if (fault.kind === "config-garbage") return true;
    return fault.kind === "all-ones" && range.bar === undefined;
  }
}

/** Whether an access touches a range. */
export function touches(range: AccessRange, bar: number, offset: number, length: number): boolean {
  if (range.bar !== undefined && range.bar !== bar) return false;
  return offset < range.end && offset + length > range.start;
}

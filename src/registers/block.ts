/** A declared block of registers: gives access by name, a decoded dump, and a table for documentation. */
import { checkInteger, checkString, show } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import type { RegisterAccess } from "./access.js";
import { RegisterArray } from "./array.js";
import {
  type ArraySpec,
  alignOf,
  type BlockSpec,
  checkMembers,
  endOf,
  type NestedSpec,
  type RegisterSpec,
} from "./declaration.js";
import { checkOverlaps, placed } from "./layout.js";
import { registersToMarkdown } from "./markdown.js";
import { type DumpedRegister, Register8, Register16, Register32, Register64 } from "./register.js";
import type { RegistersOf } from "./types.js";

type AnyRegister = Register8 | Register16 | Register32 | Register64;

/** A declared block of registers. Make one by {@link registerBlock}. */
export class RegisterBlock<const D extends BlockSpec> {
  /** Bytes from its start to the end of its last register. */
  readonly sizeBytes: number;

  /** @internal */
  constructor(
    /** Its name, for documentation. */
    readonly name: string,
    /** What was declared. */
    readonly registers: D,
  ) {
    checkString("name of a block", name);
    checkMembers(name, registers);
    this.sizeBytes = endOf({ kind: "block", offset: 0, registers });
    checkOverlaps(registers);
  }

  /**
   * The registers, to be read and written.
   * @param access what they are in, such as a {@link Bar}
   * @param offset where the block starts in it, in bytes
   * @throws ArgumentError if it isn't large enough, or a register isn't aligned there
   */
  on(access: RegisterAccess, offset = 0): RegistersOf<D> {
    checkInteger("offset", offset, 0, Number.MAX_SAFE_INTEGER);
    if (!isAccess(access))
      throw new ArgumentError(`${this.name}.on() takes a BAR, such as device.bar(0), got ${show(access)}`);
    if (offset + this.sizeBytes > access.sizeBytes) {
      throw new ArgumentError(
        `${this.name} needs ${this.sizeBytes} bytes at ${offset}, but ${access.label} ends at ${access.sizeBytes}`,
      );
    }
    // Each member is what RegistersOf makes of its declaration.
    return membersOf(access, this.registers, "", offset) as RegistersOf<D>;
  }

  /**
   * Reads all registers that can be read without an effect (not write-only, not cleared by reading).
   * @throws as {@link on}, and as accesses do
   */
  dump(access: RegisterAccess, offset = 0): DumpedRegister[] {
    this.on(access, offset);
    return [...placed(this.registers, "", offset)].map((each) =>
      registerOf(access, each.spec, each.name, each.offset).dump(),
    );
  }

  /** A table of the registers and their fields in Markdown. */
  toMarkdown(): string {
    return registersToMarkdown(this.name, this.registers);
  }
}

/**
 * Declares a block of registers.
 * @param name for documentation and errors
 * @throws ArgumentError if registers overlap, other than a read-only and a write-only one
 */
export function registerBlock<const D extends BlockSpec>(name: string, registers: D): RegisterBlock<D> {
  return new RegisterBlock(name, registers);
}

const methods = ["read8", "read16", "read32", "readWhole64", "write8", "write16", "write32", "writeWhole64"];

function isAccess(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return methods.every((name) => typeof Reflect.get(value, name) === "function");
}

function membersOf(
  access: RegisterAccess,
  specs: BlockSpec,
  path: string,
  base: number,
): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(specs).map(([name, spec]) => [name, memberOf(access, spec, path + name, base)]),
  );
}

function memberOf(
  access: RegisterAccess,
  spec: RegisterSpec | ArraySpec | NestedSpec,
  name: string,
  base: number,
): unknown {
  switch (spec.kind) {
    case "register":
      return registerOf(access, spec, name, base + spec.offset);
    case "block":
      return membersOf(access, spec.registers, `${name}.`, base + spec.offset);
    case "array": {
      const { count, strideBytes, element } = spec;
      const make = (i: number): unknown => memberOf(access, element, `${name}[${i}]`, base + i * strideBytes);
      // If the first one is aligned, so are all.
      make(0);
      return new RegisterArray(name, count, make);
    }
  }
}

function registerOf(access: RegisterAccess, spec: RegisterSpec, name: string, at: number): AnyRegister {
  const alignBytes = alignOf(spec);
  if (at % alignBytes !== 0)
    throw new ArgumentError(`register ${name} would be at ${at}, which is not a multiple of ${alignBytes}`);
  switch (spec.width) {
    case 8:
      return new Register8(access, name, spec, at);
    case 16:
      return new Register16(access, name, spec, at);
    case 32:
      return new Register32(access, name, spec, at);
    case 64:
      return new Register64(access, name, spec, at);
  }
}

/** Declares registers: offset, width, access, fields, arrays of them, and blocks in blocks. */
import { checkInteger, checkKeys, checkObject, checkOffset } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import { bigints, numbers } from "./bits.js";
import { type FieldSpecs, type RegisterRights, registerRights } from "./field-spec.js";
import { checkDeclared, checkOneOf } from "./verify.js";

/** Width of a register in bits. */
export type RegisterWidth = 8 | 16 | 32 | 64;

/** How a 64-bit register is accessed: at once, or as two 32-bit halves in that order. */
export type HalvesOrder = "whole" | "low-first" | "high-first";

/** Options of a register. */
export interface RegisterOptions<R extends RegisterRights, F extends FieldSpecs> {
  /** `rw` by default. */
  readonly access?: R | undefined;
  /** By name. */
  readonly fields?: F | undefined;
  /** Value after a reset, if the datasheet says so. */
  readonly reset?: number | bigint | undefined;
  /** One line for the documentation. */
  readonly doc?: string | undefined;
}

/** A register as declared by {@link reg8} to {@link reg64}. */
export interface RegisterSpec<
  W extends RegisterWidth = RegisterWidth,
  R extends RegisterRights = RegisterRights,
  F extends FieldSpecs = FieldSpecs,
> {
  /** What is declared. */
  readonly kind: "register";
  /** Bytes from the start of the block. */
  readonly offset: number;
  /** Bits. */
  readonly width: W;
  /** What an access does. */
  readonly access: R;
  /** By name. */
  readonly fields: F;
  /** Value after a reset, if it was declared. */
  readonly reset: number | bigint | undefined;
  /** `whole` for all but 64-bit registers in halves. */
  readonly order: HalvesOrder;
  /** One line for the documentation. */
  readonly doc: string | undefined;
}

/** Blocks or registers at equal distances. */
export interface ArraySpec<S extends RegisterSpec | NestedSpec = RegisterSpec | NestedSpec> {
  /** What is declared. */
  readonly kind: "array";
  /** How many there are. */
  readonly count: number;
  /** Bytes from one to the next. */
  readonly strideBytes: number;
  /** The first one. */
  readonly element: S;
}

/** A block in a block. */
export interface NestedSpec<D extends BlockSpec = BlockSpec> {
  /** What is declared. */
  readonly kind: "block";
  /** Bytes from the start of the outer block. */
  readonly offset: number;
  /** What it contains. */
  readonly registers: D;
}

/** Registers, arrays and blocks by name. */
export interface BlockSpec {
  readonly [name: string]: RegisterSpec | ArraySpec | NestedSpec;
}

const orders: readonly HalvesOrder[] = ["whole", "low-first", "high-first"];
const optionNames = ["access", "fields", "reset", "doc"];

// biome-ignore lint/complexity/noBannedTypes: a register without fields has no names at all.
type NoFields = {};

function register<W extends RegisterWidth, R extends RegisterRights, F extends FieldSpecs>(
  width: W,
  offset: number,
  options: RegisterOptions<R, F> & { readonly order?: HalvesOrder | undefined },
): RegisterSpec<W, R, F> {
  checkKeys(`reg${width}()`, options, width === 64 ? [...optionNames, "order"] : optionNames);
  const { access, fields, reset, doc, order = width === 64 ? "low-first" : "whole" } = options;
  checkOffset("register offset", offset);
  checkOneOf("access of a register", access ?? "rw", registerRights);
  checkOneOf("order of a register", order, orders);
  const bytes = order === "whole" ? width / 8 : 4;
  if (offset % bytes !== 0)
    throw new ArgumentError(`register offset ${offset} is not a multiple of ${bytes}, the access's width`);
  // Left out, both are what R and F are inferred as.
  const spec = { access: access ?? "rw", fields: fields ?? {} } as { access: R; fields: F };
  checkFields(width, spec.fields);
  // A reset value that doesn't fit is refused here, not when a device is made.
  if (reset !== undefined)
    (width === 64 ? bigints : numbers(width)).check("the reset value of a register", reset);
  return { kind: "register", offset, width, reset, order, doc, ...spec };
}

function checkFields(width: RegisterWidth, fields: FieldSpecs): void {
  checkObject("fields of a register", fields);
  for (const [name, field] of Object.entries(fields))
    checkDeclared(`field ${name}`, field, ["flag", "number", "choice"], "bit(), bits() or choice()");
  const sorted = Object.entries(fields).sort(([, a], [, b]) => a.low - b.low);
  let free = 0;
  let last = "";
  for (const [name, { high, low }] of sorted) {
    if (high >= width)
      throw new ArgumentError(`field ${name} has bit ${high}, but the register has ${width} bits`);
    if (low < free) throw new ArgumentError(`fields ${last} and ${name} overlap at bit ${low}`);
    free = high + 1;
    last = name;
  }
}

/** An 8-bit register. @param offset in bytes @throws ArgumentError if the declaration is inconsistent */
export function reg8<const R extends RegisterRights = "rw", const F extends FieldSpecs = NoFields>(
  offset: number,
  options: RegisterOptions<R, F> = {},
): RegisterSpec<8, NoInfer<R>, NoInfer<F>> {
  return register(8, offset, options);
}

/** A 16-bit register. @param offset in bytes, multiple of 2 @throws ArgumentError as {@link reg8} */
export function reg16<const R extends RegisterRights = "rw", const F extends FieldSpecs = NoFields>(
  offset: number,
  options: RegisterOptions<R, F> = {},
): RegisterSpec<16, NoInfer<R>, NoInfer<F>> {
  return register(16, offset, options);
}

/** A 32-bit register. @param offset in bytes, multiple of 4 @throws ArgumentError as {@link reg8} */
export function reg32<const R extends RegisterRights = "rw", const F extends FieldSpecs = NoFields>(
  offset: number,
  options: RegisterOptions<R, F> = {},
): RegisterSpec<32, NoInfer<R>, NoInfer<F>> {
  return register(32, offset, options);
}

/**
 * A 64-bit register. Its values are bigints.
 * @param offset in bytes, multiple of 8, or of 4 if it is accessed in halves
 * @param options `order`: two 32-bit accesses, low half first, by default
 * @throws ArgumentError as {@link reg8}
 */
export function reg64<const R extends RegisterRights = "rw", const F extends FieldSpecs = NoFields>(
  offset: number,
  options: RegisterOptions<R, F> & { readonly order?: HalvesOrder | undefined } = {},
): RegisterSpec<64, NoInfer<R>, NoInfer<F>> {
  return register(64, offset, options);
}

/** A block in a block. @param offset bytes from the start of the outer one */
export function nested<const D extends BlockSpec>(offset: number, registers: D): NestedSpec<D> {
  checkOffset("block offset", offset);
  checkMembers("a nested block", registers);
  return { kind: "block", offset, registers };
}

/**
 * The same register or block several times.
 * @param count how often
 * @param strideBytes distance from one to the next in bytes
 * @param element the first one
 * @throws ArgumentError
 */
export function repeated<const S extends RegisterSpec | NestedSpec>(
  count: number,
  strideBytes: number,
  element: S,
): ArraySpec<S> {
  checkInteger("count", count, 1, 65_536);
  checkDeclared("what is repeated", element, ["register", "block"], "reg8() to reg64() or nested()");
  checkInteger("strideBytes", strideBytes, 1, Number.MAX_SAFE_INTEGER);
  const alignBytes = alignOf(element);
  if (strideBytes % alignBytes !== 0)
    throw new ArgumentError(
      `strideBytes ${strideBytes} is not a multiple of ${alignBytes}, the width of an access`,
    );
  return { kind: "array", count, strideBytes, element };
}

/** @throws ArgumentError if a member isn't a declaration @internal */
export function checkMembers(what: string, registers: BlockSpec): void {
  checkObject(`the registers of ${what}`, registers);
  for (const [name, spec] of Object.entries(registers))
    checkDeclared(
      `${name} of ${what}`,
      spec,
      ["register", "array", "block"],
      "reg8() to reg64(), repeated() or nested()",
    );
}

/** What the offset of a register, array or block must be a multiple of. @internal */
export function alignOf(spec: RegisterSpec | ArraySpec | NestedSpec): number {
  switch (spec.kind) {
    case "register":
      return spec.order === "whole" ? spec.width / 8 : 4;
    case "array":
      return alignOf(spec.element);
    case "block":
      return Object.values(spec.registers).reduce((most, each) => Math.max(most, alignOf(each)), 1);
  }
}

/** Bytes from the start of a register, array or block to its end. */
export function endOf(spec: RegisterSpec | ArraySpec | NestedSpec): number {
  switch (spec.kind) {
    case "register":
      return spec.offset + spec.width / 8;
    case "array":
      return endOf(spec.element) + (spec.count - 1) * spec.strideBytes;
    case "block":
      return Object.values(spec.registers).reduce((end, each) => Math.max(end, spec.offset + endOf(each)), 0);
  }
}

/** A register's fields, for values that were read: one class for each kind, so that decoding compiles to shift and mask. */
import type { FieldSpec, RegisterRights } from "./field-spec.js";

/** A field of a register, for code that reads the register once and looks at several fields. */
export abstract class RegisterField<V extends number | bigint = number | bigint, T = unknown> {
  /** Number of its lowest bit. */
  readonly shift: number;
  /** All its bits, shifted to bit 0. */
  protected readonly max: number;

  protected constructor(
    /** Its name. */
    readonly name: string,
    /** @internal */
    protected readonly spec: FieldSpec,
    /** @internal */
    readonly rights: RegisterRights,
  ) {
    this.shift = spec.low;
    this.max = 2 ** (spec.high - spec.low + 1) - 1;
  }

  /** Its bits, in place. */
  abstract readonly mask: V;

  /** The field's value in a value of the register. */
  abstract of(value: V): T;

  /** The bits in place for a value of the field. @throws ArgumentError if it doesn't fit */
  abstract bits(value: T): V;
}

/** Fields of registers up to 32 bits. */
abstract class NarrowField extends RegisterField<number> {
  readonly mask: number;

  constructor(name: string, spec: FieldSpec, rights: RegisterRights) {
    super(name, spec, rights);
    this.mask = (this.max << this.shift) >>> 0;
  }

  override bits(value: unknown): number {
    return (this.spec.toBits(this.name, value) << this.shift) >>> 0;
  }
}

class FlagField extends NarrowField {
  override of(value: number): boolean {
    return (value & this.mask) !== 0;
  }
}

class NumberField extends NarrowField {
  override of(value: number): number {
    return ((value >>> this.shift) & this.max) >>> 0;
  }
}

class NamedField extends NarrowField {
  override of(value: number): unknown {
    return this.spec.fromBits(((value >>> this.shift) & this.max) >>> 0);
  }
}

/** Fields of 64-bit registers. */
class WideField extends RegisterField<bigint> {
  readonly mask: bigint;

  constructor(name: string, spec: FieldSpec, rights: RegisterRights) {
    super(name, spec, rights);
    this.mask = BigInt(this.max) << BigInt(this.shift);
  }

  override of(value: bigint): unknown {
    return this.spec.fromBits(Number((value & this.mask) >> BigInt(this.shift)));
  }

  override bits(value: unknown): bigint {
    return BigInt(this.spec.toBits(this.name, value)) << BigInt(this.shift);
  }
}

/** @internal */
export function narrowField(name: string, spec: FieldSpec, rights: RegisterRights): RegisterField<number> {
  switch (spec.kind) {
    case "flag":
      return new FlagField(name, spec, rights);
    case "number":
      return new NumberField(name, spec, rights);
    case "choice":
      return new NamedField(name, spec, rights);
  }
}

/** @internal */
export function wideField(name: string, spec: FieldSpec, rights: RegisterRights): RegisterField<bigint> {
  return new WideField(name, spec, rights);
}

/** What a declaration gives, as types: methods that a register's access allows, fields by name. */
import type { RegisterArray } from "./array.js";
import type { ArraySpec, BlockSpec, NestedSpec, RegisterSpec, RegisterWidth } from "./declaration.js";
import type { RegisterField } from "./field.js";
import type { FieldSpec, FieldSpecs, RegisterRights } from "./field-spec.js";
import type { WaitOptions } from "./wait.js";

/** A register's values: bigints if it has 64 bits. */
export type RegisterValue<W extends RegisterWidth> = W extends 64 ? bigint : number;
/** Values of a field. */
export type FieldValue<S> = S extends FieldSpec<infer T, RegisterRights | undefined> ? T : never;

/** The access of a field: its own, or else the register's. */
type RightsOf<S, R> = S extends { readonly access: infer A extends RegisterRights } ? A : R;
/** Fields that can be read, with the types of their values. */
export type ReadableFields<F, R> = {
  [K in keyof F as RightsOf<F[K], R> extends "wo" ? never : K]: FieldValue<F[K]>;
};
/** Fields to be named; never if there are none, because `{}` would take every value. */
export type Some<T> = keyof T extends never ? never : { readonly [K in keyof T]?: T[K] | undefined };
/** Fields that can be written, with the types of their values. */
export type WritableFields<F, R> = {
  [K in keyof F as RightsOf<F[K], R> extends "ro" | "rc" ? never : K]: FieldValue<F[K]>;
};

/** What every register has. */
export interface RegisterInfo<V extends number | bigint, F extends FieldSpecs> {
  /** Its name, with that of the blocks around it. */
  readonly name: string;
  /** Bytes from the start of the registers' memory. */
  readonly offset: number;
  /** The fields, for values that were read: `regs.status.fields.busy.of(value)`. */
  readonly fields: { readonly [K in keyof F]: RegisterField<V, FieldValue<F[K]>> };
}

/** A register that can be read. */
export interface ReadableRegister<V extends number | bigint, F extends FieldSpecs, R extends RegisterRights> {
  /** Reads it. @throws ClosedError, DeviceGoneError, SysError */
  read(): V;
  /** Reads the register. @returns the field's value @throws as {@link read} */
  get<K extends keyof ReadableFields<F, R>>(field: K): ReadableFields<F, R>[K];
  /** All fields of a value that was read, or of the register as it is now. @throws as {@link read} */
  decode(value?: V): ReadableFields<F, R>;
  /**
   * Waits until fields have these values, or until a test of the register's value is true.
   * @returns the register's value
   * @throws as a rejection: ArgumentError, TimeoutError, DeviceGoneError (all ones, and the device doesn't answer), the
   *   signal's reason; as {@link read}
   */
  until(wanted: Some<ReadableFields<F, R>> | ((value: V) => boolean), options: WaitOptions): Promise<V>;
}

/** A register that can be written. */
export interface WritableRegister<V extends number | bigint, F extends FieldSpecs, R extends RegisterRights> {
  /**
   * Writes it.
   * @param value the register's value, or fields by name; fields that aren't named are written as 0
   * @throws ArgumentError (too wide), ClosedError, DeviceGoneError, SysError
   */
  write(value: V | Some<WritableFields<F, R>>): void;
}

/** A register that can be changed in part. */
export interface ModifiableRegister<F extends FieldSpecs, R extends RegisterRights> {
  /**
   * Reads the register and writes it with some fields changed. Fields that a 1 would clear are written as 0 unless they are
   * named. Another writer between the two accesses is overwritten.
   * @throws ArgumentError (too wide), ClosedError, DeviceGoneError, SysError
   */
  modify(fields: Some<WritableFields<F, R>>): void;
}

/** A register with the methods that its access allows. */
export type RegisterOf<
  W extends RegisterWidth,
  R extends RegisterRights,
  F extends FieldSpecs,
> = RegisterInfo<RegisterValue<W>, F> &
  (R extends "wo" ? unknown : ReadableRegister<RegisterValue<W>, F, R>) &
  (R extends "ro" | "rc" ? unknown : WritableRegister<RegisterValue<W>, F, R>) &
  (R extends "rw" ? ModifiableRegister<F, R> : unknown);

type MemberOf<S> =
  S extends RegisterSpec<infer W, infer R, infer F>
    ? RegisterOf<W, R, F>
    : S extends NestedSpec<infer D>
      ? RegistersOf<D>
      : S extends ArraySpec<infer E>
        ? RegisterArray<MemberOf<E>>
        : never;

/** The registers of a declared block, by name. */
export type RegistersOf<D extends BlockSpec> = { readonly [K in keyof D]: MemberOf<D[K]> };

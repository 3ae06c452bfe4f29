/** What a declaration gives for a device in software, as types. */
import type { RegisterArray } from "./array.js";
import type { ArraySpec, BlockSpec, NestedSpec, RegisterSpec, RegisterWidth } from "./declaration.js";
import type { RegisterHandler } from "./device-register.js";
import type { RegisterField } from "./field.js";
import type { FieldSpecs, RegisterRights } from "./field-spec.js";
import type { FieldValue, RegisterValue } from "./types.js";

/** A register as its device sees it. The device reads and sets every field, whatever the driver may do. */
export interface DeviceRegisterOf<V extends number | bigint, F extends FieldSpecs> {
  /** With the names of the blocks around it. */
  readonly name: string;
  /** Bytes from the start of the block. */
  readonly offset: number;
  /** The fields, for values that a handler gets: `state.control.fields.reset.of(written)`. */
  readonly fields: { readonly [K in keyof F]: RegisterField<V, FieldValue<F[K]>> };
  /** What it holds. Setting it calls no handler. @throws ArgumentError if it is too wide */
  value: V;
  /** A field of the value. */
  get<K extends keyof F>(field: K): FieldValue<F[K]>;
  /** Changes fields of the value. @throws ArgumentError, with nothing changed */
  set(fields: { readonly [K in keyof F]?: FieldValue<F[K]> }): void;
  /** Takes the declared reset value, or 0. */
  reset(): void;
}

type DeviceMember<S> =
  S extends RegisterSpec<infer W extends RegisterWidth, RegisterRights, infer F extends FieldSpecs>
    ? DeviceRegisterOf<RegisterValue<W>, F>
    : S extends NestedSpec<infer D>
      ? DeviceRegistersOf<D>
      : S extends ArraySpec<infer E>
        ? RegisterArray<DeviceMember<E>>
        : never;

/** The registers of a device in software, by name. */
export type DeviceRegistersOf<D extends BlockSpec> = { readonly [K in keyof D]: DeviceMember<D[K]> };

type HandlerMember<S> =
  S extends RegisterSpec<infer W extends RegisterWidth, RegisterRights, FieldSpecs>
    ? RegisterHandler<RegisterValue<W>>
    : S extends NestedSpec<infer D>
      ? RegisterHandlers<D>
      : S extends ArraySpec<infer E>
        ? HandlerMember<E>
        : never;

/** Handlers by register name; those of an array serve all its elements. */
export type RegisterHandlers<D extends BlockSpec> = { readonly [K in keyof D]?: HandlerMember<D[K]> };

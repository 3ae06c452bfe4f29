/** Faults of devices in software that have declared registers: what users give. */

import * as z from "zod/mini";
import { show } from "../../core/check.js";
import { ConfigError } from "../../core/errors.js";
import { lazily } from "../../core/lazy.js";
import { integer, number, readOptions } from "../../core/options.js";
import type {
  ArraySpec,
  BlockSpec,
  NestedSpec,
  RegisterSpec,
  RegisterWidth,
} from "../../registers/declaration.js";
import type { FieldSpecs, RegisterRights } from "../../registers/field-spec.js";
import type { FieldValue, RegisterValue } from "../../registers/types.js";
import { countingOptions, type FaultCounting } from "./counter.js";

/** The registers of a block by their names, such as `queues[1].tail`, with the values that a fault can give them. */
export type RegisterPlaces<D extends BlockSpec, P extends string = ""> = string extends keyof D
  ? RegisterPlace<string, number | bigint, FieldSpecs>
  : { [K in keyof D & string]: PlacesIn<D[K], `${P}${K}`> }[keyof D & string];

type PlacesIn<S, P extends string> =
  S extends RegisterSpec<infer W extends RegisterWidth, RegisterRights, infer F extends FieldSpecs>
    ? RegisterPlace<P, RegisterValue<W>, F>
    : S extends NestedSpec<infer D>
      ? RegisterPlaces<D, `${P}.`>
      : S extends ArraySpec<infer E>
        ? PlacesIn<E, `${P}[${number}]`>
        : never;

/** A register, and a value for it. */
export interface RegisterPlace<P extends string, V extends number | bigint, F extends FieldSpecs> {
  /** Its name, as declared. */
  readonly where: P;
  /** What it reads as. */
  readonly value?: V | undefined;
  /** Fields that read as these values, in place of `value`. */
  readonly fields?: { readonly [K in keyof F]?: FieldValue<F[K]> | undefined } | undefined;
}

/** Which accesses of a driver match. Left out: all, of all BARs. */
export interface AccessPlace<D extends BlockSpec> extends FaultCounting {
  /** Only accesses that touch this register. */
  readonly where?: RegisterPlaces<D>["where"] | undefined;
  /** Only accesses to the BAR with this index. */
  readonly bar?: number | undefined;
}

/** A fault of a device in software; docs/testing-drivers.md says what each kind does. */
export type DeviceFault<D extends BlockSpec> =
  | (AccessPlace<D> & {
      /** What goes wrong. */
      readonly kind: "all-ones" | "stuck" | "write-lost";
      /** Also hit what matches within so many milliseconds after a hit. 0 by default. */
      readonly durationMs?: number | undefined;
    })
  | (RegisterPlaces<D> &
      FaultCounting & {
        /** What goes wrong. */
        readonly kind: "wrong-value";
        /** Also hit what matches within so many milliseconds after a hit. 0 by default. */
        readonly durationMs?: number | undefined;
      })
  | (AccessPlace<D> & {
      /** What goes wrong. */
      readonly kind: "remove";
    })
  | (AccessPlace<D> & {
      /** What goes wrong. */
      readonly kind: "interrupt-unasked" | "interrupt-storm";
      /** The vector: 0 by default. */
      readonly vector?: number | undefined;
      /** Of a storm, in milliseconds; 0, the default, is until the fault is removed. */
      readonly durationMs?: number | undefined;
    })
  | (FaultCounting & {
      /** What goes wrong. */
      readonly kind: "interrupt-lost" | "interrupt-latency";
      /** Only this vector. Left out: all. */
      readonly vector?: number | undefined;
      /** Of `interrupt-latency`, in milliseconds: 10 by default. */
      readonly latencyMs?: number | undefined;
    })
  | (FaultCounting & {
      /** What goes wrong. */
      readonly kind: "dma-lost" | "dma-wrong-address";
      /** Only what the device reads from memory, or writes to it. Left out: both. */
      readonly direction?: "read" | "write" | undefined;
      /** Of `dma-wrong-address`: what is added to each address, in bytes. 4096 by default. */
      readonly deltaBytes?: number | undefined;
    })
  | (FaultCounting & {
      /** What goes wrong. */
      readonly kind: "config-garbage";
      /** First byte of configuration space that is wrong: 0 by default. */
      readonly offset?: number | undefined;
      /** How many bytes are wrong. Left out: all. */
      readonly bytes?: number | undefined;
    });

const schemas = lazily(() => {
  const counting = countingOptions();
  const place = { ...counting, where: z.optional(z.string()), bar: z.optional(integer(0, 5)) };
  const time = { durationMs: z._default(number(0, 600_000), 0) };
  const fieldsSchema = z.record(z.string(), z.unknown());
  const value = { value: z.optional(z.union([integer(0), z.bigint()])), fields: z.optional(fieldsSchema) };
  const vector = { vector: z._default(integer(0, 2047), 0) };
  const anyVector = { vector: z.optional(integer(0, 2047)) };
  const dma = { ...counting, direction: z.optional(z.enum(["read", "write"])) };
  const deltas = integer(Number.MIN_SAFE_INTEGER);
  return {
    "all-ones": z.strictObject({ kind: z.literal("all-ones"), ...place, ...time }),
    stuck: z.strictObject({ kind: z.literal("stuck"), ...place, ...time }),
    "write-lost": z.strictObject({ kind: z.literal("write-lost"), ...place, ...time }),
    "wrong-value": z.strictObject({
      kind: z.literal("wrong-value"),
      ...counting,
      where: z.string(),
      ...value,
      ...time,
    }),
    remove: z.strictObject({ kind: z.literal("remove"), ...place }),
    "interrupt-unasked": z.strictObject({ kind: z.literal("interrupt-unasked"), ...place, ...vector }),
    "interrupt-storm": z.strictObject({ kind: z.literal("interrupt-storm"), ...place, ...vector, ...time }),
    "interrupt-lost": z.strictObject({ kind: z.literal("interrupt-lost"), ...counting, ...anyVector }),
    "interrupt-latency": z.strictObject({
      kind: z.literal("interrupt-latency"),
      ...counting,
      ...anyVector,
      latencyMs: z._default(number(0, 600_000), 10),
    }),
    "dma-lost": z.strictObject({ kind: z.literal("dma-lost"), ...dma }),
    "dma-wrong-address": z.strictObject({
      kind: z.literal("dma-wrong-address"),
      ...dma,
      deltaBytes: z._default(deltas, 4096),
    }),
    "config-garbage": z.strictObject({
      kind: z.literal("config-garbage"),
      ...counting,
      offset: z._default(integer(0, 4095), 0),
      bytes: z._default(integer(1, 4096), 4096),
    }),
  };
});

type Schemas = ReturnType<typeof schemas>;
/** A fault with all defaults. */
export type ParsedFault = z.output<Schemas[keyof Schemas]>;

/** @throws ConfigError naming what is wrong */
export function parseDeviceFault(options: unknown): ParsedFault {
  const known = schemas();
  const kind: unknown = typeof options === "object" && options !== null ? Reflect.get(options, "kind") : "";
  const schema = Object.entries(known).find(([name]) => name === kind)?.[1];
  if (schema === undefined) {
    const kinds = Object.keys(known).map((name) => JSON.stringify(name));
    throw new ConfigError(`fault: kind: expected one of ${kinds.join(", ")}, got ${show(kind)}`);
  }
  return readOptions(`fault ${kind}`, schema, options);
}

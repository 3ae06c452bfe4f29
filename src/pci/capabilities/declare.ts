/** Declares capabilities: their registers, those that only some functions have, and the bytes that belong to no register. */
import { lazily } from "../../core/lazy.js";
import type { RegisterAccess } from "../../registers/access.js";
import { type RegisterBlock, registerBlock } from "../../registers/block.js";
import {
  type ArraySpec,
  type BlockSpec,
  endOf,
  type NestedSpec,
  type RegisterSpec,
} from "../../registers/declaration.js";
import type { RegistersOf } from "../../registers/types.js";

type Member = RegisterSpec | ArraySpec | NestedSpec;
/** Registers by name; undefined where a function lacks them. */
export type OptionalSpecs = Readonly<Record<string, Member | undefined>>;
/** The registers of {@link OptionalSpecs}. */
export type OptionalRegistersOf<O> = {
  readonly [K in keyof O]:
    | RegistersOf<{ one: Exclude<O[K], undefined> & Member }>["one"]
    | (undefined extends O[K] ? undefined : never);
};

/** What the form of a capability depends on, besides its own registers. */
export interface CapabilityContext {
  /** Capability version; 0 for those below 100h. */
  readonly version: number;
  /** Whether the header is a bridge's. */
  readonly isBridge: boolean;
  /** Device/Port Type of the PCI Express capability; undefined without one. */
  readonly portType: number | undefined;
  /** Maximum link width; 0 without a link. */
  readonly lanes: number;
  /** Bytes from the capability's start to the end of what can be read. */
  readonly roomBytes: number;
  /** Reads a dword of the capability; 0 beyond its room. */
  read32(at: number): number;
}

/** A declared capability. */
export interface CapabilityDeclaration<
  D extends BlockSpec = BlockSpec,
  O extends OptionalSpecs = OptionalSpecs,
> {
  /** Capability ID. */
  readonly id: number;
  /** The specification's name for it. */
  readonly title: string;
  /** Registers that every function with this capability has. */
  readonly block: RegisterBlock<D>;
  /** Registers that depend on the function. @internal */
  further(registers: RegistersOf<D>, context: CapabilityContext): O;
  /** Where the bytes of the vendor begin, and the length of the whole; undefined if there are none. @internal */
  bytes(registers: RegistersOf<D>): ByteRange | undefined;
}

/** Bytes of a capability that are no registers, from its start. */
export interface ByteRange {
  readonly from: number;
  /** The byte after the last. */
  readonly to: number;
}

/** What {@link CapabilityDeclaration} gives. */
export type CapabilityRegistersOf<C> =
  C extends CapabilityDeclaration<infer D, infer O> ? RegistersOf<D> & OptionalRegistersOf<O> : never;

// biome-ignore lint/complexity/noBannedTypes: a capability without such registers has no names at all.
type None = {};

/**
 * Declares a capability. Its registers are made at first use: most programs look at few capabilities, and all import them.
 * @internal
 */
export function capability<const D extends BlockSpec, const O extends OptionalSpecs = None>(
  id: number,
  title: string,
  registers: () => D,
  further?: (registers: RegistersOf<D>, context: CapabilityContext) => O,
  bytes: (registers: RegistersOf<D>) => ByteRange | undefined = () => undefined,
): CapabilityDeclaration<D, O> {
  // Left out, there are no further registers, which is what O is inferred as.
  const none = (): O => ({}) as O;
  const block = lazily(() => registerBlock(title, registers()));
  return {
    id,
    title,
    get block() {
      return block();
    },
    further: further ?? none,
    bytes,
  };
}

/** Value names of a field, from 0 on. @internal */
export function numbered<const N extends readonly string[]>(
  ...names: N
): Readonly<Record<N[number], number>> {
  return Object.fromEntries(names.map((name, value) => [name, value])) as Record<N[number], number>;
}

/** The registers of a capability of one function. */
export interface PlacedCapability {
  readonly block: RegisterBlock<BlockSpec>;
  /** Names of those that the function should have, but whose place is beyond what can be read. */
  readonly cut: readonly string[];
}

/** The registers that a function's capability has, and that can be read. @internal */
export function placeCapability(
  { title, block, further }: CapabilityDeclaration,
  access: RegisterAccess,
  offset: number,
  context: CapabilityContext,
): PlacedCapability {
  const cut: string[] = [];
  const fitting = (specs: OptionalSpecs): BlockSpec =>
    Object.fromEntries(
      Object.entries(specs).flatMap(([name, spec]) => {
        if (spec === undefined) return [];
        if (endOf(spec) <= context.roomBytes) return [[name, spec] as const];
        cut.push(name);
        return [];
      }),
    );
  const fixed = fitting(block.registers);
  // What depends on a register that can't be read is unknown.
  if (cut.length > 0) return { block: registerBlock(title, fixed), cut };
  const more = fitting(further(block.on(access, offset), context));
  return { block: registerBlock(title, { ...fixed, ...more }), cut };
}

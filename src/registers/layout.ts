/** Where the registers of a declared block are. */
import { ArgumentError } from "../core/errors.js";
import type { ArraySpec, BlockSpec, NestedSpec, RegisterSpec } from "./declaration.js";
import { isReadable, isWritable } from "./field-spec.js";

/** A register and its place. */
export interface Placed {
  /** With the names of the blocks around it: `queues[1].tail`. */
  readonly name: string;
  /** Bytes from the start of the outermost block. */
  readonly offset: number;
  readonly spec: RegisterSpec;
}

/** Every register, each element of arrays included. */
export function* placed(specs: BlockSpec, path = "", base = 0): Generator<Placed> {
  for (const [name, spec] of Object.entries(specs)) yield* placedIn(spec, path + name, base);
}

function* placedIn(
  spec: RegisterSpec | ArraySpec | NestedSpec,
  name: string,
  base: number,
): Generator<Placed> {
  switch (spec.kind) {
    case "register":
      yield { name, offset: base + spec.offset, spec };
      return;
    case "block":
      yield* placed(spec.registers, `${name}.`, base + spec.offset);
      return;
    case "array":
      for (let i = 0; i < spec.count; i++)
        yield* placedIn(spec.element, `${name}[${i}]`, base + i * spec.strideBytes);
  }
}

/** @throws ArgumentError if registers overlap, other than one that is only read and one that is only written */
export function checkOverlaps(specs: BlockSpec): void {
  const read = { end: 0, name: "" };
  const write = { end: 0, name: "" };
  for (const { name, offset, spec } of [...placed(specs)].sort((a, b) => a.offset - b.offset)) {
    const { access, width } = spec;
    const uses = [...(isReadable(access) ? [read] : []), ...(isWritable(access) ? [write] : [])];
    for (const use of uses) {
      if (offset < use.end) throw new ArgumentError(`registers ${use.name} and ${name} overlap at ${offset}`);
      use.end = offset + width / 8;
      use.name = name;
    }
  }
}

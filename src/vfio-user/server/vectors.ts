/** Which interrupts a function has. */
import { show } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import type { DeviceVectors } from "./emulated-device.js";

const kinds = ["msix", "msi", "intx"] as const;

/** @throws ArgumentError unless the function has this interrupt; it names those that there are */
export function checkVector(vectors: DeviceVectors, vector: number, kind: keyof DeviceVectors): void {
  const count = kinds.includes(kind) ? vectors[kind] : 0;
  if (Number.isInteger(vector) && vector >= 0 && vector < count) return;
  throw new ArgumentError(`no interrupt ${show(vector)} of ${show(kind)}: the device has ${listOf(vectors)}`);
}

/** The best kind that the function has. */
export function bestKind(vectors: DeviceVectors): keyof DeviceVectors {
  return kinds.find((kind) => vectors[kind] > 0) ?? "msix";
}

/** Such as `vector 0 of "msi", vector 0 of "intx"`. */
export function listOf(vectors: DeviceVectors): string {
  const there = kinds.filter((kind) => vectors[kind] > 0);
  if (there.length === 0) return "none";
  return there
    .map((kind) =>
      vectors[kind] === 1 ? `vector 0 of "${kind}"` : `vectors 0 to ${vectors[kind] - 1} of "${kind}"`,
    )
    .join(", ");
}

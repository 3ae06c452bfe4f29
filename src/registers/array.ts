/** Several registers or blocks of the same form. */
import { checkInteger } from "../core/check.js";

/** Registers or blocks at equal distances. Each is made when it is first asked for. */
export class RegisterArray<T> implements Iterable<T> {
  private readonly made: (T | undefined)[] = [];

  /** @internal */
  constructor(
    private readonly name: string,
    /** How many there are. */
    readonly length: number,
    private readonly make: (index: number) => T,
  ) {}

  /** @param index from 0 @throws ArgumentError if there is none */
  at(index: number): T {
    const found = typeof index === "number" ? this.made[index] : undefined;
    if (found !== undefined) return found;
    checkInteger(`index of ${this.name}`, index, 0, this.length - 1);
    const made = this.make(index);
    this.made[index] = made;
    return made;
  }

  /** In order. */
  *[Symbol.iterator](): Iterator<T> {
    for (let i = 0; i < this.length; i++) yield this.at(i);
  }
}

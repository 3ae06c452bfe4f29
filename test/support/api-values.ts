/** Values for calls of the package's functions: right ones by the shape of a parameter, and wrong ones of every kind. */
import type { ApiShape, Callable, Shape } from "./api-shape.js";

/** What the throwing values throw: an error that the library hands through is the caller's own. */
export class Thrown extends Error {
  override readonly name = "Thrown";
}

/** Random numbers from a seed. */
export class Random {
  constructor(private state: number) {}

  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(list: readonly T[]): T {
    const at = this.below(list.length);
    const value = list[at];
    // An undefined entry is a value like any other.
    return value as T;
  }
}

/** Live values that calls have returned. */
export interface Live {
  /** Open and closed instances of a class or its subclasses. */
  instances(className: string): readonly object[];
  /** All instances. */
  all(): readonly object[];
  readonly numbers: readonly number[];
  readonly bigints: readonly bigint[];
  readonly views: readonly NodeJS.ArrayBufferView[];
}

const edges = [31, 32, 53, 63, 64].flatMap((bits) => [2 ** bits, 2 ** bits - 1, -(2 ** bits)]);
const wrongNumbers = [-1, 0, -0, 0.5, Number.NaN, Infinity, -Infinity, Number.MAX_VALUE, ...edges];
const wrongBigints = [
  -1n,
  0n,
  ...[31n, 32n, 53n, 63n, 64n, 65n].flatMap((bits) => [1n << bits, (1n << bits) - 1n, -(1n << bits)]),
];
const rightNumbers = [0, 1, 2, 3, 4, 5, 7, 8, 16, 28, 64, 100, 512, 1024, 4096, 8192, 65536, 2 ** 20];
const rightBigints = [0n, 1n, 2n, 7n, 8n, 64n, 512n, 4096n, 8192n, 65536n, 1n << 20n];
const viewKinds = [
  Uint8Array,
  Int8Array,
  Uint8ClampedArray,
  Uint16Array,
  Int16Array,
  Uint32Array,
  Int32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
] as const;

/** Makes values. A seed makes the same ones again, except for those that calls returned. */
export class Values {
  constructor(
    private readonly random: Random,
    private readonly api: Pick<ApiShape, "classes" | "types">,
    private readonly live: Live,
    private readonly strings: readonly string[],
    private readonly callback: () => unknown,
    /** Part of all values that are wrong. */
    private readonly wrongness: number,
  ) {}

  /** Arguments for a call; sometimes too few. */
  arguments(callable: Callable): unknown[] {
    const values: unknown[] = [];
    for (const { shape, optional, rest } of callable) {
      if (rest) {
        for (let i = this.random.below(4); i > 0; i--)
          values.push(this.of(shape.is === "list" ? shape.of : shape));
        break;
      }
      if (optional && this.random.chance(0.4)) {
        if (this.random.chance(0.7)) break;
        values.push(undefined);
      } else values.push(this.of(shape));
    }
    if (this.random.chance(0.02)) values.pop();
    return values;
  }

  of(shape: Shape, depth = 0): unknown {
    const { random } = this;
    if (random.chance(this.wrongness)) return this.wrong(depth);
    switch (shape.is) {
      case "number":
        if (random.chance(0.1)) return random.pick(wrongNumbers);
        if (random.chance(0.3) && this.live.numbers.length > 0) return random.pick(this.live.numbers);
        return random.chance(0.2) ? random.below(70_000) : random.pick(rightNumbers);
      case "bigint":
        if (random.chance(0.1)) return random.pick(wrongBigints);
        if (random.chance(0.4) && this.live.bigints.length > 0) return random.pick(this.live.bigints);
        return random.pick(rightBigints);
      case "string":
        return random.pick(this.strings);
      case "boolean":
        return random.chance(0.5);
      case "undefined":
        return undefined;
      case "null":
        return null;
      case "function":
        return this.function();
      case "literal":
        return shape.value;
      case "union":
        return this.of(random.pick(shape.of), depth);
      case "list":
        return Array.from({ length: random.pick([0, 1, 1, 2, 3, 17]) }, () => this.of(shape.of, depth + 1));
      case "tuple":
        return shape.of.map((one) => this.of(one, depth + 1));
      case "object":
        return depth > 5 ? {} : this.object(shape, depth);
      case "name":
        return this.named(shape.name, depth);
      default:
        return this.wrong(depth);
    }
  }

  private object(shape: Shape, depth: number): unknown {
    const made: Record<string, unknown> = {};
    this.fill(made, shape, depth);
    if (this.random.chance(0.03)) made["surplus"] = this.wrong(depth);
    return made;
  }

  private fill(made: Record<string, unknown>, shape: Shape, depth: number): void {
    if (shape.is === "name") {
      const type = this.api.types[shape.name];
      if (type !== undefined) this.fill(made, type, depth);
      return;
    }
    if (shape.is !== "object") return;
    for (const base of shape.bases) this.fill(made, base, depth);
    const names = Object.keys(shape.props);
    // Few at a time: with many, the first wrong one decides.
    const part = names.length > 6 ? 3 / names.length : 0.6;
    for (const name of names) {
      const prop = shape.props[name];
      if (prop !== undefined && this.random.chance(part)) made[name] = this.of(prop, depth + 1);
    }
  }

  private named(name: string, depth: number): unknown {
    const { random, live, api } = this;
    if (api.classes[name] !== undefined) {
      const found = live.instances(name);
      return found.length > 0 ? random.pick(found) : this.wrong(depth);
    }
    const type = api.types[name];
    if (type !== undefined) {
      if (type.is === "object" && Object.values(type.props).some(({ is }) => is === "function")) {
        const names = Object.keys(type.props);
        const alike = live.all().filter((one) => names.every((key) => key in one));
        if (alike.length > 0 && random.chance(0.7)) return random.pick(alike);
      }
      return this.of(type, depth + 1);
    }
    if (/Array$|ArrayBufferView$|^Buffer$/.test(name)) {
      if (random.chance(0.5) && live.views.length > 0) return random.pick(live.views);
      const kind = viewKinds.find((one) => one.name === name) ?? Uint8Array;
      return new kind(random.pick([0, 1, 16, 64, 512, 1024]));
    }
    if (name === "AbortSignal") {
      if (random.chance(0.3)) return AbortSignal.abort(new Thrown("aborted"));
      const controller = new AbortController();
      if (random.chance(0.5))
        setTimeout(() => controller.abort(new Thrown("aborted")), random.below(20)).unref();
      return controller.signal;
    }
    if (/BigInt|iova/i.test(name)) return this.of({ is: "bigint" }, depth);
    if (name.startsWith("SharedArrayBuffer")) return new SharedArrayBuffer(4096);
    if (/Handle$/.test(name)) return this.of({ is: "number" }, depth);
    return random.chance(0.5) ? this.of({ is: "number" }, depth) : this.wrong(depth);
  }

  private function(): unknown {
    switch (this.random.below(5)) {
      case 0:
        return () => {
          throw new Thrown("callback");
        };
      case 1:
        return async () => this.callback();
      case 2:
        return () => this.callback();
      case 3:
        return () => this.wrong(9);
      default:
        return () => {};
    }
  }

  /** A value that is most probably wrong. */
  wrong(depth = 0): unknown {
    const { random } = this;
    const thrower = (): never => {
      throw new Thrown("getter");
    };
    switch (random.below(depth > 3 ? 12 : 24)) {
      case 0:
        return undefined;
      case 1:
        return null;
      case 2:
        return random.chance(0.5);
      case 3:
        return random.pick(wrongNumbers);
      case 4:
        return random.pick(wrongBigints);
      case 5:
        return random.pick([
          "",
          "\0",
          "a\0b",
          "x".repeat(random.pick([256, 5000, 70_000])),
          "..",
          "NaN",
          "7",
          "__proto__",
          "\ud800",
        ]);
      case 6:
        return random.pick([Symbol("s"), Symbol.iterator]);
      case 7:
        return this.function();
      case 8:
        return {};
      case 9:
        return [];
      case 10:
        return Object.create(null);
      case 11:
        return new (random.pick(viewKinds))(3);
      case 12:
        return Array.from({ length: random.pick([1, 2, 1000]) }, () => this.wrong(depth + 2));
      case 13: {
        const buffer = new ArrayBuffer(64);
        const view = new (random.pick([Uint8Array, Uint32Array, BigUint64Array]))(buffer);
        structuredClone(buffer, { transfer: [buffer] });
        return random.chance(0.7) ? view : buffer;
      }
      case 14: {
        const buffer = Reflect.construct(ArrayBuffer, [64, { maxByteLength: 4096 }]) as ArrayBuffer;
        const whole = random.chance(0.5) ? new Uint8Array(buffer) : new Uint8Array(buffer, 32, 16);
        (buffer as { resize?: (bytes: number) => void }).resize?.(random.pick([0, 8, 4096]));
        return whole;
      }
      case 15:
        return random.chance(0.5) ? new SharedArrayBuffer(64) : new Uint8Array(new SharedArrayBuffer(64));
      case 16: {
        const kind = random.pick(viewKinds);
        return new kind(new ArrayBuffer(256), kind.BYTES_PER_ELEMENT * random.below(4), 1 + random.below(9));
      }
      case 17:
        return new DataView(new ArrayBuffer(16), random.below(8));
      case 18:
        return random.chance(0.5)
          ? new Proxy({}, { get: thrower, has: thrower, ownKeys: thrower })
          : new Proxy((): void => {}, { get: thrower, apply: thrower });
      case 19: {
        const names = ["length", "size", "iova", "lease", "signal", "timeoutMs", "bytes", "opcode", "buffer"];
        return Object.defineProperty({}, random.pick(names), { get: thrower, enumerable: true });
      }
      case 20:
        return { [Symbol.toPrimitive]: thrower, toString: thrower, valueOf: thrower };
      case 21:
        return random.pick([
          new Date(Number.NaN),
          /x/,
          new Map(),
          new Set([1]),
          Promise.resolve(1),
          new Error("e"),
          new WeakMap(),
        ]);
      default: {
        const all = this.live.all();
        return all.length > 0 ? random.pick(all) : {};
      }
    }
  }
}

/** A value as text, for reports: never throws. */
export function shown(value: unknown, depth = 0): string {
  try {
    if (typeof value === "string")
      return value.length > 40 ? `"${value.slice(0, 20)}..." of ${value.length}` : JSON.stringify(value);
    if (typeof value === "bigint") return `${value}n`;
    if (typeof value !== "object" || value === null)
      return typeof value === "function" ? "a function" : String(value);
    if (ArrayBuffer.isView(value))
      return `${value.constructor.name}(${value.byteLength} bytes at ${value.byteOffset})`;
    if (Array.isArray(value))
      return depth > 2 || value.length > 8
        ? `[${value.length} values]`
        : `[${value.map((one) => shown(one, depth + 1)).join(", ")}]`;
    const name = (value as object).constructor?.name;
    if (name !== undefined && name !== "Object") return name;
    return depth > 2
      ? "{...}"
      : `{${Object.entries(value)
          .map(([key, one]) => `${key}: ${shown(one, depth + 1)}`)
          .join(", ")}}`;
  } catch {
    return "an object that throws";
  }
}

/**
 * Random operations on address spaces, page tables and devices, against a model that predicts what the kernel answers:
 * 10,000 steps without a divergence, and nothing left behind.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Ioas, Iommufd, type PagingHwpt } from "../../../src/doors/iommufd.js";
import { MappedMemory, SysError } from "../../../src/index.js";
import { MockDevice, mock } from "../../support/mock.js";
import { openDescriptors } from "../../support/proc.js";

const PAGE = 4096n;
const RUNS = 25;
const STEPS = 400;
/** Fixed addresses are drawn from this many pages around the start of the mock's aperture. */
const WINDOW_PAGES = 24;
const WINDOW_START = mock.apertureStart - 4n * PAGE;
const MEMORY_PAGES = 8;

interface Mapping {
  readonly iova: bigint;
  readonly length: bigint;
}

interface ModelIoas {
  readonly real: Ioas;
  readonly mappings: Mapping[];
}

interface ModelHwpt {
  readonly real: PagingHwpt;
  readonly ioas: ModelIoas;
}

interface ModelDevice {
  readonly real: MockDevice;
  on: ModelIoas | ModelHwpt;
}

class World implements Disposable {
  readonly iommufd = Iommufd.open();
  readonly memory = MappedMemory.anonymous(MEMORY_PAGES * Number(PAGE));
  readonly ioases: ModelIoas[] = [];
  readonly hwpts: ModelHwpt[] = [];
  readonly devices: ModelDevice[] = [];
  steps = 0;

  /** Whether an IOMMU translates this address space now: then its aperture and alignment count. */
  hasDomain(ioas: ModelIoas): boolean {
    return (
      this.devices.some(({ on }) => ioasOf(on) === ioas) || this.hwpts.some((hwpt) => hwpt.ioas === ioas)
    );
  }

  [Symbol.dispose](): void {
    for (const { real } of this.devices) real.close();
    this.iommufd.close();
    this.memory.close();
  }
}

function ioasOf(on: ModelIoas | ModelHwpt): ModelIoas {
  return "ioas" in on ? on.ioas : on;
}

function overlaps(a: Mapping, b: Mapping): boolean {
  return a.iova < b.iova + b.length && b.iova < a.iova + a.length;
}

function inAperture({ iova, length }: Mapping): boolean {
  return iova >= mock.apertureStart && iova + length - 1n <= mock.apertureLast;
}

/** Every answer met, so that a run that met only easy ones doesn't pass. */
const met = new Set<string>();

/** The errno name the call fails with, or "ok". Anything but a SysError is a failure of the test. */
function outcome(act: () => void): string {
  let answer = "ok";
  try {
    act();
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    answer = error.code;
  }
  met.add(answer);
  return answer;
}

function pick<T>(list: readonly T[], choice: number): T | undefined {
  return list[choice % Math.max(1, list.length)];
}

/** One kind of step: what it does to both sides, given three random numbers. */
type Step = (world: World, a: number, b: number, c: number) => void;

const steps: Readonly<Record<string, Step>> = {
  allocIoas(world) {
    if (world.ioases.length < 4) world.ioases.push({ real: world.iommufd.allocIoas(), mappings: [] });
  },

  closeIoas(world, a) {
    const ioas = pick(world.ioases, a);
    // The mock device has no detach: what it is attached to stays.
    if (ioas === undefined || world.devices.some(({ on }) => ioasOf(on) === ioas)) return;
    ioas.real.close();
    world.ioases.splice(world.ioases.indexOf(ioas), 1);
    for (const hwpt of world.hwpts.filter((one) => one.ioas === ioas)) {
      expect(hwpt.real.closed).toBe(true);
      world.hwpts.splice(world.hwpts.indexOf(hwpt), 1);
    }
  },

  mapFixed(world, a, b, c) {
    const ioas = pick(world.ioases, a);
    if (ioas === undefined) return;
    const pages = 1 + (c % MEMORY_PAGES);
    const wanted = { iova: WINDOW_START + BigInt(b % WINDOW_PAGES) * PAGE, length: BigInt(pages) * PAGE };
    const memory = { address: world.memory.address, sizeBytes: pages * Number(PAGE) };
    const expected = ioas.mappings.some((mapping) => overlaps(mapping, wanted))
      ? "EEXIST"
      : world.hasDomain(ioas) && !inAperture(wanted)
        ? "EINVAL"
        : "ok";
    const got = outcome(() => expect(ioas.real.map(memory, { iova: wanted.iova })).toBe(wanted.iova));
    // Overlap and reserved range at once: the kernel may name either.
    if (expected === "EEXIST" && world.hasDomain(ioas) && !inAperture(wanted))
      expect(got).toMatch(/EEXIST|EINVAL/);
    else expect(got).toBe(expected);
    if (got === "ok") ioas.mappings.push(wanted);
  },

  mapAnywhere(world, a, _, c) {
    const ioas = pick(world.ioases, a);
    if (ioas === undefined || ioas.mappings.length > 40) return;
    const pages = 1 + (c % MEMORY_PAGES);
    const iova = ioas.real.map({ address: world.memory.address, sizeBytes: pages * Number(PAGE) });
    const made = { iova, length: BigInt(pages) * PAGE };
    expect(ioas.mappings.some((mapping) => overlaps(mapping, made))).toBe(false);
    if (world.hasDomain(ioas)) expect(inAperture(made)).toBe(true);
    ioas.mappings.push(made);
  },

  unmapOne(world, a, b) {
    const ioas = pick(world.ioases, a);
    const mapping = ioas === undefined ? undefined : pick(ioas.mappings, b);
    if (ioas === undefined || mapping === undefined) return;
    expect(ioas.real.unmap(mapping.iova, Number(mapping.length))).toBe(Number(mapping.length));
    ioas.mappings.splice(ioas.mappings.indexOf(mapping), 1);
  },

  unmapRange(world, a, b, c) {
    const ioas = pick(world.ioases, a);
    if (ioas === undefined) return;
    const range = {
      iova: WINDOW_START + BigInt(b % WINDOW_PAGES) * PAGE,
      length: BigInt(1 + (c % WINDOW_PAGES)) * PAGE,
    };
    const touched = ioas.mappings.filter((mapping) => overlaps(mapping, range));
    const cut = touched.some(
      ({ iova, length }) => iova < range.iova || iova + length > range.iova + range.length,
    );
    if (cut) {
      // Mappings below the cut one may have gone already, so the model asks for nothing but the refusal.
      if (touched.length > 1) return;
      expect(outcome(() => ioas.real.unmap(range.iova, Number(range.length)))).toBe("ENOENT");
      return;
    }
    const expected = touched.reduce((sum, { length }) => sum + length, 0n);
    if (expected === 0n)
      expect(outcome(() => ioas.real.unmap(range.iova, Number(range.length)))).toBe("ENOENT");
    else expect(ioas.real.unmap(range.iova, Number(range.length))).toBe(Number(expected));
    for (const mapping of touched) ioas.mappings.splice(ioas.mappings.indexOf(mapping), 1);
  },

  unmapAll(world, a, b) {
    const ioas = pick(world.ioases, a);
    if (ioas === undefined || b % 8 !== 0) return;
    expect(ioas.real.unmapAll()).toBe(ioas.mappings.reduce((sum, { length }) => sum + length, 0n));
    ioas.mappings.length = 0;
  },

  copy(world, a, b, c) {
    const from = pick(world.ioases, a);
    const to = pick(world.ioases, b);
    const mapping = from === undefined ? undefined : pick(from.mappings, c);
    if (from === undefined || to === undefined || mapping === undefined || to.mappings.length > 40) return;
    const iova = to.real.copyFrom(from.real, mapping.iova, Number(mapping.length));
    const made = { iova, length: mapping.length };
    expect(to.mappings.some((other) => overlaps(other, made))).toBe(false);
    to.mappings.push(made);
  },

  addDevice(world, a) {
    const ioas = pick(world.ioases, a);
    if (ioas === undefined || world.devices.length >= 4) return;
    const expected = ioas.mappings.every(inAperture) ? "ok" : "EADDRINUSE";
    const got = outcome(() => {
      world.devices.push({ real: MockDevice.create(ioas.real), on: ioas });
    });
    expect(got).toBe(expected);
  },

  closeDevice(world, a) {
    const device = pick(world.devices, a);
    if (device === undefined) return;
    device.real.close();
    world.devices.splice(world.devices.indexOf(device), 1);
  },

  replace(world, a, b, c) {
    const device = pick(world.devices, a);
    const target = c % 2 === 0 ? pick(world.ioases, b) : pick(world.hwpts, b);
    if (device === undefined || target === undefined) return;
    const expected = ioasOf(target).mappings.every(inAperture) ? "ok" : "EADDRINUSE";
    const got = outcome(() => {
      device.real.replace(target.real);
    });
    expect(got).toBe(expected);
    if (got === "ok") device.on = target;
  },

  allocHwpt(world, a, b) {
    const ioas = pick(world.ioases, a);
    const device = pick(world.devices, b);
    if (ioas === undefined || device === undefined || world.hwpts.length >= 4) return;
    const expected = ioas.mappings.every(inAperture) ? "ok" : "EADDRINUSE";
    const got = outcome(() => {
      world.hwpts.push({ real: ioas.real.allocHwpt(device.real), ioas });
    });
    expect(got).toBe(expected);
  },

  closeHwpt(world, a) {
    const hwpt = pick(world.hwpts, a);
    if (hwpt === undefined || world.devices.some(({ on }) => on === hwpt)) return;
    hwpt.real.close();
    world.hwpts.splice(world.hwpts.indexOf(hwpt), 1);
  },

  askRanges(world, a) {
    const ioas = pick(world.ioases, a);
    if (ioas === undefined) return;
    const { ranges, alignmentBytes } = ioas.real.iovaRanges();
    const domain = world.hasDomain(ioas);
    expect(alignmentBytes).toBe(domain ? mock.pageSizeBytes : 1);
    expect(ranges).toEqual([
      domain
        ? { start: mock.apertureStart, last: mock.apertureLast }
        : { start: 0n, last: 0xffff_ffff_ffff_ffffn },
    ]);
  },
};

class StepCommand implements fc.Command<Record<string, never>, World> {
  constructor(
    private readonly name: string,
    private readonly numbers: readonly [number, number, number],
  ) {}

  check(): boolean {
    return true;
  }

  run(_: Record<string, never>, world: World): void {
    world.steps++;
    steps[this.name]?.(world, ...this.numbers);
  }

  toString(): string {
    return `${this.name}(${this.numbers.join(", ")})`;
  }
}

describe("a model of address spaces, page tables and devices", () => {
  test("agrees with the kernel through 10,000 random steps, which leave nothing behind", () => {
    const before = openDescriptors();
    const numbers = fc.tuple(fc.nat(1 << 16), fc.nat(1 << 16), fc.nat(1 << 16));
    const commands = Object.keys(steps).map((name) => numbers.map((three) => new StepCommand(name, three)));
    let total = 0;
    while (total < RUNS * STEPS) {
      fc.assert(
        fc.property(fc.commands(commands, { maxCommands: STEPS, size: "max" }), (sequence) => {
          using world = new World();
          fc.modelRun(() => ({ model: {}, real: world }), sequence);
          total += world.steps;
        }),
        { numRuns: 5 },
      );
    }
    expect(total).toBeGreaterThanOrEqual(RUNS * STEPS);
    expect([...met].sort()).toEqual(["EADDRINUSE", "EEXIST", "EINVAL", "ENOENT", "ok"]);
    expect(openDescriptors()).toBe(before);
  }, 600_000);
});

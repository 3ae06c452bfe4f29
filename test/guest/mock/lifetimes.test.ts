/** The tree of iommufd objects: closing in any order, and forgotten objects. */
import { describe, expect, test } from "vitest";
import { Lease } from "../../../src/core/lifetime/lease.js";
import { type Ioas, Iommufd, type NestedHwpt, Viommu } from "../../../src/doors/iommufd.js";
import { MappedMemory, type Resource, SysError } from "../../../src/index.js";
import { useForgottenWarnings } from "../../support/forgotten.js";
import { collectUntil } from "../../support/gc.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";
import { MockDevice, mock, mockHwptData } from "../../support/mock.js";
import { PAGE } from "../../support/mock-domain.js";
import { destroyAnswer } from "../../support/raw-iommufd.js";

/** Hundreds of trees of devices, which come and go slowly under emulation. */
const LONG = { timeout: 600_000 };

/** One of every object that an iommufd has, all hanging on each other. */
class Tree {
  readonly iommufd: Iommufd = Iommufd.open();
  readonly memory = MappedMemory.anonymous(PAGE);
  readonly parts: Readonly<Record<string, Resource & { readonly id?: number }>>;

  /**
   * @param tied the device goes before its page table, as VfioDevice.attach() has it; a mock device can't be detached
   * and so goes as a whole
   */
  constructor(tied: boolean) {
    const { iommufd, memory } = this;
    const ioas: Ioas = iommufd.allocIoas();
    const device = MockDevice.create(ioas, { pasid: true });
    const faults = iommufd.allocFaultQueue();
    const parent = ioas.allocHwpt(device, { nestParent: true });
    const viommu = Viommu.alloc(parent, device, { type: mock.viommuType, bytes: new Uint8Array(0) });
    const nested = viommu.allocNested(device, mockHwptData(0), { faultQueue: faults });
    const vdevice = viommu.allocVdevice(device, 1n);
    const events = viommu.allocVeventq({ type: mock.veventqType, depth: 2, eventBytes: 4 });
    const at = ioas.map(memory);
    const queue = viommu.allocHwQueue(mock.hwQueueType, 0, at, PAGE / 2);
    const nextQueue = viommu.allocHwQueue(mock.hwQueueType, 1, at + BigInt(PAGE / 2), PAGE / 2);
    device.replace(nested);
    if (tied) {
      const { lease } = device;
      void new Lease("attachment", () => lease.close(), nested.lease);
    }
    // Something pending in both queues makes no difference.
    device.triggerFault();
    device.triggerVevent();
    this.parts = { ioas, device, faults, parent, viommu, nested, vdevice, events, queue, nextQueue };
  }

  close(): void {
    this.iommufd.close();
    this.memory.close();
  }
}

function* permutations<T>(items: readonly T[]): Generator<T[]> {
  if (items.length === 0) yield [];
  for (const [i, item] of items.entries()) {
    for (const rest of permutations([...items.slice(0, i), ...items.slice(i + 1)])) yield [item, ...rest];
  }
}

/** Five at a time: all orders of them, while the others are still open and go with the iommufd. */
const handfuls = [
  ["device", "ioas", "parent", "nested", "faults"],
  ["device", "viommu", "vdevice", "events", "nested"],
  ["ioas", "viommu", "queue", "nextQueue", "vdevice"],
] as const;

describe("a full tree of objects", LONG, () => {
  expectNothingLeft();

  test.each(handfuls)("can be closed in the order %s, %s, %s, %s, %s", (...names) => {
    const before = holdings();
    let orders = 0;
    for (const order of permutations(names)) {
      const tree = new Tree(true);
      for (const name of order) {
        const part = tree.parts[name];
        expect(() => part?.close(), `${order.join(", ")}: ${name}`).not.toThrow();
        expect(part?.closed).toBe(true);
        if (part?.id !== undefined) expect(destroyAnswer(tree.iommufd.fd, part.id)).toBe("ENOENT");
      }
      tree.close();
      for (const [name, part] of Object.entries(tree.parts)) expect(part.closed, name).toBe(true);
      orders++;
    }
    expect(orders).toBe(120);
    expect(holdings()).toEqual(before);
  });

  test("can be closed one by one from either end of the tree", () => {
    for (const turn of [(names: string[]) => names, (names: string[]) => names.reverse()]) {
      const tree = new Tree(true);
      const names = turn(Object.keys(tree.parts));
      expect(names).toHaveLength(10);
      for (const name of names) {
        const part = tree.parts[name];
        expect(() => part?.close(), name).not.toThrow();
        // Twice is as good as once.
        expect(() => part?.close(), name).not.toThrow();
        if (part?.id !== undefined) expect(destroyAnswer(tree.iommufd.fd, part.id)).toBe("ENOENT");
      }
      tree.close();
    }
  });

  test("names what can't be closed while a device is attached to it", () => {
    // Without the tie the library can't know of the attachment: the kernel says it, and we name the object.
    for (const name of ["nested", "viommu", "parent"]) {
      const tree = new Tree(false);
      const { [name]: part, nested, device } = tree.parts;
      const refused = failures(() => part?.close());
      expect(refused[0]).toMatchObject({ object: nested?.lease.label });
      expect(refused.map(({ code }) => code)).toEqual(refused.map(() => "EBUSY"));
      // Nothing is lost: it is still there, and goes when the device is gone.
      expect([part?.closed, nested?.closed]).toEqual([false, false]);
      device?.close();
      part?.close();
      expect([part?.closed, nested?.closed]).toEqual([true, true]);
      for (const gone of [part?.id, nested?.id]) {
        if (gone !== undefined) expect(destroyAnswer(tree.iommufd.fd, gone)).toBe("ENOENT");
      }
      tree.close();
    }
  });

  test("closes a fault queue's descriptor although a device holds the object, which ends with the iommufd", () => {
    {
      const tree = new Tree(false);
      const { faults: part, nested, device } = tree.parts;
      const refused = failures(() => part?.close());
      expect(refused[0]).toMatchObject({ object: nested?.lease.label });
      expect(part?.closed).toBe(true);
      device?.close();
      const left = failures(() => tree.iommufd.close());
      expect(left.map(({ code }) => code)).toEqual(left.map(() => "EBUSY"));
      expect(tree.iommufd.closed).toBe(true);
      tree.memory.close();
    }
  });
});

/** What a close ends with: the errors of all that it tried, and at least one. */
function failures(close: () => void): SysError[] {
  let thrown: unknown;
  try {
    close();
  } catch (error) {
    thrown = error;
  }
  const all: unknown[] = thrown instanceof AggregateError ? thrown.errors : [thrown];
  return all.map((error) => {
    if (error instanceof SysError) return error;
    throw new Error("no SysError was thrown", { cause: error });
  });
}

describe("forgotten objects", LONG, () => {
  expectNothingLeft();

  const { messages, warned } = useForgottenWarnings();

  test("free page tables", async () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = MockDevice.create(ioas);
    // In a function of its own, so that nothing on the stack keeps what is dropped.
    const forget = (): number => ioas.allocHwpt(device, { nestParent: true }).id;
    const id = forget();
    expect(await warned(new RegExp(`^hwpt ${id} of .* was never closed`))).toBe(true);
    expect(destroyAnswer(iommufd.fd, id)).toBe("ENOENT");
  });

  test("free a virtual IOMMU with everything that depends on it", async () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = MockDevice.create(ioas);
    using parent = ioas.allocHwpt(device, { nestParent: true });
    using memory = MappedMemory.anonymous(PAGE);
    const at = ioas.map(memory);
    const forget = (): number[] => {
      const viommu = Viommu.alloc(parent, device, { type: mock.viommuType, bytes: new Uint8Array(0) });
      const nested = viommu.allocNested(device, mockHwptData(0));
      const vdevice = viommu.allocVdevice(device, 1n);
      const events = viommu.allocVeventq({ type: mock.veventqType, depth: 2, eventBytes: 4 });
      const queue = viommu.allocHwQueue(mock.hwQueueType, 0, at, PAGE);
      return [viommu, nested, vdevice, events, queue].map(({ id }) => id);
    };
    const ids = forget();
    expect(await warned(/^viommu .* was never closed/)).toBe(true);
    for (const id of ids) expect(destroyAnswer(iommufd.fd, id)).toBe("ENOENT");
    // Nobody owns its memory any more.
    expect(ioas.unmap(at, PAGE)).toBe(PAGE);
    parent.close();
  });

  test("keep a virtual IOMMU while anything of it is reachable", async () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = MockDevice.create(ioas);
    const kept: { nested?: NestedHwpt } = {};
    const make = (): void => {
      const parent = ioas.allocHwpt(device, { nestParent: true });
      const viommu = Viommu.alloc(parent, device, { type: mock.viommuType, bytes: new Uint8Array(0) });
      const faultQueue = iommufd.allocFaultQueue();
      kept.nested = viommu.allocNested(device, mockHwptData(0), { faultQueue });
    };
    make();
    let rounds = 0;
    await collectUntil(() => ++rounds > 4);
    expect(messages).toEqual([]);
    const finish = (): void => {
      expect(kept.nested?.closed).toBe(false);
      kept.nested?.close();
      delete kept.nested;
    };
    finish();
    // All become garbage at once, in no order: the vIOMMU may go with its parent, without a warning of its own.
    expect(await warned(/^hwpt .* was never closed/)).toBe(true);
    expect(await warned(/^fault queue .* was never closed/)).toBe(true);
  });

  test("keep a queue while a program waits for it", async () => {
    using iommufd = Iommufd.open();
    const wait = (): Promise<IteratorResult<unknown>> =>
      iommufd.allocFaultQueue()[Symbol.asyncIterator]().next();
    const next = wait();
    let rounds = 0;
    await collectUntil(() => ++rounds > 4);
    expect(messages).toEqual([]);
    iommufd.close();
    expect(await next).toEqual({ done: true, value: undefined });
  });
});

/** Fault queues and virtual event queues: waiting, and what they deliver. */
import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { FaultQueue, NestedHwpt, PageResponse, Vdevice, Veventq } from "../../../src/doors/iommufd.js";
import { caught } from "../../support/caught.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { mock, mockHwptData } from "../../support/mock.js";
import { MockNesting } from "../../support/mock-nesting.js";

let nesting: MockNesting;
let faults: FaultQueue;
let vdevice: Vdevice;
/** The device's page table: referenced, so that it isn't collected while the device uses it. */
let table: NestedHwpt;

/** A device on a nested page table of a virtual IOMMU, whose faults and events both have somewhere to go. */
function prepare(): void {
  nesting = new MockNesting();
  const { iommufd, device, viommu } = nesting;
  faults = iommufd.allocFaultQueue();
  vdevice = viommu.allocVdevice(device, 0x77n);
  table = viommu.allocNested(device, mockHwptData(0), { faultQueue: faults });
  device.replace(table);
}

function events(depth = 4): Veventq {
  return nesting.viommu.allocVeventq({ type: mock.veventqType, depth, eventBytes: 4 });
}

/** Both queues behave alike as streams; what is in them differs. */
const queues = [
  {
    kind: "fault queue",
    open: (): FaultQueue | Veventq => faults,
    trigger: (): void => nesting.device.triggerFault(),
    expected: (): unknown => ({ deviceId: nesting.device.deviceId }),
  },
  {
    kind: "event queue",
    open: (): FaultQueue | Veventq => events(),
    trigger: (): void => nesting.device.triggerVevent(),
    expected: (): unknown => ({ kind: "event" }),
  },
];

/** A few turns of the event loop: whatever was going to happen by itself has happened. */
async function turns(): Promise<void> {
  for (let i = 0; i < 10; i++) await setImmediate();
}

describe("an event queue", () => {
  expectNothingLeft();
  beforeEach(prepare);
  afterEach(() => nesting[Symbol.dispose]());

  test.each([0, 3, 5, 8])("detects that its events don't have the %i bytes that it expects", (eventBytes) => {
    const queue = nesting.viommu.allocVeventq({ type: mock.veventqType, depth: 4, eventBytes });
    nesting.device.triggerVevent();
    expect(() => queue.take()).toThrow(/correct eventBytes|EINVAL/);
  });
});

describe.each(queues)("waiting on a $kind", ({ open, trigger, expected }) => {
  expectNothingLeft();
  beforeEach(prepare);
  afterEach(() => nesting[Symbol.dispose]());

  /** Has the promise been settled? */
  const settled = async (promise: Promise<unknown>): Promise<boolean> => {
    let is = false;
    const note = (): void => {
      is = true;
    };
    promise.then(note, note);
    await turns();
    return is;
  };

  test("doesn't end while the queue is empty", async () => {
    const stream = open()[Symbol.asyncIterator]();
    const next = stream.next();
    expect(await settled(next)).toBe(false);
    trigger();
    expect(await next).toMatchObject({ done: false, value: expected() });
    const again = stream.next();
    expect(await settled(again)).toBe(false);
    trigger();
    expect(await again).toMatchObject({ done: false, value: expected() });
    await stream.return?.();
  });

  test("returns earlier events one by one", async () => {
    const queue = open();
    for (let i = 0; i < 3; i++) trigger();
    let count = 0;
    for await (const item of queue) {
      expect(item).toMatchObject({ ...Object(expected()) });
      if (++count === 3) break;
    }
    expect(count).toBe(3);
    expect(queue.take()).toEqual([]);
  });

  test("ends when the queue is closed", async () => {
    const queue = open();
    const stream = queue[Symbol.asyncIterator]();
    const next = stream.next();
    expect(await settled(next)).toBe(false);
    // A queue in use by a page table takes that along, which a device must have left.
    nesting.device.replace(nesting.ioas);
    queue.close();
    expect(await next).toEqual({ done: true, value: undefined });
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    const after: unknown[] = [];
    for await (const item of queue) after.push(item);
    expect(after).toEqual([]);
    expect(() => queue.take()).toThrow(expect.objectContaining({ code: "ERR_IOVA_CLOSED" }));
  });

  test("ends when the iommufd is closed", async () => {
    const next = open()[Symbol.asyncIterator]().next();
    expect(await settled(next)).toBe(false);
    nesting.device.replace(nesting.ioas);
    nesting.iommufd.close();
    expect(await next).toEqual({ done: true, value: undefined });
  });

  test("ends when the waiter stops, and another may wait", async () => {
    const queue = open();
    const stream = queue[Symbol.asyncIterator]();
    const next = stream.next();
    expect(await settled(next)).toBe(false);
    await stream.return?.();
    expect(await next).toEqual({ done: true, value: undefined });
    const other = queue[Symbol.asyncIterator]();
    const later = other.next();
    trigger();
    expect(await later).toMatchObject({ done: false, value: expected() });
    await other.return?.();
  });

  test("is possible for only one caller at a time", async () => {
    const queue = open();
    const stream = queue[Symbol.asyncIterator]();
    const other = queue[Symbol.asyncIterator]();
    const next = stream.next();
    expect(await caught(stream.next())).toMatchObject({ name: "StateError" });
    expect(await caught(other.next())).toMatchObject({ name: "BusyError", code: "ERR_IOVA_BUSY" });
    trigger();
    expect(await next).toMatchObject({ done: false });
    // The one that was refused is as good as new.
    const later = other.next();
    trigger();
    expect(await later).toMatchObject({ done: false, value: expected() });
    await Promise.all([stream.return?.(), other.return?.()]);
  });
});

describe("page requests", () => {
  expectNothingLeft();
  beforeEach(prepare);
  afterEach(() => nesting[Symbol.dispose]());

  test("say what the device requested", () => {
    const { device } = nesting;
    const wanted = [
      [1, { read: true, write: false, execute: false, privileged: false }],
      [2, { read: false, write: true, execute: false, privileged: false }],
      [4, { read: false, write: false, execute: true, privileged: false }],
      [8, { read: false, write: false, execute: false, privileged: true }],
      [15, { read: true, write: true, execute: true, privileged: true }],
    ] as const;
    wanted.forEach(([perm], i) => {
      device.triggerFault({ perm, groupId: i, address: BigInt(i) << 40n, pasid: i });
    });
    const groups = faults.take();
    expect(groups.map(({ groupId, pasid, requests }) => ({ groupId, pasid, requests }))).toEqual(
      wanted.map(([, access], i) => ({
        groupId: i,
        pasid: i === 0 ? undefined : i,
        requests: [{ address: BigInt(i) << 40n, lengthBytes: 0, ...access }],
      })),
    );
    // In any order, each once.
    for (const group of groups.reverse()) {
      for (const response of ["toString", "succes", "__proto__"] as unknown as PageResponse[])
        expect(() => group.respond(response)).toThrow("response must be one of ");
      group.respond("success");
    }
    for (const group of groups) {
      expect(() => group.respond("success")).toThrow(expect.objectContaining({ code: "ERR_IOVA_STATE" }));
    }
  });

  test("can't be answered after their page table or queue is closed", () => {
    const { device, ioas } = nesting;
    device.triggerFault();
    device.triggerFault();
    const [first, second] = faults.take();
    // The device's requests are answered for it when it leaves the page table.
    device.replace(ioas);
    expect(() => first?.respond("success")).toThrow(
      expect.objectContaining({ syscall: "write", code: "EINVAL" }),
    );
    faults.close();
    expect(() => second?.respond("success")).toThrow(expect.objectContaining({ code: "ERR_IOVA_CLOSED" }));
  });

  test("are returned by further reads if one can't hold all", () => {
    const { device } = nesting;
    const many = 600;
    for (let i = 0; i < many; i++) device.triggerFault({ groupId: i });
    const groups = [...faults.take(), ...faults.take()];
    expect(groups.map(({ groupId }) => groupId)).toEqual(Array.from({ length: many }, (_, i) => i));
    expect(faults.take()).toEqual([]);
    for (const group of groups) group.respond("invalid");
  });
});

describe("events", () => {
  expectNothingLeft();
  beforeEach(prepare);
  afterEach(() => nesting[Symbol.dispose]());

  test("are counted, and tell when some were lost", async () => {
    const depth = 3;
    const queue = events(depth);
    expect(vdevice.virtualId).toBe(0x77n);
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < depth + 5; i++) nesting.device.triggerVevent();
      const kinds: string[] = [];
      for await (const event of queue) {
        kinds.push(event.kind);
        if (event.kind === "lost") break;
      }
      expect(kinds).toEqual([...Array.from({ length: depth }, () => "event"), "lost"]);
      expect(queue.take()).toEqual([]);
    }
  });

  test("are returned by further reads if one can't hold all", () => {
    const many = 100;
    const queue = events(many);
    for (let i = 0; i < many; i++) nesting.device.triggerVevent();
    const taken = [...queue.take(), ...queue.take()];
    expect(taken.map(({ sequence }) => sequence)).toEqual(Array.from({ length: many }, (_, i) => i));
    expect(queue.take()).toEqual([]);
  });
});

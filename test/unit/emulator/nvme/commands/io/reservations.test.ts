/** Reservations of two hosts, each on a controller of its own of one NVM subsystem. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { identifyController, identifyNamespace } from "../../../../../../src/nvme/spec/identify.js";
import { ReservationNotification, reservationLog } from "../../../../../../src/nvme/spec/log-pages.js";
import {
  AdminOpcode,
  AsyncEventInfo,
  AsyncEventType,
  FeatureId,
  IdentifyCns,
  IoOpcode,
  LogPageId,
} from "../../../../../../src/nvme/spec/opcodes.js";
import { reservationTypes } from "../../../../../../src/nvme/spec/reservations.js";
import { NvmeStatus } from "../../../../../../src/nvme/spec/status.js";
import { NvmeTestHost, SUCCESS, type TestQueue } from "../../../../../support/nvme-host.js";

const { reservationConflict } = NvmeStatus;
const slowReads = { kind: "latency", opcode: IoOpcode.read, latencyMs: 600_000 } as const;

/** A host on its controller. */
class Party {
  readonly io: TestQueue;
  private readonly data: number;

  constructor(
    readonly nvme: NvmeTestHost,
    readonly key: bigint,
  ) {
    nvme.enable();
    this.io = nvme.createIo();
    this.data = nvme.alloc(4096);
  }

  /** Sets the Host Identifier. @returns the status */
  identify(id: number, extended = true): number {
    const bytes = this.nvme.bytes(this.data, 16);
    bytes.fill(0);
    bytes[0] = id;
    return this.nvme.admin.run({
      opcode: AdminOpcode.setFeatures,
      cdw10: FeatureId.hostIdentifier,
      cdw11: extended ? 1 : 0,
      prp1: this.nvme.iova(this.data),
    }).status;
  }

  run(opcode: number, cdw10 = 0): number {
    return this.io.run({ opcode, nsid: 1, cdw10, prp1: this.nvme.iova(this.data) }).status;
  }

  private keyed(opcode: number, cdw10: number, ...keys: readonly bigint[]): number {
    const view = new DataView(this.nvme.ram.buffer, this.nvme.bytes(this.data, 16).byteOffset);
    for (const [i, key] of keys.entries()) view.setBigUint64(8 * i, key, true);
    return this.run(opcode, cdw10);
  }

  register(): number {
    return this.keyed(IoOpcode.reservationRegister, 0, 0n, this.key);
  }

  unregister(): number {
    return this.keyed(IoOpcode.reservationRegister, 1, this.key, 0n);
  }

  acquire(type: number): number {
    return this.keyed(IoOpcode.reservationAcquire, type << 8, this.key, 0n);
  }

  preempt(type: number, preempted: bigint, aborts = false): number {
    return this.keyed(IoOpcode.reservationAcquire, (aborts ? 2 : 1) | (type << 8), this.key, preempted);
  }

  release(type: number): number {
    return this.keyed(IoOpcode.reservationRelease, type << 8, this.key);
  }

  clear(): number {
    return this.keyed(IoOpcode.reservationRelease, 1, this.key);
  }

  /** The oldest notification, which it takes off the log. */
  notification(): { type: number; available: number; nsid: number; count: bigint } {
    const { status, page } = this.nvme.log(LogPageId.reservationNotification, 64);
    expect(status).toBe(SUCCESS);
    return reservationLog.decode(page);
  }
}

let hosts: NvmeTestHost[] = [];
let a: Party;
let b: Party;

beforeEach(() => {
  const first = new NvmeTestHost();
  const second = new NvmeTestHost({}, false, undefined, first.device.peer(false));
  hosts = [second, first];
  a = new Party(first, 0xaan);
  b = new Party(second, 0xbbn);
  expect([a.identify(1), b.identify(2)]).toEqual([SUCCESS, SUCCESS]);
});
afterEach(() => {
  for (const each of hosts) each[Symbol.dispose]();
});

describe("two controllers of one NVM subsystem", () => {
  test("share namespaces and data, and tell so", () => {
    const at = a.nvme.alloc(4096);
    a.nvme.bytes(at, 512).fill(0x5a);
    expect(a.io.run({ opcode: IoOpcode.write, nsid: 1, prp1: a.nvme.iova(at) }).status).toBe(SUCCESS);
    const to = b.nvme.alloc(4096);
    expect(b.io.run({ opcode: IoOpcode.read, nsid: 1, prp1: b.nvme.iova(to) }).status).toBe(SUCCESS);
    expect(b.nvme.bytes(to, 512).every((byte) => byte === 0x5a)).toBe(true);
    const identified = [a, b].map(({ nvme }) =>
      identifyController.decode(nvme.identify(IdentifyCns.controller).page),
    );
    expect(identified.map(({ cntlid, cmic }) => [cntlid, cmic])).toEqual([
      [1, 2],
      [2, 2],
    ]);
    expect(identified[0]?.subnqn).toBe(identified[1]?.subnqn);
    expect(identifyNamespace.decode(b.nvme.identify(IdentifyCns.namespace, 1).page).nmic).toBe(1);
    const list = new Uint16Array(b.nvme.identify(IdentifyCns.controllers).page.buffer);
    expect([...list.subarray(0, 3)]).toEqual([2, 1, 2]);
  });

  test("hear of each other's changes of namespaces", () => {
    expect(a.nvme.admin.run({ opcode: AdminOpcode.formatNvm, nsid: 1 }).status).toBe(SUCCESS);
    const { page } = b.nvme.log(LogPageId.changedNamespaces, 4096);
    expect(new DataView(page.buffer, page.byteOffset).getUint32(0, true)).toBe(1);
  });

  test("aren't moved, and close with the first", () => {
    b.nvme.device.migration.stop();
    expect(() => b.nvme.device.migration.save()).toThrow(/subsystem of 2 controllers/);
    b.nvme.device.migration.start();
    const { device } = a.nvme;
    device.close();
    expect(b.nvme.device.closed).toBe(true);
    expect(() => device.peer()).toThrow(/closed/);
  });

  test("can't be where one caches blocks in its host's memory", () => {
    using host = new NvmeTestHost({ hostMemoryBytes: 4 << 20 });
    expect(() => host.device.peer()).toThrow(/hostMemoryBytes/);
  });
});

describe("a reservation", () => {
  const no = reservationConflict;
  test.each([
    // Type, and what becomes of a read and a write by another host that isn't registered, and by one that is.
    [1, [SUCCESS, no], [SUCCESS, no]],
    [2, [no, no], [no, no]],
    [3, [SUCCESS, no], [SUCCESS, SUCCESS]],
    [4, [no, no], [SUCCESS, SUCCESS]],
    [5, [SUCCESS, no], [SUCCESS, SUCCESS]],
    [6, [no, no], [SUCCESS, SUCCESS]],
  ])(`of type %i keeps the other host out`, (type, foreign, registered) => {
    expect(reservationTypes[type]).toBeDefined();
    expect([a.register(), a.acquire(type)]).toEqual([SUCCESS, SUCCESS]);
    const outcome = (party: Party): number[] => [party.run(IoOpcode.read), party.run(IoOpcode.write)];
    expect(outcome(b)).toEqual(foreign);
    expect(b.run(IoOpcode.flush)).toBe(no);
    expect(outcome(a)).toEqual([SUCCESS, SUCCESS]);
    expect(b.acquire(type)).toBe(no);
    expect(b.register()).toBe(SUCCESS);
    expect(outcome(b)).toEqual(registered);
    expect(a.release(type)).toBe(SUCCESS);
    expect(outcome(b)).toEqual([SUCCESS, SUCCESS]);
  });

  test("keeps the other host from formatting", () => {
    expect([a.register(), a.acquire(1)]).toEqual([SUCCESS, SUCCESS]);
    expect(b.nvme.admin.run({ opcode: AdminOpcode.formatNvm, nsid: 1 }).status).toBe(no);
    expect(b.nvme.admin.run({ opcode: AdminOpcode.sanitizeNamespace, nsid: 1, cdw10: 4 }).status).toBe(no);
    expect(a.nvme.admin.run({ opcode: AdminOpcode.formatNvm, nsid: 1 }).status).toBe(SUCCESS);
  });

  test("is reported with both hosts, their keys and controllers", () => {
    expect([a.register(), b.register(), a.acquire(3)]).toEqual([SUCCESS, SUCCESS, SUCCESS]);
    const at = b.nvme.alloc(4096);
    const cdw10 = 192 / 4 - 1;
    const command = { opcode: IoOpcode.reservationReport, nsid: 1, cdw10, cdw11: 1, prp1: b.nvme.iova(at) };
    expect(b.io.run(command).status).toBe(SUCCESS);
    const view = new DataView(b.nvme.ram.buffer, b.nvme.bytes(at, 192).byteOffset);
    expect([view.getUint32(0, true), view.getUint8(4), view.getUint16(5, true)]).toEqual([2, 3, 2]);
    const registrants = [64, 128].map((each) => [
      view.getUint16(each, true),
      view.getUint8(each + 2),
      view.getBigUint64(each + 8, true),
      view.getUint8(each + 16),
    ]);
    expect(registrants).toEqual([
      [1, 1, 0xaan, 1],
      [2, 0, 0xbbn, 2],
    ]);
  });

  test("outlasts a reset of its controller, whose host is known by its identifier", () => {
    expect([a.register(), a.acquire(2)]).toEqual([SUCCESS, SUCCESS]);
    a.nvme.device.reset();
    const again = new Party(a.nvme, 0xaan);
    expect(again.run(IoOpcode.read)).toBe(no);
    expect(again.identify(1)).toBe(SUCCESS);
    expect(again.run(IoOpcode.read)).toBe(SUCCESS);
    expect(again.identify(3)).toBe(NvmeStatus.commandSequenceError);
  });

  test("belongs to both controllers of one host", () => {
    b.nvme.device.reset();
    const other = new Party(b.nvme, 0xaan);
    expect(other.identify(1, false)).toBe(SUCCESS);
    expect([a.register(), a.acquire(2)]).toEqual([SUCCESS, SUCCESS]);
    expect(other.run(IoOpcode.write)).toBe(SUCCESS);
    expect(other.release(2)).toBe(SUCCESS);
  });
});

describe("notifications", () => {
  const { registrationPreempted, reservationReleased, reservationPreempted, empty } = ReservationNotification;

  test("tell both hosts what the other one did, by an event and log page 80h", () => {
    for (const party of [a, b]) party.nvme.admin.post({ opcode: AdminOpcode.asyncEventRequest, cid: 99 });
    expect([a.register(), b.register(), a.acquire(3)]).toEqual([SUCCESS, SUCCESS, SUCCESS]);
    expect(b.notification()).toMatchObject({ type: empty, count: 0n });
    expect(b.preempt(2, 0xaan)).toBe(SUCCESS);
    a.nvme.device.pump();
    const dw0 =
      AsyncEventType.ioCommandSet |
      (AsyncEventInfo.ioCommandSet.reservationLogAvailable << 8) |
      (LogPageId.reservationNotification << 16);
    expect(a.nvme.admin.take()).toMatchObject({ cid: 99, status: SUCCESS, dw0 });
    expect(a.notification()).toMatchObject({ type: registrationPreempted, nsid: 1, available: 0, count: 1n });
    expect(a.notification()).toMatchObject({ type: empty });
    expect(a.run(IoOpcode.read)).toBe(reservationConflict);
    // Now the other way round.
    expect([a.register(), a.preempt(3, 0xbbn)]).toEqual([SUCCESS, SUCCESS]);
    b.nvme.device.pump();
    expect(b.nvme.admin.take()).toMatchObject({ cid: 99, dw0 });
    expect(b.notification()).toMatchObject({ type: registrationPreempted, nsid: 1 });
    expect(b.run(IoOpcode.write)).toBe(reservationConflict);
  });

  test("of a release go to registrants that had rights by the reservation, of a clear to all", () => {
    expect([a.register(), b.register(), a.acquire(1), a.release(1)]).toEqual([0, 0, 0, 0]);
    expect(b.notification().type).toBe(empty);
    expect([a.acquire(4), a.unregister(), a.register()]).toEqual([0, 0, 0]);
    expect([a.acquire(3), a.release(3), a.acquire(1), a.clear()]).toEqual([0, 0, 0, 0]);
    expect(b.notification()).toMatchObject({ type: reservationReleased, available: 2 });
    expect(b.notification().type).toBe(reservationReleased);
    expect(b.notification().type).toBe(reservationPreempted);
    expect(b.notification().type).toBe(empty);
    expect([a.notification().type, b.release(1)]).toEqual([empty, reservationConflict]);
  });

  test("that the host masks don't come", () => {
    const mask = { cdw10: FeatureId.reservationNotificationMask, nsid: 1 };
    const set = { opcode: AdminOpcode.setFeatures, ...mask, cdw11: 1 << reservationReleased };
    expect(b.nvme.admin.run(set).status).toBe(SUCCESS);
    expect(b.nvme.admin.run({ opcode: AdminOpcode.getFeatures, ...mask }).dw0).toBe(1 << reservationReleased);
    expect([a.register(), b.register(), a.acquire(3), a.release(3), a.clear()]).toEqual([0, 0, 0, 0, 0]);
    expect(b.notification()).toMatchObject({ type: reservationPreempted, available: 0 });
  });
});

describe("Preempt", () => {
  test("of a key that nobody has, or of none, is refused", () => {
    expect([a.register(), b.register(), a.acquire(1)]).toEqual([SUCCESS, SUCCESS, SUCCESS]);
    expect(b.preempt(1, 0xccn)).toBe(reservationConflict);
    expect(b.preempt(1, 0n)).toBe(NvmeStatus.invalidField);
  });

  test("of a key without the reservation only ends registrations", () => {
    expect([a.register(), b.register(), a.acquire(3)]).toEqual([SUCCESS, SUCCESS, SUCCESS]);
    expect(a.preempt(3, 0xbbn)).toBe(SUCCESS);
    expect(b.run(IoOpcode.write)).toBe(reservationConflict);
    expect(a.release(3)).toBe(SUCCESS);
  });

  test("of key 0 takes a reservation of all registrants", () => {
    expect([a.register(), b.register(), a.acquire(6)]).toEqual([SUCCESS, SUCCESS, SUCCESS]);
    expect(b.preempt(2, 0n)).toBe(SUCCESS);
    expect([a.run(IoOpcode.read), b.run(IoOpcode.read)]).toEqual([reservationConflict, SUCCESS]);
  });

  test("and Abort aborts the other host's outstanding commands", () => {
    expect([a.register(), b.register(), a.acquire(1)]).toEqual([SUCCESS, SUCCESS, SUCCESS]);
    const slow = a.nvme.device.inject(slowReads);
    a.io.post({ opcode: IoOpcode.read, cid: 55, nsid: 1, prp1: a.nvme.iova(a.nvme.alloc(4096)) });
    a.nvme.device.pump();
    expect(slow.hits).toBe(1);
    expect(b.preempt(1, 0xaan, true)).toBe(SUCCESS);
    a.nvme.device.pump();
    expect(a.io.take()).toMatchObject({ cid: 55, status: NvmeStatus.commandAbortedDueToPreemptAndAbort });
  });
});

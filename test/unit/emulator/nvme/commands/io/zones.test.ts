/** Tests of zoned namespaces. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { IoOpcode, ZoneAction } from "../../../../../../src/nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../../../src/nvme/spec/status.js";
import { ZoneState, zoneDescriptor } from "../../../../../../src/nvme/spec/zoned.js";
import { type NvmeTestHost, SUCCESS, startedHost, type TestQueue } from "../../../../../support/nvme-host.js";

const ALL_COMMAND_SETS = 6 << 4;
/** Zones of 2048 blocks, 2000 of them writable. */
const ZONE = 2048;
const CAPACITY = 2000;
const SELECT_ALL = 1 << 8;
const shape = { zoneSizeBytes: 1 << 20, zoneCapacityBytes: CAPACITY * 512, maxOpen: 3, maxActive: 5 };

class Zones {
  readonly at: number;

  constructor(
    readonly host: NvmeTestHost,
    readonly io: TestQueue,
  ) {
    this.at = host.alloc(4096);
  }

  write(lba: number, blocks = 1): number {
    return this.io.run({
      opcode: IoOpcode.write,
      nsid: 1,
      prp1: this.host.iova(this.at),
      cdw10: lba,
      cdw12: blocks - 1,
    }).status;
  }

  append(zone: number, blocks = 1) {
    return this.io.run({
      opcode: IoOpcode.zoneAppend,
      nsid: 1,
      prp1: this.host.iova(this.at),
      cdw10: zone * ZONE,
      cdw12: blocks - 1,
    });
  }

  send(zone: number, action: number, flags = 0): number {
    return this.io.run({
      opcode: IoOpcode.zoneManagementSend,
      nsid: 1,
      cdw10: zone * ZONE,
      cdw13: action | flags,
    }).status;
  }

  report(options: { lba?: number; filter?: number; bytes?: number; partial?: boolean } = {}) {
    const { lba = 0, filter = 0, bytes = 4096, partial = true } = options;
    const at = this.host.alloc(4096);
    const { status } = this.io.run({
      opcode: IoOpcode.zoneManagementReceive,
      nsid: 1,
      prp1: this.host.iova(at),
      cdw10: lba,
      cdw12: bytes / 4 - 1,
      cdw13: (filter << 8) | (partial ? 1 << 16 : 0),
    });
    const page = this.host.bytes(at, bytes).slice();
    const count = new DataView(page.buffer).getUint32(0, true);
    const room = Math.min(count, Math.floor((bytes - 64) / 64));
    const zones = Array.from({ length: room }, (_, i) =>
      zoneDescriptor.decode(page.subarray(64 + 64 * i, 128 + 64 * i)),
    );
    return { status, count, zones };
  }

  state(zone: number): number | undefined {
    return this.report({ lba: zone * ZONE }).zones[0]?.zs;
  }
}

function zoned(): { zones: Zones } & Disposable {
  const started = startedHost({ zoned: shape }, ALL_COMMAND_SETS);
  return { zones: new Zones(started.host, started.io), [Symbol.dispose]: () => started.host.close() };
}

describe("zoned namespaces", () => {
  test("report all zones, some of them, as many as fit, and those in a state", () => {
    using made = zoned();
    const { zones } = made;
    zones.write(0, 4);
    expect(zones.report()).toMatchObject({ status: SUCCESS, count: 16 });
    expect(zones.report().zones[0]).toMatchObject({
      zt: 2,
      zs: ZoneState.implicitlyOpened,
      zcap: BigInt(CAPACITY),
      zslba: 0n,
      wp: 4n,
    });
    expect(zones.report({ lba: 14 * ZONE }).zones.map(({ zslba }) => Number(zslba))).toEqual([
      14 * ZONE,
      15 * ZONE,
    ]);
    expect(zones.report({ bytes: 64 + 128 })).toMatchObject({ count: 2 });
    expect(zones.report({ bytes: 64 + 128, partial: false })).toMatchObject({ count: 16 });
    expect(zones.report({ filter: 1 }).count).toBe(15);
    expect(zones.report({ filter: 2 }).count).toBe(1);
    expect(zones.report({ filter: 8 }).status).toBe(NvmeStatus.invalidField);
    expect(zones.report({ lba: 16 * ZONE }).status).toBe(NvmeStatus.lbaOutOfRange);
  });

  test("are written at the write pointer, and are full at their capacity", () => {
    using made = zoned();
    const { zones } = made;
    expect(zones.write(ZONE + 1)).toBe(NvmeStatus.zoneInvalidWrite);
    expect(zones.state(1)).toBe(ZoneState.empty);
    for (let i = 0; i < CAPACITY; i += 8) expect(zones.write(ZONE + i, 8)).toBe(SUCCESS);
    expect(zones.state(1)).toBe(ZoneState.full);
    expect(zones.write(ZONE + CAPACITY)).toBe(NvmeStatus.zoneIsFull);
    zones.write(2 * ZONE, 4);
    expect(zones.write(2 * ZONE + 2, 2)).toBe(NvmeStatus.zoneInvalidWrite);
    // Across the capacity, and across the zone.
    for (let i = 4; i < CAPACITY - 4; i += 8) zones.write(2 * ZONE + i, 8);
    expect(zones.write(2 * ZONE + CAPACITY - 4, 8)).toBe(NvmeStatus.zoneBoundaryError);
    expect(zones.write(3 * ZONE - 4, 8)).toBe(NvmeStatus.zoneBoundaryError);
  });

  test("report where an append went", () => {
    using made = zoned();
    const { zones } = made;
    expect(zones.append(3, 2)).toMatchObject({ status: SUCCESS, dw0: 3 * ZONE });
    expect(zones.append(3, 1)).toMatchObject({ status: SUCCESS, dw0: 3 * ZONE + 2 });
    const off = zones.io.run({
      opcode: IoOpcode.zoneAppend,
      nsid: 1,
      prp1: zones.host.iova(zones.at),
      cdw10: 3 * ZONE + 3,
    });
    expect(off.status).toBe(NvmeStatus.invalidField);
  });

  test("read as zeros after a reset of the zone", () => {
    using made = zoned();
    const { zones } = made;
    zones.host.bytes(zones.at, 4096).fill(9);
    zones.write(0, 8);
    expect(zones.send(0, ZoneAction.reset)).toBe(SUCCESS);
    expect(zones.state(0)).toBe(ZoneState.empty);
    zones.io.run({ opcode: IoOpcode.read, nsid: 1, prp1: zones.host.iova(zones.at), cdw12: 7 });
    expect(zones.host.bytes(zones.at, 4096).every((byte) => byte === 0)).toBe(true);
    expect(zones.write(0, 1)).toBe(SUCCESS);
  });

  test("go through the states of open, close and finish", () => {
    using made = zoned();
    const { zones } = made;
    const steps: readonly (readonly [action: number, status: number, state: number])[] = [
      [ZoneAction.close, NvmeStatus.invalidZoneStateTransition, ZoneState.empty],
      [ZoneAction.open, SUCCESS, ZoneState.explicitlyOpened],
      [ZoneAction.open, SUCCESS, ZoneState.explicitlyOpened],
      [ZoneAction.close, SUCCESS, ZoneState.empty],
      [ZoneAction.finish, SUCCESS, ZoneState.full],
      [ZoneAction.finish, SUCCESS, ZoneState.full],
      [ZoneAction.open, NvmeStatus.invalidZoneStateTransition, ZoneState.full],
      [ZoneAction.close, NvmeStatus.invalidZoneStateTransition, ZoneState.full],
      [ZoneAction.offline, NvmeStatus.invalidZoneStateTransition, ZoneState.full],
      [ZoneAction.reset, SUCCESS, ZoneState.empty],
    ];
    for (const [action, status, state] of steps) {
      expect(zones.send(5, action)).toBe(status);
      expect(zones.state(5)).toBe(state);
    }
    zones.write(5 * ZONE);
    zones.send(5, ZoneAction.close);
    expect(zones.state(5)).toBe(ZoneState.closed);
    expect(zones.write(5 * ZONE + 1)).toBe(SUCCESS);
    expect(zones.state(5)).toBe(ZoneState.implicitlyOpened);
    expect(zones.send(16, ZoneAction.open)).toBe(NvmeStatus.lbaOutOfRange);
    expect(zones.send(0.5, ZoneAction.open)).toBe(NvmeStatus.invalidField);
    expect(zones.send(0, 0x10)).toBe(NvmeStatus.invalidField);
  });

  test("close implicitly opened zones at the limits, and never explicitly opened ones", () => {
    using made = zoned();
    const { zones } = made;
    for (let zone = 0; zone < 4; zone++) expect(zones.write(zone * ZONE)).toBe(SUCCESS);
    expect(zones.state(0)).toBe(ZoneState.closed);
    zones.send(0, ZoneAction.reset, SELECT_ALL);
    expect(zones.report({ filter: 1 }).count).toBe(16);
    for (let zone = 0; zone < 3; zone++) expect(zones.send(zone, ZoneAction.open)).toBe(SUCCESS);
    expect(zones.send(3, ZoneAction.open)).toBe(NvmeStatus.tooManyOpenZones);
    expect(zones.write(3 * ZONE)).toBe(NvmeStatus.tooManyOpenZones);
    for (let zone = 0; zone < 3; zone++) zones.write(zone * ZONE);
    expect(zones.send(0, ZoneAction.close, SELECT_ALL)).toBe(SUCCESS);
    expect(zones.write(3 * ZONE)).toBe(SUCCESS);
    expect(zones.write(4 * ZONE)).toBe(SUCCESS);
    expect(zones.write(5 * ZONE)).toBe(NvmeStatus.tooManyActiveZones);
    expect(zones.send(5, ZoneAction.finish)).toBe(NvmeStatus.tooManyActiveZones);
    expect(zones.send(0, ZoneAction.finish, SELECT_ALL)).toBe(SUCCESS);
    expect(zones.report({ filter: 5 }).count).toBe(5);
    expect(zones.write(5 * ZONE)).toBe(SUCCESS);
  });

  test("have no zone commands unless all command sets are enabled", () => {
    using started = startedHost({ zoned: shape });
    expect(started.io.run({ opcode: IoOpcode.zoneManagementReceive, nsid: 1 }).status).toBe(
      NvmeStatus.invalidOpcode,
    );
  });

  test("have consistent states, pointers and limits after any commands", () => {
    const step = fc.record({
      zone: fc.nat(7),
      kind: fc.constantFrom("write", "append", "close", "finish", "open", "reset"),
      blocks: fc.integer({ min: 1, max: 8 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        using made = zoned();
        const { zones } = made;
        for (const { zone, kind, blocks } of steps) {
          const before = zones.report({ lba: zone * ZONE }).zones[0];
          if (kind === "append") zones.append(zone, blocks);
          else if (kind === "write") zones.write(Number(before?.wp ?? 0n) % 2 ** 32, blocks);
          else zones.send(zone, ZoneAction[kind]);
        }
        const all = zones.report().zones;
        const open = all.filter(
          ({ zs }) => zs === ZoneState.implicitlyOpened || zs === ZoneState.explicitlyOpened,
        );
        const closed = all.filter(({ zs }) => zs === ZoneState.closed);
        expect(open.length).toBeLessThanOrEqual(3);
        expect(open.length + closed.length).toBeLessThanOrEqual(5);
        for (const { zs, wp, zslba, zcap } of all) {
          if (zs === ZoneState.empty) expect(wp).toBe(zslba);
          if (zs === ZoneState.closed) expect(wp > zslba && wp < zslba + zcap).toBe(true);
        }
        // The open and active counts are right: all the room that is left can be used.
        let room = Math.min(3 - open.length, 5 - open.length - closed.length);
        for (const { zs, zslba } of all) {
          if (zs !== ZoneState.empty || room === 0) continue;
          expect(zones.send(Number(zslba) / ZONE, ZoneAction.open)).toBe(SUCCESS);
          room--;
        }
      }),
      { numRuns: 25 },
    );
  });
});

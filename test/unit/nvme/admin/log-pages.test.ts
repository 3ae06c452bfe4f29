/** Log pages that no available controller supports: fields and commands are compared with the specification's figures. */
import { afterEach, describe, expect, test } from "vitest";
import { ArgumentError, NvmeProtocolError, StateError, UnsupportedError } from "../../../../src/index.js";
import { NvmeLogs } from "../../../../src/nvme/admin/logs.js";
import { caught } from "../../../support/caught.js";
import { bytes } from "../../../support/little-endian.js";
import { RecordingController } from "../../../support/recording-controller.js";

let target: RecordingController;
afterEach(() => target.close());

describe("log pages", () => {
  let logs: NvmeLogs;
  function withPages(pages: readonly (readonly [number, Uint8Array])[]): void {
    target = new RecordingController({ oacs: 0xfff });
    logs = new NvmeLogs(target);
    for (const [lid, page] of pages) target.logPages.set(lid, page);
  }

  test("of self-test, sanitize, reservations and lockdown are decoded", async () => {
    withPages([
      [0x06, bytes(564, [0, 1, 2], [1, 1, 40], [4, 1, 0x17], [16, 4, 3], [20, 8, 99], ...unused(1, 19))],
      [0x81, bytes(512, [0, 2, 0xffff], [2, 2, 0x10a], [8, 4, 60])],
      [0x80, bytes(64, [0, 8, 4], [8, 1, 2], [9, 1, 1], [12, 4, 5])],
      [0x14, bytes(512, [3, 1, 2], [4, 1, 0x80], [5, 1, 0x84])],
    ]);
    const selfTest = await logs.selfTest();
    expect(selfTest).toMatchObject({ currentOperation: 2, completionPercent: 40 });
    expect(selfTest.results).toHaveLength(1);
    expect(selfTest.results[0]).toMatchObject({ result: 7, code: 1, nsid: 3, failingLba: 99n });
    const sanitize = {
      progress: 0xffff,
      status: 2,
      overwritePasses: 1,
      globalDataErased: 1,
      overwriteTime: 60,
    };
    expect(await logs.sanitize()).toMatchObject(sanitize);
    expect(await logs.reservationNotification()).toMatchObject({ type: 2, available: 1, nsid: 5 });
    expect(await logs.lockdown(0, 1)).toEqual([0x80, 0x84]);
    expect(target.last.words).toMatchObject({ cdw10: 0x007f_1014 });
  });

  function unused(from: number, count: number): [number, 1, number][] {
    return Array.from({ length: count }, (_, i) => [4 + 28 * (from + i), 1, 0x0f]);
  }

  test("of capacity configurations are decoded with their groups, sets, channels and media units, however long", async () => {
    const group = 16 + 32;
    const channels = 1000;
    const firstChannel = group + 82 + 2 * 2 + 2;
    const afterChannels = firstChannel + channels * (4 + 8);
    const units = Array.from({ length: channels }, (_, i): [number, 2, number][] => {
      const at = firstChannel + 12 * i;
      return [
        [at, 2, i],
        [at + 2, 2, 1],
        [at + 4, 2, 7000 + i],
        [at + 10, 2, 8],
      ];
    }).flat();
    const page = bytes(
      afterChannels + 32,
      [0, 1, 2],
      [16, 2, 5],
      [18, 2, 3],
      [20, 2, 1],
      [group, 2, 9],
      [group + 2, 2, 150],
      [group + 16, 8, 1 << 30],
      [group + 32, 8, 4096],
      [group + 48, 8, 77],
      [group + 80, 2, 2],
      [group + 82, 2, 11],
      [group + 84, 2, 12],
      [group + 86, 2, channels],
      ...units,
      [afterChannels, 2, 6],
    );
    withPages([[0x11, page]]);
    const [first, second] = await logs.lists.capacityConfigurations(3);
    expect(target.commands[0]?.words).toMatchObject({ cdw11: 3 << 16 });
    expect(first).toMatchObject({ configurationId: 5, domainId: 3, groups: [{ enduranceGroupId: 9 }] });
    expect(first?.groups[0]).toMatchObject({
      capacityAdjustment: 150,
      totalCapacity: 1n << 30n,
      spareCapacity: 4096n,
      enduranceEstimate: 77n,
      nvmSets: [11, 12],
    });
    expect(first?.groups[0]?.channels).toHaveLength(channels);
    const last = { channelId: 999, mediaUnits: [{ mediaUnitId: 7999, descriptorLength: 8 }] };
    expect(first?.groups[0]?.channels.at(-1)).toEqual(last);
    expect(second).toEqual({ configurationId: 6, domainId: 0, groups: [] });
  });

  test("a list of capacity configurations that never ends is a protocol error", async () => {
    withPages([[0x11, new Uint8Array(2 << 20).fill(0xff)]]);
    await expect(logs.lists.capacityConfigurations()).rejects.toThrow(NvmeProtocolError);
    await expect(logs.lists.capacityConfigurations(0x1_0000)).rejects.toThrow(ArgumentError);
  });

  test("of ANA are read whole, however long, and clear the event once", async () => {
    const many = 3000;
    const ids = Array.from({ length: many }, (_, i): [number, 4, number] => [48 + 4 * i, 4, i + 1]);
    const second = 48 + 4 * many;
    withPages([
      [
        0x0c,
        bytes(
          second + 36,
          [0, 8, 9],
          [8, 2, 2],
          [16, 4, 1],
          [20, 4, many],
          [32, 1, 0xf1],
          ...ids,
          [second, 4, 7],
          [second + 4, 4, 1],
          [second + 16, 1, 3],
          [second + 32, 4, 4000],
        ),
      ],
    ]);
    const { changeCount, groups } = await logs.lists.asymmetricNamespaceAccess();
    expect(changeCount).toBe(9n);
    expect(groups.map(({ groupId, state, namespaces }) => [groupId, state, namespaces.length])).toEqual([
      [1, 1, many],
      [7, 3, 1],
    ]);
    expect(groups[0]?.namespaces.at(-1)).toBe(many);
    const retain = target.commands.map(({ words }) => ((words["cdw10"] ?? 0) & (1 << 15)) !== 0);
    expect(retain.at(-1)).toBe(false);
    expect(retain.slice(0, -1).every(Boolean)).toBe(true);
  });

  test("of aggregates and media units are decoded", async () => {
    withPages([
      [0x0f, bytes(512, [0, 8, 2], [8, 2, 5], [10, 2, 6])],
      [0x10, bytes(48, [0, 2, 2], [16, 2, 1], [26, 1, 90], [32, 2, 2])],
    ]);
    expect(await logs.lists.enduranceGroupEvents()).toEqual([5, 6]);
    const units = await logs.lists.mediaUnits();
    expect(units.map(({ mediaUnitId, availableSpare }) => [mediaUnitId, availableSpare])).toEqual([
      [1, 90],
      [2, 0],
    ]);
  });

  test("of persistent events are read in a context, which is released", async () => {
    const at = 512;
    withPages([
      [
        0x0d,
        bytes(
          at + 24 + 6,
          [4, 4, 1],
          [8, 8, at + 30],
          [at, 1, 2],
          [at + 2, 1, 21],
          [at + 4, 2, 1],
          [at + 6, 8, 1000],
          [at + 20, 2, 2],
          [at + 22, 2, 6],
          [at + 26, 4, 0x04030201],
        ),
      ],
    ]);
    const { events } = await logs.lists.persistentEvents();
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({ type: 2, cntlid: 1, time: new Date(1000) });
    expect([...(events[0]?.data ?? [])]).toEqual([1, 2, 3, 4]);
    expect(target.commands.map(({ words }) => ((words["cdw10"] ?? 0) >>> 8) & 0x7f)).toEqual([1, 0, 2]);
    target.logPages.set(0x0d, bytes(600, [4, 4, 2], [8, 8, 520]));
    expect(await caught(logs.lists.persistentEvents())).toBeInstanceOf(NvmeProtocolError);
  });

  test("of telemetry are read in pieces, and again if they changed meanwhile", async () => {
    const blocks = 300;
    const page = bytes(
      512 * (blocks + 1),
      [8, 2, 10],
      [10, 2, 200],
      [12, 2, blocks],
      [16, 4, blocks],
      [383, 1, 4],
    );
    page.fill(0x5a, 512);
    withPages([
      [0x07, page],
      [0x08, page],
    ]);
    expect((await logs.telemetry.host({ areas: 2 })).data).toHaveLength(200 * 512);
    expect(((target.commands[0]?.words["cdw10"] ?? 0) >>> 8) & 0x7f).toBe(1);
    const whole = await logs.telemetry.controller();
    expect(whole.data).toHaveLength(blocks * 512);
    expect(whole.data.every((byte) => byte === 0x5a)).toBe(true);
    expect(((target.last.words["cdw10"] ?? 0) & (1 << 15)) === 0).toBe(true);
    // A new generation at every look.
    const read = logs.read.bind(logs);
    logs.read = async (lid, size, options) => {
      page[383] = (page[383] ?? 0) + 1;
      return await read(lid, size, options);
    };
    expect(await caught(logs.telemetry.controller())).toBeInstanceOf(StateError);
  });

  test("are read from an entry on if they have index offsets", async () => {
    const supported = bytes(1024, [0, 4, 1], [0x0c * 4, 4, 3], [0x0d * 4, 4, 1]);
    // A header of 16 bytes, groups with one and with two namespaces.
    const ana = bytes(16 + 36 + 40, [0, 8, 5], [8, 2, 2], [16, 4, 1], [20, 4, 1], [52, 4, 7], [56, 4, 2]);
    withPages([
      [0x00, supported],
      [0x0c, ana],
      [0x0d, bytes(512)],
    ]);
    target.entries.set(0x0c, [0, 16, 52]);
    const [header, second] = [
      await logs.read(0x0c, 16, { index: 0 }),
      await logs.read(0x0c, 40, { index: 2 }),
    ];
    expect(header).toEqual(ana.subarray(0, 16));
    expect(second).toEqual(ana.subarray(52));
    expect(target.last.words).toMatchObject({ cdw12: 2, cdw14: 1 << 23 });
    await logs.read(0x0c, 16, { index: 2 ** 32 + 3, csi: 2 });
    expect(target.last.words).toMatchObject({ cdw12: 3, cdw13: 1, cdw14: (2 << 24) | (1 << 23) });

    const sent = target.commands.length;
    for (const options of [{ index: 1, offset: 0 }, { index: -1 }, { index: 0.5 }]) {
      expect(await caught(logs.read(0x0c, 16, options))).toBeInstanceOf(ArgumentError);
    }
    expect(await caught(logs.read(0x0c, target.maxTransferBytes + 4, { index: 1 }))).toBeInstanceOf(
      ArgumentError,
    );
    expect(target.commands).toHaveLength(sent);
    // Neither a page without indexes nor one that there isn't.
    for (const lid of [0x0d, 0x0e]) {
      expect(await caught(logs.read(lid, 16, { index: 1 }))).toBeInstanceOf(UnsupportedError);
    }
  });

  test("of flexible data placement are decoded", async () => {
    withPages([
      [0x20, bytes(16 + 72 + 72, [0, 2, 1], [4, 4, 160], ...config(16, 1), ...config(88, 2))],
      [0x21, bytes(24, [0, 2, 2], [8, 1, 1], [16, 1, 2])],
      [0x22, bytes(64, [0, 8, 4096], [16, 8, 8192], [32, 8, 1])],
      [0x23, bytes(128, [0, 4, 1], [64, 1, 0x80], [65, 1, 7], [66, 2, 3], [76, 4, 1])],
    ]);
    const configurations = await logs.fdp.configurations(3);
    expect(
      configurations.map(({ reclaimUnitBytes, handleTypes }) => [reclaimUnitBytes, handleTypes]),
    ).toEqual([
      [1n << 20n, [1, 2]],
      [2n << 20n, [1, 2]],
    ]);
    expect(target.commands[0]?.words["cdw11"]).toBe(3 << 16);
    expect(await logs.fdp.handleUsage(3)).toEqual([1, 2]);
    expect(await logs.fdp.statistics(3)).toEqual({
      hostBytesWritten: 4096n,
      mediaBytesWritten: 8192n,
      mediaBytesErased: 1n,
    });
    const [event] = await logs.fdp.events(3, "host");
    expect(event).toMatchObject({ type: 0x80, placementIdValid: 1, placementId: 3, nsid: 1 });
    expect(((target.last.words["cdw10"] ?? 0) >>> 8) & 0x7f).toBe(1);
    // A configuration that is longer than the log.
    target.logPages.set(0x20, bytes(96, [0, 2, 0], [4, 4, 96], ...config(16, 1), [16, 2, 200]));
    expect(await caught(logs.fdp.configurations(3))).toBeInstanceOf(NvmeProtocolError);
  });

  function config(at: number, mebibytes: number): [number, 1 | 2 | 4 | 8, number][] {
    return [
      [at, 2, 72],
      [at + 2, 1, 0x80],
      [at + 8, 2, 2],
      [at + 16, 8, mebibytes << 20],
      [at + 64, 1, 1],
      [at + 68, 1, 2],
    ];
  }
});

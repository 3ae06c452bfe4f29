/** Tests of power states, and of the transitions that the controller makes by itself. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import { ArgumentError, ConfigError } from "../../../../../src/core/errors.js";
import { decodeState } from "../../../../../src/emulator/nvme/migration-state.js";
import type { NvmeEmulatorOptions } from "../../../../../src/emulator/nvme/options.js";
import { powerTransitions } from "../../../../../src/nvme/spec/features.js";
import { identifyController } from "../../../../../src/nvme/spec/identify.js";
import { AdminOpcode, FeatureId, IoOpcode } from "../../../../../src/nvme/spec/opcodes.js";
import { maximumPowerWatts } from "../../../../../src/nvme/spec/power-state.js";
import { ControllerStatus } from "../../../../../src/nvme/spec/registers.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { eventually } from "../../../../support/eventually.js";
import { NvmeTestHost, SUCCESS, startedHost, type TestCompletion } from "../../../../support/nvme-host.js";

const SAVE = 2 ** 31;
const [CURRENT, DEFAULT, SAVED, SUPPORTED] = [0, 1, 2, 3];
const TABLE = FeatureId.autonomousPowerStateTransition;
const flush = { opcode: IoOpcode.flush, nsid: 1 };

/** Transitions by state: [to, after milliseconds]. */
type Transitions = Readonly<Record<number, readonly [number, number]>>;

function tableOf(transitions: Transitions): Uint8Array {
  return powerTransitions.encode({
    entry: Array.from({ length: 32 }, (_, state) => {
      const [powerState, milliseconds] = transitions[state] ?? [0, 0];
      return { powerState, milliseconds };
    }),
  });
}

function setState(host: NvmeTestHost, value: number, save = 0): number {
  const cdw10 = FeatureId.powerManagement + save;
  return host.admin.run({ opcode: AdminOpcode.setFeatures, cdw10, cdw11: value }).status;
}

function state(host: NvmeTestHost, select = CURRENT): number {
  const cdw10 = FeatureId.powerManagement | (select << 8);
  return host.admin.run({ opcode: AdminOpcode.getFeatures, cdw10 }).dw0;
}

function setTable(host: NvmeTestHost, transitions: Transitions, enabled = true, save = 0): number {
  const at = host.alloc(4096);
  host.bytes(at, 256).set(tableOf(transitions));
  const command = { opcode: AdminOpcode.setFeatures, prp1: host.iova(at) };
  return host.admin.run({ ...command, cdw10: TABLE + save, cdw11: Number(enabled) }).status;
}

function table(host: NvmeTestHost, select = CURRENT): { completion: TestCompletion; bytes: Uint8Array } {
  const at = host.alloc(4096);
  const command = { opcode: AdminOpcode.getFeatures, prp1: host.iova(at) };
  const completion = host.admin.run({ ...command, cdw10: TABLE | (select << 8) });
  return { completion, bytes: host.bytes(at, 256).slice() };
}

/** Waits until the controller is in a state. */
async function reaches(host: NvmeTestHost, wanted: number): Promise<void> {
  await eventually(() => (state(host) === wanted ? true : undefined));
}

async function hasFailed(host: NvmeTestHost): Promise<void> {
  await eventually(() => ((host.status & ControllerStatus.CFS) !== 0 ? true : undefined));
}

describe("the descriptors of power states", () => {
  test.each([
    [1, 1],
    [2, 1],
    [3, 2],
    [5, 3],
    [32, 16],
  ])("are valid for %d states, of which %d are operational", (count, operational) => {
    using started = startedHost({ powerStates: count });
    const { npss, psd, apsta } = identifyController.decode(started.host.identify(1).page);
    expect([npss, apsta]).toEqual([count - 1, count > 1 ? 1 : 0]);
    const states = psd.slice(0, count);
    expect(states.map(({ nops }) => nops)).toEqual(states.map((_, index) => Number(index >= operational)));
    const watts = states.map((each) => maximumPowerWatts(each) ?? 0);
    expect(watts).toEqual([...new Set(watts)].sort((a, b) => b - a));
    expect(watts[0]).toBe(25);
    for (const { rrt, rrl, rwt, rwl } of states) expect(Math.max(rrt, rrl, rwt, rwl)).toBeLessThan(count);
    expect(psd.slice(count).every((each) => maximumPowerWatts(each) === undefined)).toBe(true);
  });

  test.each([0, 33, 1.5, "2"])("are not made for %j states", (powerStates) => {
    expect(() => new NvmeTestHost({ powerStates } as NvmeEmulatorOptions)).toThrow(ConfigError);
  });

  test.each(["failsInOwnPowerState", "failsInDeepestPowerState"])("%s needs two states", (name) => {
    expect(() => new NvmeTestHost({ odd: { [name]: true } })).toThrow(/powerStates of 2 or more/);
  });
});

describe("Power Management", () => {
  test("takes the states that there are, with a workload hint, and refuses others", () => {
    using started = startedHost({ powerStates: 5 });
    const { host } = started;
    for (const value of [0, 1, 2, 3, 4, 4 | (2 << 5)]) {
      expect(setState(host, value)).toBe(SUCCESS);
      expect(state(host)).toBe(value);
    }
    for (const value of [5, 31]) expect(setState(host, value)).toBe(NvmeStatus.invalidField);
    expect(state(host)).toBe(4 | (2 << 5));
    expect(state(host, SUPPORTED)).toBe(5);
  });

  test("leaves a non-operational state for the last operational one when an I/O command comes", () => {
    using started = startedHost({ powerStates: 5 });
    const { host, io } = started;
    for (const operational of [2, 1]) {
      setState(host, operational);
      setState(host, 4);
      setState(host, 3);
      host.identify(1);
      expect(state(host)).toBe(3);
      expect(io.run(flush).status).toBe(SUCCESS);
      expect(state(host)).toBe(operational);
      expect(io.run(flush).status).toBe(SUCCESS);
      expect(state(host)).toBe(operational);
    }
  });

  test("has its default after a reset", () => {
    using started = startedHost({ powerStates: 2 });
    const { host } = started;
    setState(host, 1);
    host.device.reset();
    host.enable();
    expect(state(host)).toBe(0);
  });
});

describe("Autonomous Power State Transition", () => {
  test("doesn't exist with one state", () => {
    using started = startedHost();
    expect(setTable(started.host, {}, false)).toBe(NvmeStatus.invalidField);
    expect(table(started.host).completion.status).toBe(NvmeStatus.invalidField);
  });

  test("gives back the table that it was given", () => {
    using started = startedHost({ powerStates: 5 });
    const { host } = started;
    const transitions: Transitions = { 0: [3, 60_000], 1: [3, 60_000], 3: [4, 16_777_215] };
    for (const enabled of [true, false]) {
      expect(setTable(host, transitions, enabled)).toBe(SUCCESS);
      const { completion, bytes } = table(host);
      expect(completion.dw0).toBe(Number(enabled));
      expect(bytes).toEqual(tableOf(transitions));
    }
    for (const select of [DEFAULT, SAVED]) {
      expect(table(host, select)).toMatchObject({ completion: { dw0: 0 }, bytes: new Uint8Array(256) });
    }
  });

  test.each([
    ["to an operational state", { 0: [2, 1] }],
    ["to a state that doesn't exist", { 0: [5, 1] }],
    ["from a state that doesn't exist", { 5: [4, 1] }],
  ] as const)("refuses a transition %s", (_, transitions) => {
    using started = startedHost({ powerStates: 5 });
    expect(setTable(started.host, transitions)).toBe(NvmeStatus.invalidField);
    expect(table(started.host)).toMatchObject({ completion: { dw0: 0 }, bytes: new Uint8Array(256) });
  });

  test("enters state after state while there is no I/O, and an I/O command leads back", async () => {
    using started = startedHost({ powerStates: 5 });
    const { host, io } = started;
    expect(setState(host, 1)).toBe(SUCCESS);
    expect(setTable(host, { 1: [3, 1], 3: [4, 1] })).toBe(SUCCESS);
    for (let round = 0; round < 3; round++) {
      await reaches(host, 4);
      expect(io.run(flush).status).toBe(SUCCESS);
      expect(state(host)).toBe(1);
    }
    expect(setTable(host, { 1: [3, 1], 3: [4, 1] }, false)).toBe(SUCCESS);
    await sleep(20);
    expect(state(host)).toBe(1);
  });

  test.each([
    ["that a fault delays", true],
    ["that wasn't fetched yet", false],
  ])("isn't idle during a command %s", async (_, isFetched) => {
    // It would fail if it took itself for idle.
    const odd = { failsInOwnPowerState: true };
    const faults = [{ kind: "latency", queue: "io", latencyMs: 600_000 }] as const;
    using started = startedHost({ powerStates: 2, odd, faults });
    const { host, io } = started;
    expect(setTable(host, { 0: [1, 1] })).toBe(SUCCESS);
    io.post(flush);
    if (isFetched) host.device.pump();
    await sleep(50);
    expect(host.status & ControllerStatus.CFS).toBe(0);
  });

  test("goes on when the device is plugged in again", async () => {
    using started = startedHost({ powerStates: 2 });
    const { host } = started;
    expect(setTable(host, { 0: [1, 10] })).toBe(SUCCESS);
    const unplugged = host.device.inject({ kind: "all-ones", nth: 1, queue: "admin" });
    host.admin.post({ opcode: AdminOpcode.keepAlive });
    host.device.pump();
    expect(host.status).toBe(0xffff_ffff);
    await sleep(50);
    unplugged.remove();
    expect(host.status & ControllerStatus.CFS).toBe(0);
    await reaches(host, 1);
  });

  test("ends with a reset", async () => {
    using started = startedHost({ powerStates: 2 });
    const { host } = started;
    expect(setTable(host, { 0: [1, 1] })).toBe(SUCCESS);
    host.device.reset();
    host.enable();
    expect(table(host).completion.dw0).toBe(0);
    await sleep(20);
    expect(state(host)).toBe(0);
  });
});

describe("persistent power states", () => {
  test("come back with the file, as far as the controller has such states", async () => {
    const folder = mkdtempSync(join(tmpdir(), "power-states-"));
    const open = (powerStates: number): NvmeTestHost => {
      const host = new NvmeTestHost({ file: join(folder, "medium"), powerStates });
      host.enable();
      return host;
    };
    try {
      {
        using host = open(5);
        expect(setState(host, 2, SAVE)).toBe(SUCCESS);
        expect(setTable(host, { 2: [4, 1] }, true, SAVE)).toBe(SUCCESS);
        setState(host, 0);
        setTable(host, {}, false);
      }
      {
        using host = open(5);
        // It enters a state by itself although nobody has set anything.
        await reaches(host, 4);
        expect(state(host, SAVED)).toBe(2);
        expect(table(host, SAVED)).toMatchObject({
          completion: { dw0: 1 },
          bytes: tableOf({ 2: [4, 1] }),
        });
      }
      for (const fewer of [2, 1]) {
        using host = open(fewer);
        expect(state(host)).toBe(0);
        if (fewer > 1) expect(table(host)).toMatchObject({ completion: { dw0: 0 }, bytes: tableOf({}) });
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("the power state of a controller that moves", () => {
  /** A started controller, and another. */
  function pair(source: NvmeEmulatorOptions, target: NvmeEmulatorOptions) {
    const sizeBytes = 1 << 20;
    return { from: startedHost({ ...source, sizeBytes }), to: new NvmeTestHost({ ...target, sizeBytes }) };
  }

  test("moves with its table and its idle timer", async () => {
    const options = { powerStates: 5 };
    const { from, to } = pair(options, options);
    using source = from;
    using target = to;
    setState(source.host, 2);
    setState(source.host, 3);
    setTable(source.host, { 2: [3, 60_000], 3: [4, 20] });
    target.takeOver(source.host);
    const saved = (): unknown => {
      const { services } = decodeState(target.device.migration.save()).state;
      return services["powerStates"];
    };
    const table = Buffer.from(tableOf({ 2: [3, 60_000], 3: [4, 20] })).toString("hex");
    const moved = { current: 3, operational: 2, hint: 0, enabled: true, table };
    expect(saved()).toEqual(moved);
    target.device.migration.start();
    await eventually(() => (isDeepStrictEqual(saved(), { ...moved, current: 4 }) ? true : undefined));
  });

  test.each([
    [5, 4],
    [1, 2],
  ])("is refused from %d states to %d", (mine, other) => {
    const { from, to } = pair({ powerStates: mine }, { powerStates: other });
    using source = from;
    using target = to;
    expect(() => target.takeOver(source.host)).toThrow(ArgumentError);
    expect(() => target.takeOver(source.host)).toThrow(
      new RegExp(`"powerStates":${mine}.*"powerStates":${other}`),
    );
  });
});

describe("a controller that can't stand power states", () => {
  test("fails when it enters one by itself, and not when it is told to", async () => {
    using started = startedHost({ powerStates: 5, odd: { failsInOwnPowerState: true } });
    const { host } = started;
    for (const each of [4, 3, 0]) expect(setState(host, each)).toBe(SUCCESS);
    expect(host.status & ControllerStatus.CFS).toBe(0);
    expect(setTable(host, { 0: [3, 1] })).toBe(SUCCESS);
    await hasFailed(host);
  });

  test("fails when it enters the deepest one, and no other", async () => {
    using started = startedHost({ powerStates: 5, odd: { failsInDeepestPowerState: true } });
    const { host } = started;
    for (const each of [1, 2, 3, 0]) expect(setState(host, each)).toBe(SUCCESS);
    expect(setTable(host, { 0: [3, 1] })).toBe(SUCCESS);
    await reaches(host, 3);
    expect(setState(host, 4)).toBe(SUCCESS);
    expect(host.status & ControllerStatus.CFS).not.toBe(0);
    host.device.reset();
    host.enable();
    expect(setTable(host, { 0: [4, 1] })).toBe(SUCCESS);
    await hasFailed(host);
  });
});

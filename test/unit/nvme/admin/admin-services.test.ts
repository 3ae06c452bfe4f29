/**
 * Asymmetric access, lockdown, security, saved features and endurance groups, on an emulated controller behind a socket.
 */
import { describe, expect, test } from "vitest";
import { AnaState, Feature, FeatureId, type NvmeEvent } from "../../../../src/doors/nvme.js";
import { ArgumentError, ClosedError, type NvmeController } from "../../../../src/index.js";
import { AdminOpcode } from "../../../../src/nvme/spec/opcodes.js";
import { caught } from "../../../support/caught.js";
import { openController, startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

useEmulatedNvme();

async function next(nvme: NvmeController): Promise<NvmeEvent> {
  for await (const event of nvme.events) return event;
  throw new Error("the events ended");
}

describe("an order to the emulator", () => {
  test("changes the asymmetric access state, which an event reports and which makes the controller reject commands", async () => {
    const emulator = await startController({ anaGroups: 2, namespaces: 2 });
    const nvme = await openController({}, {}, emulator);
    const lists = nvme.logs.lists;
    const before = await lists.asymmetricNamespaceAccess();
    expect(before.groups.map(({ groupId, state, namespaces }) => [groupId, state, namespaces])).toEqual([
      [1, AnaState.optimized, [1]],
      [2, AnaState.optimized, [2]],
    ]);
    const namespace = await nvme.namespace(2);
    await nvme.features.write(Feature.asyncEventConfiguration, { asymmetricNamespaceAccess: true });
    for (const [state, status] of [
      ["inaccessible", "Asymmetric Access Inaccessible"],
      ["persistentLoss", "Asymmetric Access Persistent Loss"],
      ["change", "Asymmetric Access Transition"],
    ] as const) {
      const event = next(nvme);
      await emulator.order({ kind: "setAnaState", group: 2, state });
      expect(await event).toMatchObject({ type: "notice", name: "asymmetricNamespaceAccessChange" });
      expect(await caught(namespace.flush())).toMatchObject({ status });
      const { groups } = await lists.asymmetricNamespaceAccess();
      expect(groups[1]?.state).toBe(AnaState[state]);
      await (await nvme.namespace(1)).flush();
    }
    await emulator.order({ kind: "setAnaState", group: 2, state: "nonOptimized" });
    await namespace.flush();
    const { changeCount, groups } = await lists.asymmetricNamespaceAccess({ groupsOnly: true });
    expect([changeCount, groups.map(({ namespaces }) => namespaces)]).toEqual([4n, [[], []]]);
  });

  test("is rejected if it can't be carried out", async () => {
    const emulator = await startController();
    for (const order of [
      { kind: "setAnaState", group: 1, state: "optimized" },
      { kind: "inject", fault: { kind: "status", probability: 2 } },
    ] as const) {
      expect(await caught(emulator.order(order))).toMatchObject({ code: "ERR_IOVA_CONFIG" });
    }
    await emulator.order({ kind: "inject", fault: { kind: "status", opcode: AdminOpcode.getLogPage } });
    const nvme = await openController({}, {}, emulator);
    expect(await caught(nvme.logs.smart())).toMatchObject({ status: "Internal Error" });
    await emulator.order({ kind: "clearFaults" });
    await emulator.order({ kind: "captureTelemetry", reason: "by order" });
    const { header } = await nvme.logs.telemetry.controller();
    expect(Buffer.from(header.reason).toString("latin1")).toMatch(/^by order/);
    await nvme.close();
    await emulator.close();
    expect(await caught(emulator.order({ kind: "clearFaults" }))).toBeInstanceOf(ClosedError);
  });
});

test("lockdown prohibits commands, lists them, and allows them again", async () => {
  const nvme = await openController();
  const format = { scope: "adminOpcode", identifier: AdminOpcode.formatNvm } as const;
  await nvme.lockdown({ ...format, prohibit: true });
  await nvme.lockdown({ scope: "feature", identifier: FeatureId.timestamp, prohibit: true });
  expect(await nvme.logs.lockdown(0, 1)).toEqual([AdminOpcode.formatNvm]);
  expect(await nvme.logs.lockdown(2, 1)).toEqual([FeatureId.timestamp]);
  expect(await nvme.logs.lockdown(0)).toContain(AdminOpcode.sanitize);
  const prohibited = { status: "Command Prohibited by Command and Feature Lockdown" };
  expect(await caught(nvme.maintenance.format(1))).toMatchObject(prohibited);
  expect(await caught(nvme.features.setTimestamp(new Date(0)))).toMatchObject(prohibited);
  await nvme.lockdown({ ...format, prohibit: false });
  await nvme.maintenance.format(1);
  expect(
    await caught(nvme.lockdown({ scope: "adminOpcode", identifier: AdminOpcode.identify, prohibit: true })),
  ).toMatchObject({ status: "Prohibition of Command Execution Not Supported" });
});

test("security lists its protocols, and rejects all others", async () => {
  const { security } = await openController();
  expect(await security.protocols()).toEqual([0]);
  const invalid = { status: "Invalid Field in Command" };
  expect(await caught(security.receive({ protocol: 1 }, 512))).toMatchObject(invalid);
  expect(await caught(security.send({ protocol: 0 }, new Uint8Array(512)))).toMatchObject(invalid);
  expect(await caught(security.receive({ protocol: 256 }, 512))).toBeInstanceOf(ArgumentError);
});

test("saved features are set after a reset", async () => {
  // The driver would set again what was set last.
  const nvme = await openController({}, { restoreFeatures: false });
  const { features } = nvme;
  expect(await features.capabilities(FeatureId.arbitration)).toMatchObject({ saveable: true });
  const values = { burst: 2, lowWeight: 3, mediumWeight: 4, highWeight: 5 };
  await features.write(Feature.arbitration, values, { save: true });
  await features.write(Feature.arbitration, { burst: 1 });
  await nvme.reset();
  expect(await features.read(Feature.arbitration, { select: "saved" })).toEqual(values);
  expect(await features.read(Feature.arbitration)).toEqual(values);
  expect(await features.read(Feature.arbitration, { select: "default" })).toMatchObject({ burst: 7 });
});

test("the endurance group covers the whole medium", async () => {
  const nvme = await openController({ sizeBytes: 1 << 20, capacityBytes: 4 << 20 });
  expect(await nvme.structures.enduranceGroups()).toEqual([1]);
  expect((await nvme.structures.namespace(1)).endgid).toBe(1);
  using data = nvme.dma.alloc(4096);
  await (await nvme.namespace(1)).write(0n, data);
  expect(await nvme.logs.enduranceGroup(1)).toMatchObject({
    availableSpare: 100,
    hostWriteCommands: 1n,
    dataUnitsWritten: 1n,
    totalCapacity: 4n << 20n,
    unallocatedCapacity: 3n << 20n,
  });
  expect(await caught(nvme.logs.enduranceGroup(2))).toMatchObject({ status: "Invalid Field in Command" });
});

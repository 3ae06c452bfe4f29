/** Admin commands that start background work, on an emulated controller behind a socket. */
import { describe, expect, test } from "vitest";
import { emulatedFirmware } from "../../../../src/doors/emulator.js";
import {
  AdminOpcode,
  AsyncEventInfo,
  Feature,
  LogPageId,
  type NvmeEvent,
  NvmeStatus,
  SanitizeStatus,
  SelfTestCode,
  SelfTestResult,
} from "../../../../src/doors/nvme.js";
import { ArgumentError, type NvmeController, UnsupportedError } from "../../../../src/index.js";
import { caught } from "../../../support/caught.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { eventually } from "../../../support/eventually.js";

useEmulatedNvme();
const LONG = 3_600_000;

describe("Device Self-test", () => {
  test("runs once at a time, and can be aborted", async () => {
    const nvme = await openController({ shortSelfTestMs: 10, extendedSelfTestMs: LONG });
    expect(nvme.identify.edstt).toBe(60);
    const { maintenance, logs } = nvme;
    await maintenance.selfTest("extended");
    expect(await logs.selfTest()).toEqual({
      currentOperation: SelfTestCode.extended,
      completionPercent: 0,
      results: [],
    });
    expect(await caught(maintenance.selfTest("short"))).toMatchObject({
      status: "Device Self-test In Progress",
    });
    await maintenance.selfTest("abort");
    await maintenance.selfTest("short", 1);
    const done = await eventually(async () => {
      const log = await logs.selfTest();
      return log.currentOperation === 0 ? log : undefined;
    });
    expect(done.results.map(({ code, result }) => [code, result])).toEqual([
      [SelfTestCode.short, SelfTestResult.success],
      [SelfTestCode.extended, SelfTestResult.aborted],
    ]);
    expect(await caught(maintenance.selfTest("short", 9))).toMatchObject({
      statusCode: NvmeStatus.invalidField,
    });
  });

  test("reports which block is bad", async () => {
    const nvme = await openController({ extendedSelfTestMs: 0 });
    const namespace = await nvme.namespace(1);
    await namespace.writeUncorrectable(1234n, 1);
    await nvme.maintenance.selfTest("extended");
    const [result] = await eventually(async () => {
      const { results } = await nvme.logs.selfTest();
      return results.length > 0 ? results : undefined;
    });
    expect(result).toMatchObject({ result: SelfTestResult.segmentsFailed, nsid: 1, failingLba: 1234n });
  });
});

async function next(nvme: NvmeController): Promise<NvmeEvent> {
  for await (const event of nvme.events) return event;
  throw new Error("the events ended");
}

describe("Sanitize", () => {
  test.each(["blockErase", "cryptoErase", "overwrite"] as const)(
    "erases by %s, and reports its progress and its end",
    async (action) => {
      const nvme = await openController({ sanitizeMs: 50, sizeBytes: 1 << 20 });
      const namespace = await nvme.namespace(1);
      using data = nvme.dma.alloc(4096);
      data.bytes.fill(0xa5);
      await namespace.write(8n, data);
      const event = next(nvme);
      await nvme.maintenance.sanitize(action, { passes: 3, pattern: 0xdead_beef, invert: true });
      expect(await event).toMatchObject({
        type: "ioCommandSet",
        info: AsyncEventInfo.ioCommandSet.sanitizeCompleted,
        logPage: LogPageId.sanitizeStatus,
      });
      expect(await nvme.logs.sanitize()).toMatchObject({
        status: SanitizeStatus.completed,
        globalDataErased: 1,
        overwritePasses: action === "overwrite" ? 3 : 0,
      });
      await namespace.read(8n, data);
      expect(data.bytes.every((byte) => byte === 0)).toBe(true);
    },
  );

  test("makes the controller reject other commands while it runs, also after a reset", async () => {
    const nvme = await openController({
      sanitizeMs: LONG,
      faults: [{ kind: "fail-later", queue: "admin", opcode: 0x84 }],
    });
    const namespace = await nvme.namespace(1);
    await nvme.maintenance.sanitize("overwrite", { noDeallocate: true, pattern: 0x5a5a_5a5a });
    expect(await nvme.logs.sanitize()).toMatchObject({
      status: SanitizeStatus.inProgress,
      overwriteTime: 3600,
    });
    const refused = { status: "Sanitize In Progress" };
    using data = nvme.dma.alloc(4096);
    expect(await caught(namespace.flush())).toMatchObject(refused);
    expect(await caught(namespace.write(0n, data))).toMatchObject(refused);
    expect(await caught(nvme.maintenance.format(1))).toMatchObject(refused);
    expect(await caught(nvme.maintenance.sanitize("blockErase"))).toMatchObject(refused);
    // Also after a reset.
    await nvme.reset();
    expect(await caught(namespace.flush())).toMatchObject(refused);
    expect(await caught(nvme.maintenance.sanitize("exitFailure"))).toMatchObject(refused);
  });

  test("makes the controller reject commands after a failure, until the failure mode is left", async () => {
    const nvme = await openController({
      sanitizeMs: 0,
      sizeBytes: 1 << 20,
      faults: [{ kind: "fail-later", queue: "admin", opcode: 0x84 }],
    });
    const namespace = await nvme.namespace(1);
    const failed = next(nvme);
    await nvme.maintenance.sanitize("cryptoErase", { allowUnrestrictedExit: true });
    await nvme.events.clear(await failed);
    expect((await nvme.logs.sanitize()).status).toBe(SanitizeStatus.failed);
    expect(await caught(namespace.flush())).toMatchObject({ status: "Sanitize Failed" });
    await nvme.maintenance.sanitize("exitFailure");
    await namespace.flush();
  });
});

describe("a firmware image", () => {
  test("is downloaded in pieces and committed, and runs after the reset", async () => {
    const nvme = await openController({ maxTransferBytes: 16384 });
    const { firmware, logs, structures } = nvme;
    expect(firmware.slots).toEqual({ count: 3, firstReadOnly: true, withoutReset: true });
    const image = emulatedFirmware({ revision: "2.1", sizeBytes: 100_004 });
    expect(await firmware.update(image, "replaceAndActivate", { slot: 2 })).toEqual({
      needs: "none",
      overlap: 0,
    });
    expect(await logs.firmwareSlots()).toMatchObject({ active: 1, next: 2 });
    expect((await structures.controller()).fr).toBe("1.0");
    await nvme.reset();
    expect((await structures.controller()).fr).toBe("2.1");
    const slots = await logs.firmwareSlots();
    expect(slots).toMatchObject({ active: 2, next: 0 });
    expect(slots.revisions.slice(0, 3)).toEqual(["1.0", "2.1", ""]);
  });

  test("says which reset it needs, or runs at once if it needs none", async () => {
    const nvme = await openController();
    const { firmware } = nvme;
    for (const [needs, told] of [
      ["controller", "controller reset"],
      ["conventional", "conventional reset"],
      ["subsystem", "subsystem reset"],
    ] as const) {
      await firmware.download(emulatedFirmware({ revision: "r", needs }));
      expect((await firmware.commit("activateNow", { slot: 3 })).needs).toBe(told);
    }
    await nvme.features.write(Feature.asyncEventConfiguration, { firmwareActivation: true });
    const event = next(nvme);
    await firmware.download(emulatedFirmware({ revision: "first" }));
    expect(await firmware.update(emulatedFirmware({ revision: "live" }), "activateNow", { slot: 2 })).toEqual(
      {
        needs: "none",
        overlap: 1,
      },
    );
    expect(await event).toMatchObject({ type: "notice", name: "firmwareActivationStarting" });
    expect((await nvme.structures.controller()).fr).toBe("live");
  });

  test("is rejected if it is invalid or has no slot", async () => {
    const { firmware, logs } = await openController();
    await firmware.download(new Uint8Array(8192));
    expect(await caught(firmware.commit("replace", { slot: 2 }))).toMatchObject({
      status: "Invalid Firmware Image",
    });
    await firmware.download(emulatedFirmware({ revision: "a" }));
    for (const slot of [1, 4]) {
      expect(await caught(firmware.commit("replace", { slot }))).toMatchObject({
        status: "Invalid Firmware Slot",
      });
    }
    expect(await caught(firmware.commit("replaceBootPartition"))).toMatchObject({
      status: "Invalid Field in Command",
    });
    expect(await caught(firmware.commit("replace", { slot: 8 }))).toBeInstanceOf(ArgumentError);
    expect((await logs.firmwareSlots()).active).toBe(1);
  });
});

describe("the emulated controller's own data", () => {
  /** The first data area: what the emulated controller tells of itself. */
  async function told(nvme: NvmeController): Promise<Record<string, unknown>> {
    const { data } = await nvme.logs.telemetry.host({ areas: 1 });
    return JSON.parse(Buffer.from(data).toString("latin1").replace(/\0+$/, ""));
  }

  test("telemetry is captured anew at each request of the host", async () => {
    const nvme = await openController({ serial: "T1", extendedSelfTestMs: 0 });
    const { telemetry } = nvme.logs;
    expect((await telemetry.lastHost()).data).toHaveLength(0);
    const first = await telemetry.host();
    expect(first.header.hostGeneration).toBe(1);
    expect(first.data).toHaveLength(first.header.lastBlock3 * 512);
    expect((await telemetry.host({ areas: 2 })).header.hostGeneration).toBe(2);
    expect(await told(nvme)).toMatchObject({ controller: { serial: "T1" } });
    expect(await caught(telemetry.host({ areas: 4 }))).toBeInstanceOf(ArgumentError);
    // The controller's own: a self-test fails.
    await nvme.features.write(Feature.asyncEventConfiguration, { telemetry: true });
    const namespace = await nvme.namespace(1);
    await namespace.writeUncorrectable(5n, 1);
    const event = (async () => {
      for await (const one of nvme.events) if (one.type === "notice") return one;
      return undefined;
    })();
    await nvme.maintenance.selfTest("extended");
    expect(await event).toMatchObject({
      name: "telemetryLogChanged",
      logPage: LogPageId.telemetryController,
    });
    const { header } = await telemetry.controller();
    expect(Buffer.from(header.reason).toString("latin1")).toMatch(/^self-test failed/);
    expect(header).toMatchObject({ controllerAvailable: 1, controllerGeneration: 1 });
    expect((await telemetry.lastHost()).header.controllerAvailable).toBe(0);
  });

  test("host memory is used by the controller, and free again when it was taken back", async () => {
    const nvme = await openController({ hostMemoryBytes: 1 << 20 });
    const namespace = await nvme.namespace(1);
    using data = nvme.dma.alloc(65536);
    data.bytes.fill(0x5a);
    await namespace.write(0n, data);
    const memory = await nvme.giveHostMemory();
    expect(memory.sizeBytes).toBe(1 << 20);
    expect(await caught(nvme.giveHostMemory())).toMatchObject({ status: "Command Sequence Error" });
    for (let round = 0; round < 3; round++) {
      data.bytes.fill(0);
      await namespace.read(0n, data);
      expect(data.bytes.every((byte) => byte === 0x5a)).toBe(true);
    }
    expect(await told(nvme)).toMatchObject({
      hostMemory: { sizeBytes: 1 << 20, hits: 32, misses: 16, damaged: 0 },
    });
    await memory.close();
    expect(await told(nvme)).toMatchObject({ hostMemory: { sizeBytes: 0, damaged: 0 } });
    await namespace.read(0n, data);
    expect(data.bytes.every((byte) => byte === 0x5a)).toBe(true);
    expect(await caught(nvme.giveHostMemory(4096))).toBeInstanceOf(ArgumentError);
    await using again = await nvme.giveHostMemory(128 * 1024);
    await namespace.read(0n, data);
    expect(await told(nvme)).toMatchObject({ hostMemory: { sizeBytes: 128 * 1024, damaged: 0 } });
    expect(again.closed).toBe(false);
  });
});

describe("Sanitize Namespace", () => {
  test("erases one namespace and leaves the others", async () => {
    const nvme = await openController({ namespaces: 2 });
    const [one, two] = [await nvme.namespace(1), await nvme.namespace(2)];
    const data = Buffer.alloc(512, 0xa5);
    await one.write(3, data);
    await two.write(3, data);
    await nvme.maintenance.sanitizeNamespace(1, "cryptoErase");
    expect((await one.read(3, 512)).every((byte) => byte === 0)).toBe(true);
    expect((await two.read(3, 512)).equals(data)).toBe(true);
    await nvme.maintenance.sanitizeNamespace(1, "exitFailure");
    expect(await caught(nvme.maintenance.sanitizeNamespace(9, "cryptoErase"))).toMatchObject({
      status: "Invalid Namespace or Format",
    });
    const verified = nvme.maintenance.sanitizeNamespace(1, "cryptoErase", { verification: true });
    expect(await caught(verified)).toMatchObject({ status: "Invalid Field in Command" });
  });

  test("is checked, and a controller without it is named", async () => {
    const { maintenance } = await openController({ odd: { refusedAdmin: [AdminOpcode.sanitizeNamespace] } });
    expect(await caught(maintenance.sanitizeNamespace(0, "cryptoErase"))).toBeInstanceOf(ArgumentError);
    expect(await caught(maintenance.sanitizeNamespace(1, "overwrite" as "cryptoErase"))).toBeInstanceOf(
      ArgumentError,
    );
    const error = await caught(maintenance.sanitizeNamespace(1, "cryptoErase"));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error).toMatchObject({ message: expect.stringContaining("no Sanitize Namespace command") });
  });
});

test("the logs of reachability say that all namespaces reach each other", async () => {
  const nvme = await openController({ namespaces: 3 });
  expect(await nvme.logs.topology.reachabilityGroups()).toEqual({
    changeCount: 0n,
    groups: [{ groupId: 1, changeCount: 0n, namespaces: [1, 2, 3] }],
  });
  expect((await nvme.logs.topology.reachabilityAssociations()).associations).toEqual([
    { associationId: 1, changeCount: 0n, characteristics: 0, groups: [1] },
  ]);
  expect((await nvme.structures.independentNamespace(2)).rgrpid).toBe(1);
});

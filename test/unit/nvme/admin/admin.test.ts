/** Identify, log pages, features, events and management, on the emulated controller behind a socket. */
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { NvmeEmulatorOptions, RunningEmulator } from "../../../../src/doors/emulator.js";
import {
  decodeBits,
  Feature,
  FeatureId,
  LogPageId,
  type NvmeEvent,
  Oacs,
  retryDelayMs,
} from "../../../../src/doors/nvme.js";
import { ArgumentError, NvmeController, NvmeError, UnsupportedError } from "../../../../src/index.js";
import { AdminOpcode } from "../../../../src/nvme/spec/opcodes.js";
import { caught } from "../../../support/caught.js";
import { emulate } from "../../../support/emulators.js";

const MIB = 1024 * 1024;

let emulator: RunningEmulator | undefined;
let open: NvmeController | undefined;

async function controller(options: NvmeEmulatorOptions = {}): Promise<NvmeController> {
  emulator = await emulate({ device: "nvme", options: { sizeBytes: 16 * MIB, ...options } });
  open = await NvmeController.open(emulator.address, { completion: "poll" });
  return open;
}

// The first emulator is compiled.
beforeAll(async () => {
  await (await emulate({ device: "nvme", options: { sizeBytes: MIB } })).close();
});

afterEach(async () => {
  await open?.close();
  await emulator?.close();
  open = undefined;
  emulator = undefined;
});

describe("Identify structures", () => {
  test("reject a controller that answers each list with the same full page", async () => {
    const nvme = await controller();
    const { structures } = nvme;
    using admin = vi.spyOn(nvme, "admin").mockImplementation(async ({ data }) => {
      if (data === undefined || !("buffer" in data)) throw new Error("a list is read into one buffer");
      const { bytes } = data.buffer;
      // As 32-bit ids: 1 to 1024. As a count and 16-bit ids: the same full page each time.
      new Uint32Array(bytes.buffer, bytes.byteOffset, 1024).set(
        Array.from({ length: 1024 }, (_, i) => i + 1),
      );
      return { dw0: 0, dw1: 0 };
    });
    for (const read of [() => nvme.namespaceIds(), () => structures.allocatedNamespaces()]) {
      admin.mockClear();
      expect(await caught(read())).toMatchObject({
        name: "NvmeProtocolError",
        message: expect.stringContaining("don't ascend: the controller returned 1 where ids start at 1025"),
      });
      expect(admin).toHaveBeenCalledTimes(2);
    }
    admin.mockImplementation(async ({ data }) => {
      if (data === undefined || !("buffer" in data)) throw new Error("a list is read into one buffer");
      data.buffer.bytes.fill(0xff);
      return { dw0: 0, dw1: 0 };
    });
    for (const read of [
      () => structures.controllers(),
      () => structures.controllersOf(1),
      () => structures.enduranceGroups(),
      () => structures.secondaryControllers(),
      () => structures.nvmSets(),
      () => structures.domains(),
    ]) {
      expect(await caught(read())).toMatchObject({ name: "NvmeProtocolError" });
    }
  });

  test("describe the controller and its namespaces in every list", async () => {
    const nvme = await controller({ namespaces: 3, capacityBytes: 32 * MIB });
    const { structures } = nvme;
    expect(await structures.controller()).toEqual(nvme.identify);
    expect(await structures.activeNamespaces()).toEqual([1, 2, 3]);
    expect(await structures.activeNamespaces(0)).toEqual([1, 2, 3]);
    expect(await structures.activeNamespaces(2)).toEqual([]);
    expect(await structures.allocatedNamespaces()).toEqual([1, 2, 3]);
    expect(await structures.allocatedNamespaces(0)).toEqual([1, 2, 3]);
    expect(await structures.controllers()).toEqual([nvme.identify.cntlid]);
    expect(await structures.controllersOf(2)).toEqual([nvme.identify.cntlid]);
    expect(await structures.commandSets()).toEqual([0b101n]);
    const ns = await structures.namespace(2);
    expect(await structures.allocatedNamespace(2)).toEqual(ns);
    expect(ns.nsze * 512n).toBe(5n * BigInt(MIB));
    expect((await structures.namespace(0xffff_ffff)).nlbaf).toBe(ns.nlbaf);
    expect((await structures.namespace(9)).nsze).toBe(0n);
    const ids = await structures.namespaceIdentifiers(2);
    expect(ids).toEqual({ eui64: Buffer.from(ns.eui64).toString("hex"), csi: 0 });
    expect((await structures.independentNamespace(1)).nstat & 1).toBe(1);
    const formats = await structures.nvmNamespace(1);
    expect(formats.elbaf.slice(0, ns.nlbaf + 1).map(({ guardBits }) => guardBits)).toContain(64);
    expect(await structures.allocatedNvmNamespace(1)).toEqual(formats);
    expect(await structures.nvmController()).toMatchObject({ dmrl: 255 });
    const [state] = nvme.identify.psd;
    expect(state).toMatchObject({ mp: 2500, nops: 0 });
  });

  test("describe zoned namespaces", async () => {
    const nvme = await controller({ zoned: { zoneSizeBytes: MIB, maxOpen: 2, maxActive: 4 } });
    const { structures } = nvme;
    expect(await structures.activeNamespaces(2)).toEqual([1]);
    const zoned = await structures.zonedNamespace(1);
    expect(zoned).toMatchObject({ mar: 3, mor: 1 });
    expect(zoned.lbafe[0]?.zoneSizeBlocks).toBe(BigInt(MIB / 512));
    expect(await structures.allocatedZonedNamespace(1)).toEqual(zoned);
    expect(await structures.zonedController()).toMatchObject({ zasl: 0 });
    expect(await structures.namespaceIdentifiers(1)).toMatchObject({ csi: 2 });
  });

  test("are rejected by the controller if it lacks them, and by the driver if a request is invalid", async () => {
    const { structures } = await controller();
    expect(await caught(structures.nvmSets())).toMatchObject({
      status: "Invalid Field in Command",
      meaning: expect.stringContaining("field"),
    });
    for (const wrong of [
      () => structures.read(256),
      () => structures.read(0, { nsid: -1 }),
      () => structures.read(0, { cntid: 65_536 }),
      () => structures.read(0, { cnssid: 65_536 }),
      () => structures.read(0, { csi: 256 }),
      () => structures.read(0, { uuidIndex: 128 }),
    ]) {
      expect(await caught(wrong())).toBeInstanceOf(ArgumentError);
    }
  });
});

describe("namespace management", () => {
  test("creates, attaches, formats, detaches and deletes a namespace", async () => {
    const nvme = await controller({ capacityBytes: 32 * MIB });
    const { namespaceManagement, structures, maintenance } = nvme;
    const nsid = await namespaceManagement.create({ sizeBlocks: 4096n });
    expect(nsid).toBe(2);
    expect(await structures.allocatedNamespaces()).toEqual([1, 2]);
    expect(await structures.activeNamespaces()).toEqual([1]);
    expect(await structures.controllersOf(nsid)).toEqual([]);
    await namespaceManagement.attach(nsid);
    expect(await structures.controllersOf(nsid)).toEqual([nvme.identify.cntlid]);
    expect(await caught(namespaceManagement.attach(nsid))).toMatchObject({
      status: "Namespace Already Attached",
    });
    const before = await structures.namespace(nsid);
    const index = before.lbaf.findIndex(
      ({ blockSizeBytes, metadataBytes }) => blockSizeBytes === 4096 && metadataBytes === 8,
    );
    await maintenance.format(nsid, { lbaFormat: index, protection: 2, protectionFirst: true });
    const after = await structures.namespace(nsid);
    expect(after.flbas & 0xf).toBe(index);
    expect(after.dps).toBe(2 | (1 << 3));
    expect(after.nsze).toBe(before.nsze / 8n);
    await namespaceManagement.detach(nsid);
    expect(await structures.activeNamespaces()).toEqual([1]);
    await namespaceManagement.delete(nsid);
    expect(await structures.allocatedNamespaces()).toEqual([1]);
  });

  test("passes on the controller's errors, and rejects invalid arguments", async () => {
    const nvme = await controller();
    const { namespaceManagement, maintenance } = nvme;
    expect(await caught(namespaceManagement.create({ sizeBlocks: 2n ** 40n }))).toMatchObject({
      status: "Namespace Insufficient Capacity",
    });
    expect(await caught(namespaceManagement.attach(1, [7]))).toMatchObject({
      status: "Controller List Invalid",
    });
    for (const wrong of [
      () => namespaceManagement.create({ sizeBlocks: 0n }),
      () => namespaceManagement.create({ sizeBlocks: 8n, capacityBlocks: 9n }),
      () => namespaceManagement.create({ sizeBlocks: 8n, lbaFormat: 64 }),
      () => namespaceManagement.attach(0),
      () => namespaceManagement.attach(1, []),
      () => namespaceManagement.detach(1, [65_536]),
      () => maintenance.format(1, { lbaFormat: 64 }),
    ]) {
      expect(await caught(wrong())).toBeInstanceOf(ArgumentError);
    }
    expect(await caught(maintenance.format(1, { secureErase: "cryptographic" }))).toBeInstanceOf(
      UnsupportedError,
    );
  });
});

test("a command that OACS denies is rejected before anything is sent", async () => {
  const nvme = await controller();
  expect(decodeBits(nvme.identify.oacs, Oacs)).toMatchObject({
    format: true,
    namespaceManagement: true,
    firmware: true,
    security: true,
  });
  const errors = (await nvme.logs.errors()).length;
  for (const missing of [
    () => nvme.directives.supported(1),
    () => nvme.virtualization.secondaryControllers(),
    () => nvme.capacity.createEnduranceGroup(1n << 30n),
    () => nvme.giveHostMemory(),
  ]) {
    expect(await caught(missing())).toBeInstanceOf(UnsupportedError);
  }
  expect(await nvme.logs.errors()).toHaveLength(errors);
});

describe("features", () => {
  test("are read and written by fields, and have capabilities", async () => {
    const { features } = await controller();
    await features.write(Feature.arbitration, { burst: 3, lowWeight: 1, mediumWeight: 2, highWeight: 255 });
    expect(await features.read(Feature.arbitration)).toEqual({
      burst: 3,
      lowWeight: 1,
      mediumWeight: 2,
      highWeight: 255,
    });
    expect(await features.read(Feature.arbitration, { select: "default" })).toMatchObject({ burst: 7 });
    expect(await features.capabilities(FeatureId.arbitration)).toEqual({
      saveable: true,
      namespaceSpecific: false,
      changeable: true,
    });
    expect(await features.capabilities(FeatureId.errorRecovery, 1)).toMatchObject({
      namespaceSpecific: true,
    });
    await features.write(Feature.errorRecovery, { timeLimit: 5 }, { nsid: 1 });
    expect(await features.read(Feature.errorRecovery, { nsid: 1 })).toEqual({
      timeLimit: 5,
      deallocatedError: false,
    });
    await features.write(Feature.interruptVectorConfiguration, { vector: 1, coalescingDisabled: true });
    expect(await features.read(Feature.interruptVectorConfiguration, { cdw11: 1 })).toEqual({
      vector: 1,
      coalescingDisabled: true,
    });
    await features.structures.setHostBehavior({ lbafee: 1 });
    expect(await features.structures.hostBehavior()).toMatchObject({ acre: 0, lbafee: 1 });
  });

  test("are rejected if they can't be saved or don't exist", async () => {
    const { features } = await controller();
    expect(
      await caught(features.write(Feature.keepAliveTimer, { milliseconds: 0 }, { save: true })),
    ).toMatchObject({ status: "Feature Identifier Not Saveable" });
    expect(await caught(features.structures.powerTransitions())).toBeInstanceOf(NvmeError);
    for (const wrong of [
      () => features.write(Feature.arbitration, { burst: 8 }),
      () => features.structures.setHostIdentifier(1n << 64n),
      () => features.structures.setHostIdentifier(-1n, 128),
      () => features.structures.setReadRecoveryLevel(1, 16),
      () => features.structures.setLbaRanges(1, []),
      () => features.get(FeatureId.timestamp, { uuidIndex: 128 }),
    ]) {
      expect(await caught(wrong())).toBeInstanceOf(ArgumentError);
    }
  });
});

describe("events", () => {
  async function next(nvme: NvmeController): Promise<NvmeEvent> {
    for await (const event of nvme.events) return event;
    throw new Error("the events ended");
  }

  test("have a name and the log page that clears them", async () => {
    const nvme = await controller();
    await nvme.features.write(Feature.asyncEventConfiguration, {
      temperature: true,
      namespaceAttributes: true,
    });
    const limit = await nvme.features.temperatureThreshold();
    const [event] = await Promise.all([next(nvme), nvme.features.setTemperatureThreshold(200)]);
    expect(event).toEqual({
      type: "smart",
      name: "temperature",
      info: 1,
      logPage: LogPageId.smart,
      parameter: 0,
    });
    await nvme.features.setTemperatureThreshold(limit);
    await nvme.events.clear(event);
    const [again] = await Promise.all([next(nvme), nvme.features.setTemperatureThreshold(200)]);
    expect(again).toEqual(event);
    const [changed] = await Promise.all([next(nvme), nvme.namespaceManagement.detach(1)]);
    expect(changed).toMatchObject({
      type: "notice",
      name: "namespaceAttributeChanged",
      logPage: LogPageId.changedNamespaces,
    });
    await nvme.events.clear(changed);
    expect(await nvme.logs.changedNamespaces()).toEqual([]);
  });

  test("are iterated over until a signal aborts, whose reason the iteration throws once", async () => {
    const nvme = await controller();
    await nvme.features.write(Feature.asyncEventConfiguration, { temperature: true });
    const controllerOfSignal = new AbortController();
    const { signal } = controllerOfSignal;
    const events = nvme.events.values({ signal });
    const [first] = await Promise.all([events.next(), nvme.features.setTemperatureThreshold(200)]);
    expect(first).toMatchObject({ done: false, value: { type: "smart" } });
    const waiting = caught(events.next());
    const reason = new Error("enough");
    controllerOfSignal.abort(reason);
    expect(await waiting).toBe(reason);
    expect(await events.next()).toEqual({ done: true, value: undefined });
    expect(await caught(nvme.events.values({ signal }).next())).toBe(reason);
    expect(() => nvme.events.values({ signal: Object(1) })).toThrow(ArgumentError);
    const several = new AbortController();
    const asked = nvme.events.values({ signal: several.signal });
    const both = [caught(asked.next()), asked.next()];
    several.abort(reason);
    // Each call of next() settles, also of several at a time.
    expect(await Promise.all(both)).toEqual([reason, { done: true, value: undefined }]);
    const ended = nvme.events.values({ signal: new AbortController().signal });
    await ended.return?.();
    expect(await ended.next()).toEqual({ done: true, value: undefined });
  });
});

describe("an error status", () => {
  test("has its meaning, and says whether and when to try again", async () => {
    const crd = 2;
    const nvme = await controller({
      faults: [
        { kind: "status", opcode: AdminOpcode.getFeatures, status: 0x21 | (crd << 11) | (1 << 13), count: 1 },
      ],
    });
    const error = await caught(nvme.features.read(Feature.arbitration));
    expect(error).toMatchObject({
      statusCodeType: 0,
      statusCode: 0x21,
      status: "Command Interrupted",
      meaning: expect.stringContaining("sent again"),
      doNotRetry: false,
      more: true,
      retryDelay: crd,
    });
    if (!(error instanceof NvmeError)) throw error;
    expect(retryDelayMs(error, { crdt1: 1, crdt2: 7, crdt3: 9 })).toBe(700);
  });
});

test("supportedLogPages() lists the log pages that the controller supports", async () => {
  const { logs } = await controller();
  const pages = await logs.supportedLogPages();
  expect([...pages.keys()]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x0e, 0x11, 0x14, 0x1a, 0x1b, 0x80, 0x81]);
  expect(pages.get(LogPageId.smart)).toMatchObject({ supported: true, indexOffset: false });
  for (const wrong of [
    () => logs.read(2, 512, { uuidIndex: 128 }),
    () => logs.lockdown(16),
    () => logs.enduranceGroup(65_536),
    () => logs.fdp.configurations(65_536),
  ]) {
    expect(await caught(wrong())).toBeInstanceOf(ArgumentError);
  }
  expect(await caught(logs.read(LogPageId.errorInformation, 64, { index: 1 }))).toBeInstanceOf(
    UnsupportedError,
  );
});

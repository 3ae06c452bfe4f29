import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { decodeBits, Feature, FeatureId, Nmic, type NvmeEvent, Oacs } from "../../../src/doors/nvme.js";
import { bindToVfio, NvmeController, UnsupportedError, type VfioBinding } from "../../../src/index.js";
import { LogPageId } from "../../../src/nvme/spec/opcodes.js";
import { caught } from "../../support/caught.js";
import { twinNvmeBdfs } from "../../support/functions.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { bindGroup, nvmeControllers } from "../../support/nvme-machine.js";
import { provoke } from "../../support/provoke.js";

describe.each(nvmeControllers)("the $name controller", ({ bdf }) => {
  let binding: { close(): void };
  beforeAll(() => {
    binding = bindGroup(bdf());
  });
  afterAll(() => binding.close());
  expectNothingLeftSoon();

  test("describes itself consistently in every structure", async () => {
    await using nvme = await NvmeController.open(bdf());
    const { structures } = nvme;
    expect(await structures.controller()).toEqual(nvme.identify);
    expect(await structures.activeNamespaces()).toEqual([1]);
    expect(await structures.activeNamespaces(0)).toEqual([1]);
    expect(await structures.activeNamespaces(2)).toEqual([]);
    expect(await structures.allocatedNamespaces()).toEqual([1]);
    const ns = await structures.namespace(1);
    expect(await structures.allocatedNamespace(1)).toEqual(ns);
    expect(ns.nsze).toBe((await nvme.namespace(1)).sizeBlocks);
    const formats = await structures.nvmNamespace(1);
    expect(formats.elbaf).toHaveLength(64);
    expect(await structures.nvmController()).toMatchObject({ dmrl: expect.any(Number) });
    expect(await structures.namespaceIdentifiers(1)).toMatchObject({ csi: 0 });
    expect(nvme.identify.psd[0]?.mp).toBeGreaterThan(0);
    expect(nvme.identify.ieee).toBe(0x525400);
    expect(await nvme.namespaceIds()).toEqual([1]);
  });

  test("has features whose parts are read and written", async () => {
    await using nvme = await NvmeController.open(bdf());
    const { features } = nvme;
    expect(await features.capabilities(FeatureId.volatileWriteCache)).toMatchObject({ changeable: true });
    expect(await features.read(Feature.volatileWriteCache)).toEqual({ enabled: true });
    await features.write(Feature.errorRecovery, { timeLimit: 3 }, { nsid: 1 });
    expect(await features.read(Feature.errorRecovery, { nsid: 1 })).toMatchObject({ timeLimit: 3 });
    await features.write(Feature.asyncEventConfiguration, { temperature: true, namespaceAttributes: true });
    expect(await features.read(Feature.asyncEventConfiguration)).toMatchObject({
      temperature: true,
      spare: false,
      namespaceAttributes: true,
    });
    await features.structures.setHostBehavior({ lbafee: 1 });
    expect(await features.structures.hostBehavior()).toMatchObject({ acre: 0, lbafee: 1 });
    await features.structures.setHostBehavior({});
    provoke("pci_nvme_err_req_status");
    // QEMU has it, and lets nobody change it.
    expect(await features.capabilities(FeatureId.arbitration)).toMatchObject({ changeable: false });
    expect(await caught(features.write(Feature.arbitration, { burst: 2, lowWeight: 7 }))).toMatchObject({
      status: "Feature Not Changeable",
    });
    expect(await caught(features.structures.hostIdentifier())).toMatchObject({
      status: "Invalid Field in Command",
    });
    const { psd } = nvme.identify;
    expect(psd.filter(({ mp }) => mp !== 0)).toHaveLength(nvme.identify.npss + 1);
  });

  test("refuses what it lacks; the driver refuses it first where Identify says so", async () => {
    await using nvme = await NvmeController.open(bdf());
    expect(decodeBits(nvme.identify.oacs, Oacs)).toMatchObject({ firmware: false, security: false });
    for (const missing of [
      () => nvme.firmware.download(new Uint8Array(4)),
      () => nvme.security.protocols(),
      () => nvme.directives.supported(1),
      () => nvme.maintenance.selfTest("short"),
      () => nvme.maintenance.sanitize("cryptoErase"),
      () => nvme.giveHostMemory(),
    ]) {
      expect(await caught(missing())).toBeInstanceOf(UnsupportedError);
    }
    provoke("pci_nvme_err_invalid_identify_cns", "pci_nvme_err_req_status");
    provoke("pci_nvme_err_unhandled", "pci_nvme_err_invalid_identify");
    expect(await caught(nvme.structures.domains())).toMatchObject({ doNotRetry: true });
  });
});

describe("two controllers of one subsystem", () => {
  const bindings: VfioBinding[] = [];
  beforeAll(() => {
    for (const bdf of twinNvmeBdfs()) bindings.push(bindToVfio(bdf));
  });
  afterAll(() => {
    for (const binding of bindings) binding.close();
  });
  expectNothingLeftSoon();

  let first: NvmeController;
  let second: NvmeController;
  beforeEach(async () => {
    const [one, two] = twinNvmeBdfs();
    first = await NvmeController.open(one);
    second = await NvmeController.open(two);
  });
  afterEach(async () => {
    await first.close();
    await second.close();
  });

  test("share a namespace, and list each other", async () => {
    const ids = [first.identify.cntlid, second.identify.cntlid].sort((a, b) => a - b);
    expect(new Set(ids).size).toBe(2);
    expect(first.identify.subnqn).toBe(second.identify.subnqn);
    expect(await first.structures.controllers()).toEqual(ids);
    expect(await second.structures.controllersOf(1)).toEqual(ids);
    const ns = await first.structures.namespace(1);
    expect(decodeBits(ns.nmic, Nmic).shared).toBe(true);
    expect(await first.structures.activeNamespaces()).toEqual([1]);
    expect(await first.structures.allocatedNamespaces()).toEqual([1, 2]);
    // The allocated one can be described, though nobody has it.
    expect((await first.structures.namespace(2)).nsze).toBe(0n);
    expect((await first.structures.allocatedNamespace(2)).nsze).toBe(ns.nsze);
    expect((await first.structures.allocatedNvmNamespace(2)).elbaf).toHaveLength(64);
    expect(await first.structures.controllersOf(2)).toEqual([]);
  });

  test("attach a namespace to each other, and report that by an event", async () => {
    const next = async (): Promise<NvmeEvent> => {
      for await (const event of second.events) return event;
      throw new Error("the events ended");
    };
    const told = next();
    await first.namespaceManagement.attach(2, [second.identify.cntlid]);
    expect(await told).toMatchObject({
      type: "notice",
      name: "namespaceAttributeChanged",
      logPage: LogPageId.changedNamespaces,
    });
    expect(await second.logs.changedNamespaces()).toEqual([2]);
    expect(await second.structures.activeNamespaces()).toEqual([1, 2]);
    expect(await first.structures.activeNamespaces()).toEqual([1]);

    // Written by the one, read by the other.
    await second.namespaceManagement.attach(2, [first.identify.cntlid]);
    const [writer, reader] = [await first.namespace(2), await second.namespace(2)];
    using source = first.dma.alloc(4096);
    using target = second.dma.alloc(4096);
    source.bytes.fill(0xa5);
    await writer.write(8n, source);
    await writer.flush();
    await reader.read(8n, target);
    expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);

    provoke("pci_nvme_err_req_status");
    expect(await caught(first.namespaceManagement.attach(2))).toMatchObject({
      status: "Namespace Already Attached",
    });
    await first.namespaceManagement.detach(2, [second.identify.cntlid, first.identify.cntlid]);
    expect(await second.structures.activeNamespaces()).toEqual([1]);
    expect(await caught(first.namespaceManagement.detach(2))).toMatchObject({
      status: "Namespace Not Attached",
    });
    expect(await caught(first.namespaceManagement.attach(2, [0x7777]))).toMatchObject({
      status: "Controller List Invalid",
    });
  });
});

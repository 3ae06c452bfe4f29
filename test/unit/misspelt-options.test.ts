/**
 * Misspelt options of everything that takes options: an ArgumentError names the option, and the known ones. The list of what takes
 * options is read from the sources, so a new function with options needs a line here.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../guest/paths.js";
import { ArgumentError } from "../../src/core/errors.js";
import { DmaPool, exportUdmabuf, IovaAllocator, iova } from "../../src/doors/dma.js";
import {
  DeviceFaults,
  EmulatedEdu,
  EmulatedNvme,
  emulatedFirmware,
  initialConfigSpace,
  VfioUserServer,
} from "../../src/doors/emulator.js";
import {
  applySteps,
  bindPersistently,
  doctor,
  endPersistentBinding,
  grantPermissions,
  listChanges,
  listHugePages,
  listPersistentBindings,
  planFixes,
  planHugePages,
  planPermissions,
  planPersistentBinding,
  restoreChanges,
  revokePermissions,
  setHugePages,
} from "../../src/doors/host.js";
import { vtdInvalidations, vtdStage1 } from "../../src/doors/iommufd.js";
import { DirectiveType, ProtectionInformation, RawController } from "../../src/doors/nvme.js";
import {
  bit,
  bits,
  choice,
  createMediatedDevice,
  createVirtualFunctions,
  DeviceServer,
  descriptorLayout,
  reg8,
  reg16,
  reg32,
  reg64,
  registerBlock,
  removeMediatedDevice,
  removeVirtualFunctions,
} from "../../src/doors/pci.js";
import { EventFd } from "../../src/doors/vfio.js";
import { VfioUserClient, VfioUserDevice } from "../../src/doors/vfio-user.js";
import {
  bindToVfio,
  bindToVfioAsync,
  MappedMemory,
  NvmeController,
  PciDevice,
  unbindFromVfio,
  unbindFromVfioAsync,
} from "../../src/index.js";
import { hostBehavior } from "../../src/nvme/spec/features.js";
import { FeatureId } from "../../src/nvme/spec/opcodes.js";
import { Interrupts } from "../../src/pci/interrupts.js";
import { apiShape } from "../support/api-shape.js";
import { MIB, openController, startController, useEmulatedNvme } from "../support/emulated-nvme.js";
import { emulate } from "../support/emulators.js";
import { optionParameters } from "../support/option-parameters.js";

useEmulatedNvme();

/** What a program in JavaScript may give: right options, and one that doesn't exist. */
const misspelt = { misspelt: true } as never;
const and = (options: object): never => ({ ...options, misspelt: true }) as never;

/** Objects of the kernel, which only guests have. Each has a line in one of these files. */
const inGuests = ["mock", "intel"].map((machine) =>
  readFileSync(join(packageRoot(), `test/guest/${machine}/misspelt-options.test.ts`), "utf8"),
);

/** Whose options the library itself makes, for each mapping: nobody can misspell them. */
const placements = /^(AddressChooser|\w*Mapper)\.\w+\(placement\)$/;
/** Descriptions of errors, as those of JavaScript's own classes. */
const errors = /^(new )?\w+Error[.(]/;

test("everything that takes options has a line in a test of misspelt ones", () => {
  const tested = readFileSync(new URL(import.meta.url), "utf8");
  const missing = optionParameters(apiShape()).filter(
    (name) =>
      !placements.test(name) &&
      !errors.test(name) &&
      ![tested, ...inGuests].some((text) => text.includes(`"${name}":`)),
  );
  expect(missing).toEqual([]);
}, 600_000);

/** Each call gives a misspelt option. */
async function expectRejections(calls: Readonly<Record<string, () => unknown>>): Promise<void> {
  const accepted: string[] = [];
  for (const [name, call] of Object.entries(calls)) {
    const error = await (async () => await call())().then(
      () => "no error",
      (reason: unknown) => reason,
    );
    if (!(error instanceof ArgumentError && /"?misspelt"?/.test(error.message)))
      accepted.push(`${name}: ${String(error)}`);
  }
  expect(accepted).toEqual([]);
}

test("a misspelt option is an ArgumentError: memory, devices in software, registers", async () => {
  using memory = MappedMemory.memfd(4096);
  const faults = new DeviceFaults(registerBlock("A", { a: reg32(0) }));
  const nvme = EmulatedNvme.create({ sizeBytes: MIB });
  using eventFd = new EventFd("an eventfd");
  const allocator = new IovaAllocator([{ start: iova(0n), last: iova(0xffff_ffffn) }], 4096);
  const information = new ProtectionInformation({
    type: 1,
    guardBits: 16,
    storageTagBits: 0,
    blockSizeBytes: 512,
    metadataBytes: 8,
    first: false,
  } as never);
  const block = new Uint8Array(520);
  try {
    await expectRejections({
      "MappedMemory.anonymous(options)": () => MappedMemory.anonymous(4096, misspelt),
      "MappedMemory.memfd(options)": () => MappedMemory.memfd(4096, misspelt),
      "IovaAllocator.alloc(placement)": () => allocator.alloc(4096, misspelt),
      "IovaAllocator.allocPages(placement)": () => allocator.allocPages(4096, misspelt),
      "exportUdmabuf(options)": () => exportUdmabuf(memory, misspelt),
      "new EmulatedEdu(options)": () => new EmulatedEdu(misspelt),
      "new DeviceFaults(options)": () => new DeviceFaults(registerBlock("A", { a: reg32(0) }), misspelt),
      "DeviceFaults.inject(fault)": () => faults.inject(and({ kind: "remove" })),
      "EmulatedNvme.create(options)": () => EmulatedNvme.create(misspelt),
      "EmulatedNvme.inject(fault)": () => nvme.inject(and({ kind: "drop" })),
      "emulatedFirmware(options)": () => emulatedFirmware(and({ revision: "1" })),
      "initialConfigSpace(options)": () => initialConfigSpace(and({ vendorId: 1, deviceId: 2 })),
      "new VfioUserServer(options)": () =>
        new VfioUserServer("/tmp/misspelt.sock", new EmulatedEdu(), misspelt),
      "new DeviceServer(options)": () =>
        new DeviceServer("/tmp/misspelt.sock", and({ rules: [{ devices: ["00:00.0"], uids: [0] }] })),
      "vtdStage1(table)": () => vtdStage1(and({ pageTable: 0n, addressWidth: 48 })),
      "vtdInvalidations(requests)": () => vtdInvalidations([misspelt]),
      "ProtectionInformation.generate(tags)": () => information.generate(block, undefined, misspelt),
      "ProtectionInformation.check(against)": () => information.check(block, undefined, misspelt),
      "ProtectionInformation.tagDwords(tags)": () => information.tagDwords(misspelt),
      "RecordLayout.encode(values)": () => hostBehavior.encode(misspelt),
      "reg8(options)": () => reg8(0, misspelt),
      "reg16(options)": () => reg16(0, misspelt),
      "reg32(options)": () => reg32(0, misspelt),
      "reg64(options)": () => reg64(0, misspelt),
      "bit(options)": () => bit(0, misspelt),
      "bits(options)": () => bits(0, 1, misspelt),
      "choice(options)": () => choice(0, 1, { a: 0 }, misspelt),
      "EventFd.watch(options)": () => eventFd.watch(() => {}, misspelt),
    });
  } finally {
    nvme.close();
  }
});

test("a misspelt option is an ArgumentError: PCI functions", async () => {
  const emulator = await emulate({ device: "edu", options: {} });
  const second = await emulate({ device: "edu", options: {} });
  const path = second.address.slice("vfio-user:".length);
  try {
    using device = PciDevice.open(emulator.address);
    using client = VfioUserClient.connect(path);
    const other = new VfioUserDevice(client);
    using memory = MappedMemory.anonymous(4096);
    const interrupts = device.enableInterrupts();
    const [vector] = interrupts.vectors;
    const ring = descriptorLayout("d", 16, {});
    using filled = ring.ring(device.dma, 4);
    filled.push();
    const uuid = "01234567-89ab-cdef-0123-456789abcdef";
    await expectRejections({
      "DmaSpace.alloc(given)": () => device.dma.alloc(4096, misspelt),
      "DmaSpace.map(given)": () => device.dma.map(memory, misspelt),
      "DmaSpace.mapDmaBuf(given)": () => device.dma.mapDmaBuf(0, misspelt),
      "new DmaPool(options)": () => new DmaPool(device.dma, misspelt),
      "DescriptorLayout.ring(options)": () => ring.ring(device.dma, 4, misspelt),
      "DescriptorRing.until(options)": () => filled.until(() => false, and({ timeoutMs: 1 })),
      "doctor(options)": () => doctor(misspelt),
      "planFixes(options)": () => planFixes({ checks: [] } as never, misspelt),
      "applySteps(options)": () => applySteps([], and({ purpose: "none" })),
      "listHugePages(options)": () => listHugePages(misspelt),
      "planHugePages(options)": () => planHugePages(misspelt),
      "setHugePages(options)": () => setHugePages(misspelt),
      "planPersistentBinding(options)": () => planPersistentBinding(misspelt),
      "bindPersistently(options)": () => bindPersistently(misspelt),
      "endPersistentBinding(options)": () => endPersistentBinding(misspelt),
      "listPersistentBindings(options)": () => listPersistentBindings(misspelt),
      "planPermissions(options)": () => planPermissions(misspelt),
      "grantPermissions(options)": () => grantPermissions(misspelt),
      "revokePermissions(options)": () => revokePermissions(misspelt),
      "listChanges(options)": () => listChanges(misspelt),
      "restoreChanges(options)": () => restoreChanges(misspelt),
      "bindToVfio(options)": () => bindToVfio("0000:00:00.0", misspelt),
      "unbindFromVfio(options)": () => unbindFromVfio("0000:00:00.0", misspelt),
      "bindToVfioAsync(options)": () => bindToVfioAsync("0000:00:00.0", misspelt),
      "unbindFromVfioAsync(options)": () => unbindFromVfioAsync("0000:00:00.0", misspelt),
      "PciDevice.open(options)": () => PciDevice.open(emulator.address, misspelt),
      "PciDevice.enableInterrupts(options)": () => device.enableInterrupts(misspelt),
      "PciDevice.reset(options)": () => device.reset(misspelt),
      "PciDevice.resetAsync(options)": () => device.resetAsync(misspelt),
      "PciDevice.onPresence(options)": () => device.onPresence(() => {}, misspelt),
      "new Interrupts(options)": () => new Interrupts(device.io, misspelt),
      "Interrupts.watch(options)": () => interrupts.watch(0, () => {}, misspelt),
      "Interrupts.once(options)": () => interrupts.once(0, misspelt),
      "InterruptVector.watch(options)": () => vector?.watch(() => {}, misspelt),
      "InterruptVector.once(options)": () => vector?.once(misspelt),
      "InterruptVector.values(options)": () => vector?.values(misspelt),
      "createMediatedDevice(options)": () => createMediatedDevice("a", "b", misspelt),
      "removeMediatedDevice(options)": () => removeMediatedDevice(uuid, misspelt),
      "createVirtualFunctions(options)": () => createVirtualFunctions("0000:00:00.0", 1, misspelt),
      "removeVirtualFunctions(options)": () => removeVirtualFunctions("0000:00:00.0", misspelt),
      "VfioUserClient.connect(options)": () => VfioUserClient.connect(path, misspelt),
      "VfioUserClient.onPresence(options)": () => client.onPresence(() => {}, misspelt),
      "VfioUserDevice.onPresence(options)": () => other.onPresence(() => {}, misspelt),
    });
  } finally {
    await emulator.close();
    await second.close();
  }
});

test("a misspelt option is an ArgumentError: NVMe", async () => {
  const nvme = await openController({ zoned: { zoneSizeBytes: MIB } });
  const ns = await nvme.zonedNamespace(1);
  const file = (await (await openController()).namespace(1)).openFile();
  const values = await (await openController({ keyValue: true })).keyValueNamespace(1);
  using buffer = nvme.dma.alloc(4096);
  const { logs, features, maintenance, firmware, rings } = nvme;
  const { structures } = features;
  const { reservations } = ns;
  const management = nvme.namespaceManagement;
  const operation = { nsid: 1, type: DirectiveType.identify, operation: 1 };
  const cq = await rings.createCompletionQueue({ id: 9, entries: 4 });
  using device = PciDevice.open((await startController()).address);
  using raw = RawController.on(device);
  const image = emulatedFirmware({ revision: "2" });
  const range = { lba: 0, blocks: 1 };
  await expectRejections({
    "NvmeController.open(options)": () => NvmeController.open("vfio-user:/nowhere", misspelt),
    "NvmeController.admin(command)": () => nvme.admin(and({ opcode: 6 })),
    "NvmeController.admin(options)": () => nvme.admin({ opcode: 6 }, misspelt),
    "NvmeController.io(command)": () => nvme.io(and({ opcode: 0, nsid: 1 })),
    "NvmeController.io(options)": () => nvme.io({ opcode: 0, nsid: 1 }, misspelt),
    "NvmeController.cancel(options)": async () => nvme.cancel(await nvme.createQueuePair(), misspelt),
    "NvmeController.createQueuePair(options)": () => nvme.createQueuePair(misspelt),
    "NvmeController.reset(options)": () => nvme.reset("controller", misspelt),
    "NvmeController.lockdown(options)": () => nvme.lockdown(misspelt),
    "NvmeNamespace.read(options)": () => ns.read(0, buffer, misspelt),
    "NvmeNamespace.read(data)": () => ns.read(0, [and({ buffer })]),
    "NvmeNamespace.read(bit bucket)": () => ns.read(0, [{ buffer }, and({ bitBucketBytes: 512 })]),
    "NvmeNamespace.read(sgl)": () => ns.read(0, buffer, { sgl: misspelt }),
    "NvmeNamespace.read(protection)": () => ns.read(0, buffer, { protection: misspelt }),
    "NvmeNamespace.write(options)": () => ns.write(0, buffer, misspelt),
    "NvmeNamespace.flush(options)": () => ns.flush(misspelt),
    "NvmeNamespace.compare(options)": () => ns.compare(0, buffer, misspelt),
    "NvmeNamespace.compareAndWrite(options)": () => ns.compareAndWrite(0, buffer, buffer, misspelt),
    "NvmeNamespace.writeZeroes(options)": () => ns.writeZeroes(0, 1, misspelt),
    "NvmeNamespace.verify(protection)": () => ns.verify(0, 1, misspelt),
    "NvmeNamespace.datasetManagement(attributes)": () => ns.datasetManagement([range], misspelt),
    "NvmeNamespace.datasetManagement(ranges)": () => ns.datasetManagement([and(range)], { deallocate: true }),
    "NvmeNamespace.copy(options)": () => ns.copy(0, [range], misspelt),
    "NvmeNamespace.copy(ranges)": () => ns.copy(0, [and(range)]),
    "NvmeNamespace.readRange(options)": () => ns.readRange(0, buffer, misspelt),
    "NvmeNamespace.writeRange(options)": () => ns.writeRange(0, buffer, misspelt),
    "NvmeNamespace.chunks(options)": () => ns.chunks(0, 1, misspelt),
    "NvmeNamespace.batch(options)": () => ns.batch([{ command: "read", lba: 0, data: buffer }], misspelt),
    "NvmeNamespace.batch(commands)": () =>
      ns.batch([and({ command: "read", lba: 0, data: buffer } as const)]),
    "NvmeNamespace.createReadStream(options)": () => ns.createReadStream(misspelt),
    "NvmeNamespace.createWriteStream(options)": () => ns.createWriteStream(misspelt),
    "NvmeFile.createReadStream(options)": () => file.createReadStream(misspelt),
    "NvmeFile.createWriteStream(options)": () => file.createWriteStream(misspelt),
    "ZonedNamespace.zones(options)": () => ns.zones(misspelt),
    "ZonedNamespace.append(options)": () => ns.append(0, buffer, misspelt),
    "ZonedNamespace.writeRange(options)": () => ns.writeRange(0, buffer, misspelt),
    "ZonedNamespace.createWriteStream(options)": () => ns.createWriteStream(misspelt),
    "NvmeDirectives.receive(operation)": () => nvme.directives.receive(and(operation), 4096),
    "NvmeDirectives.send(operation)": () => nvme.directives.send(and(operation)),
    "NvmeEvents.values(options)": () => nvme.events.values(misspelt),
    "NvmeFeatureStructures.lbaRanges(options)": () => structures.lbaRanges(1, misspelt),
    "NvmeFeatureStructures.setLbaRanges(options)": () => structures.setLbaRanges(1, [{} as never], misspelt),
    "NvmeFeatureStructures.powerTransitions(options)": () => structures.powerTransitions(misspelt),
    "NvmeFeatureStructures.setPowerTransitions(options)": () =>
      structures.setPowerTransitions(true, [], misspelt),
    "NvmeFeatureStructures.hostBehavior(options)": () => structures.hostBehavior(misspelt),
    "NvmeFeatureStructures.setHostBehavior(values)": () => structures.setHostBehavior(misspelt),
    "NvmeFeatureStructures.hostIdentifier(options)": () => structures.hostIdentifier(64, misspelt),
    "NvmeFeatureStructures.setHostIdentifier(options)": () => structures.setHostIdentifier(1n, 64, misspelt),
    "NvmeFeatureStructures.readRecoveryLevel(options)": () => structures.readRecoveryLevel(1, misspelt),
    "NvmeFeatureStructures.setReadRecoveryLevel(options)": () =>
      structures.setReadRecoveryLevel(1, 1, misspelt),
    "NvmeFeatureStructures.predictableLatency(options)": () => structures.predictableLatency(1, misspelt),
    "NvmeFeatureStructures.setPredictableLatency(options)": () =>
      structures.setPredictableLatency(1, true, {}, misspelt),
    "NvmeFeatureStructures.predictableLatencyWindow(options)": () =>
      structures.predictableLatencyWindow(1, misspelt),
    "NvmeFeatureStructures.flexibleDataPlacement(options)": () =>
      structures.flexibleDataPlacement(1, misspelt),
    "NvmeFeatureStructures.setFlexibleDataPlacement(options)": () =>
      structures.setFlexibleDataPlacement(1, {}, misspelt),
    "NvmeFeatureStructures.setFdpEvents(options)": () => structures.setFdpEvents(1, 0, [1], true, misspelt),
    "NvmeFeatures.get(options)": () => features.get(FeatureId.arbitration, misspelt),
    "NvmeFeatures.set(options)": () => features.set(FeatureId.arbitration, 0, misspelt),
    "NvmeFeatures.read(options)": () => features.read({ fid: 1, table: {} }, misspelt),
    "NvmeFeatures.write(options)": () => features.write({ fid: 1, table: {} }, {}, misspelt),
    "NvmeFirmware.download(limits)": () => firmware.download(image, misspelt),
    "NvmeFirmware.commit(options)": () => firmware.commit("activate", misspelt),
    "NvmeFirmware.update(options)": () => firmware.update(image, "replace", misspelt),
    "KeyValueNamespace.store(options)": () => values.store("k", new Uint8Array(1), misspelt),
    "KeyValueNamespace.retrieve(options)": () => values.retrieve("k", misspelt),
    "NvmeBootPartitions.read(options)": () => nvme.bootPartitions.read(0, misspelt),
    "NvmeNamespace.lbaStatus(options)": () => ns.lbaStatus(0, misspelt),
    "NvmeRpmb.writeConfiguration(configuration)": () =>
      nvme.security.rpmb().writeConfiguration(misspelt, new Uint8Array(32)),
    "NvmeOpal.setRange(options)": () => nvme.security.opal().setRange("x", 1, misspelt),
    "NvmeLogLists.lbaStatus(options)": () => logs.lists.lbaStatus(misspelt),
    "NvmeLogLists.asymmetricNamespaceAccess(options)": () => logs.lists.asymmetricNamespaceAccess(misspelt),
    "NvmeLogs.read(options)": () => logs.read(2, 512, misspelt),
    "NvmeLogs.readGrowing(options)": () => logs.readGrowing(2, 512, () => 512, misspelt),
    "NvmeMaintenance.format(options)": () => maintenance.format(1, misspelt),
    "NvmeMaintenance.sanitizeNamespace(options)": () =>
      maintenance.sanitizeNamespace(1, "cryptoErase", misspelt),
    "NvmeTopologyLogs.reachabilityGroups(options)": () => logs.topology.reachabilityGroups(misspelt),
    "NvmeTopologyLogs.reachabilityAssociations(options)": () =>
      logs.topology.reachabilityAssociations(misspelt),
    "NvmeMaintenance.sanitize(options)": () => maintenance.sanitize("blockErase", misspelt),
    "NvmeNamespaceManagement.create(options)": () => management.create(and({ sizeBlocks: 1n })),
    "NvmeNamespaceManagement.create(limits)": () => management.create({ sizeBlocks: 1n } as never, misspelt),
    "NvmeNamespaceManagement.delete(limits)": () => management.delete(7, misspelt),
    "NvmeSecurity.send(protocol)": () => nvme.security.send(and({ protocol: 0 }), new Uint8Array(512)),
    "NvmeSecurity.receive(protocol)": () => nvme.security.receive(and({ protocol: 0 }), 512),
    "NvmeStructures.read(options)": () => nvme.structures.read(1, misspelt),
    "NvmeTelemetry.host(options)": () => logs.telemetry.host(misspelt),
    "NvmeTelemetry.lastHost(options)": () => logs.telemetry.lastHost(misspelt),
    "NvmeTelemetry.controller(options)": () => logs.telemetry.controller(misspelt),
    "NvmeVirtualization.manage(resources)": () => nvme.virtualization.manage("secondaryOffline", 1, misspelt),
    "NvmeVirtualization.assign(resources)": () => nvme.virtualization.assign(1, misspelt),
    "NvmeVirtualization.allocatePrimary(resources)": () => nvme.virtualization.allocatePrimary(misspelt),
    "NvmeReservations.register(options)": () => reservations.register(1n, misspelt),
    "NvmeReservations.replace(options)": () => reservations.replace(1n, 2n, misspelt),
    "NvmeReservations.preempt(options)": () => reservations.preempt(1n, "exclusive" as never, 2n, misspelt),
    "RawController.completionQueue(options)": () => raw.completionQueue(and({ id: 8, entries: 4 })),
    "RawController.submissionQueue(options)": () => raw.submissionQueue(cq, and({ id: 8, entries: 4 })),
    "NvmeRings.createCompletionQueue(options)": () => rings.createCompletionQueue(and({ id: 8, entries: 4 })),
    "NvmeRings.createSubmissionQueue(options)": () =>
      rings.createSubmissionQueue(cq, and({ id: 8, entries: 4 })),
  });
});

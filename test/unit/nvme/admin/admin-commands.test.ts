/** Admin commands that no available controller supports: each dword is compared with the specification's figures. */
import { afterEach, describe, expect, test } from "vitest";
import { ArgumentError, NvmeError } from "../../../../src/index.js";
import { NvmeCapacity } from "../../../../src/nvme/admin/capacity.js";
import { NvmeDirectives } from "../../../../src/nvme/admin/directives.js";
import { NvmeFeatures } from "../../../../src/nvme/admin/features.js";
import { NvmeFirmware } from "../../../../src/nvme/admin/firmware.js";
import { HostMemoryBuffer } from "../../../../src/nvme/admin/host-memory-buffer.js";
import { type LockdownOptions, lockdown } from "../../../../src/nvme/admin/lockdown.js";
import { NvmeMaintenance } from "../../../../src/nvme/admin/maintenance.js";
import { NvmeNamespaceManagement } from "../../../../src/nvme/admin/namespace-management.js";
import { NvmeSecurity } from "../../../../src/nvme/admin/security.js";
import { NvmeVirtualization } from "../../../../src/nvme/admin/virtualization.js";
import type { IdentifyController } from "../../../../src/nvme/spec/identify.js";
import { NvmeStatus } from "../../../../src/nvme/spec/status.js";
import { caught } from "../../../support/caught.js";
import { bytes } from "../../../support/little-endian.js";
import { RecordingController } from "../../../support/recording-controller.js";

const ALL = 0xffff_ffff;
let target: RecordingController;
function controller(identify: Partial<IdentifyController> = {}): RecordingController {
  target = new RecordingController({ oacs: 0xfff, ...identify });
  return target;
}
afterEach(() => target.close());

describe("NvmeFirmware", () => {
  test("sends an image in pieces of the controller's granularity, and commits it", async () => {
    const firmware = new NvmeFirmware(controller({ fwug: 3, frmw: 0b1_0111 }));
    expect(firmware.slots).toEqual({ count: 3, firstReadOnly: true, withoutReset: true });
    const image = Uint8Array.from({ length: 300_000 }, (_, i) => i * 7);
    await firmware.download(image);
    // 10 times 12 KiB are what fits into 128 KiB.
    const piece = 122_880;
    expect(target.commands.map(({ opcode, words }) => [opcode, words])).toEqual([
      [0x11, { cdw10: piece / 4 - 1 }],
      [0x11, { cdw10: piece / 4 - 1, cdw11: piece / 4 }],
      [0x11, { cdw10: (300_000 - 2 * piece) / 4 - 1, cdw11: (2 * piece) / 4 }],
    ]);
    expect(Buffer.concat(target.commands.map(({ data }) => data)).equals(image)).toBe(true);
    expect(await firmware.commit("activateNow", { slot: 2 })).toEqual({ needs: "none", overlap: 0 });
    expect(target.last).toMatchObject({ opcode: 0x10, words: { cdw10: 0b011_010 } });
    await firmware.commit("activateBootPartition", { bootPartition: 1 });
    expect(target.last.words).toEqual({ cdw10: 0x8000_0038 });
    target.answer = () => {
      throw new NvmeError("Firmware Commit", NvmeStatus.firmwareActivationRequiresNvmSubsystemReset);
    };
    expect(await firmware.commit("replaceAndActivate", { slot: 1 })).toMatchObject({
      needs: "subsystem reset",
    });
    target.answer = () => {
      throw new NvmeError("Firmware Commit", NvmeStatus.invalidFirmwareImage);
    };
    expect(await caught(firmware.commit("replace", { slot: 1 }))).toMatchObject({
      status: "Invalid Firmware Image",
    });
    for (const wrong of [
      () => firmware.download(new Uint8Array(6)),
      () => firmware.download(new Uint8Array(0)),
      () => firmware.commit("replace", { slot: 8 }),
    ]) {
      expect(await caught(wrong())).toBeInstanceOf(ArgumentError);
    }
  });
});

describe("commands that change the medium", () => {
  test("Format NVM, Sanitize and Device Self-test have the specification's dwords", async () => {
    const maintenance = new NvmeMaintenance(controller({ sanicap: 0xf, fna: 4 }));
    const format = { lbaFormat: 0x25, metadataExtended: true, protection: 3, protectionFirst: true } as const;
    await maintenance.format(7, { ...format, secureErase: "cryptographic" });
    expect(target.last).toMatchObject({ opcode: 0x80, words: { nsid: 7, cdw10: 0x2575 } });
    await maintenance.sanitize("overwrite", {
      passes: 16,
      pattern: 0xdead_beef,
      invert: true,
      noDeallocate: true,
    });
    expect(target.last).toMatchObject({ opcode: 0x84, words: { cdw10: 0x303, cdw11: 0xdead_beef } });
    await maintenance.sanitize("overwrite", { passes: 5, allowUnrestrictedExit: true, verification: true });
    expect(target.last.words).toEqual({ cdw10: 0x45b });
    await maintenance.sanitize("blockErase", { passes: 5 });
    expect(target.last.words).toEqual({ cdw10: 2 });
    await maintenance.selfTest("extended");
    expect(target.last).toMatchObject({ opcode: 0x14, words: { nsid: ALL, cdw10: 2 } });
    await maintenance.selfTest("abort", 0);
    expect(target.last.words).toEqual({ cdw10: 0xf });
    const sent = target.commands.length;
    for (const wrong of [
      () => maintenance.sanitize("overwrite", { passes: 17 }),
      () => maintenance.sanitize("overwrite", { pattern: -1 }),
      () => maintenance.format(2 ** 32),
    ]) {
      expect(await caught(wrong())).toBeInstanceOf(ArgumentError);
    }
    expect(target.commands).toHaveLength(sent);
  });

  test("Namespace Management creates a namespace with every field set", async () => {
    const management = new NvmeNamespaceManagement(controller());
    target.answer = () => ({ dw0: 9 });
    const nsid = await management.create({
      sizeBlocks: 0x1000n,
      capacityBlocks: 0x800n,
      lbaFormat: 0x12,
      metadataExtended: true,
      protection: 1,
      protectionFirst: true,
      shared: true,
      anaGroupId: 3,
      nvmSetId: 4,
      enduranceGroupId: 5,
      storageTagMask: 0xffn,
      placementHandles: [1, 2],
      csi: 2,
    });
    expect(nsid).toBe(9);
    expect(target.last).toMatchObject({ opcode: 0x0d, words: { cdw11: 0x0200_0000 } });
    expect(Buffer.from(target.last.data)).toEqual(
      Buffer.from(
        bytes(
          4096,
          [0, 8, 0x1000],
          [8, 8, 0x800],
          [26, 1, 0x32],
          [29, 1, 0x9],
          [30, 1, 1],
          [92, 4, 3],
          [100, 2, 4],
          [102, 2, 5],
          [384, 8, 0xff],
          [392, 2, 2],
          [512, 2, 1],
          [514, 2, 2],
        ),
      ),
    );
    await management.attach(9, [5, 1, 5]);
    expect(target.last).toMatchObject({ opcode: 0x15, words: { nsid: 9 } });
    expect(Buffer.from(target.last.data.subarray(0, 8))).toEqual(Buffer.from([2, 0, 1, 0, 5, 0, 0, 0]));
  });
});

describe("optional admin commands", () => {
  test("Security Send and Receive name the protocol, its specific field, and the length in bytes", async () => {
    const security = new NvmeSecurity(controller());
    await security.send({ protocol: 1, specific: 0x0102, nssf: 3, nsid: 4 }, Uint8Array.of(1, 2, 3));
    expect(target.last).toMatchObject({ opcode: 0x81, words: { nsid: 4, cdw10: 0x0101_0203, cdw11: 3 } });
    expect([...target.last.data]).toEqual([1, 2, 3]);
    target.answer = () => ({ data: bytes(512, [7, 1, 3], [8, 1, 0], [9, 1, 1], [10, 1, 0xea]) });
    expect(await security.protocols()).toEqual([0, 1, 0xea]);
    expect(target.last).toMatchObject({ opcode: 0x82, words: { cdw11: 512 } });
    expect(await caught(security.receive({ protocol: 256 }, 4))).toBeInstanceOf(ArgumentError);
    expect(await caught(security.send({ protocol: 1 }, new Uint8Array(0)))).toBeInstanceOf(ArgumentError);
  });

  test("Directive Send and Receive have the specification's dwords", async () => {
    const directives = new NvmeDirectives(controller());
    target.answer = () => ({ data: bytes(4096, [0, 1, 0b111], [32, 1, 0b101], [64, 1, 0b100]) });
    expect(await directives.supported(1)).toEqual(
      new Map([
        [0, { enabled: true, persistent: false }],
        [1, { enabled: false, persistent: false }],
        [2, { enabled: true, persistent: true }],
      ]),
    );
    expect(target.last).toMatchObject({ opcode: 0x1a, words: { nsid: 1, cdw10: 1023, cdw11: 1 } });
    await directives.enable(1, 1);
    expect(target.last).toMatchObject({ opcode: 0x19, words: { nsid: 1, cdw11: 1, cdw12: 0x101 } });
    target.answer = () => ({ data: bytes(32, [0, 2, 16], [16, 4, 8], [22, 2, 3]) });
    expect(await directives.streams(1)).toMatchObject({ msl: 16, sws: 8, nsa: 3 });
    expect(target.last.words).toEqual({ nsid: 1, cdw10: 7, cdw11: 0x101 });
    target.answer = () => ({ dw0: 5 });
    expect(await directives.allocateStreams(1, 6)).toBe(5);
    expect(target.last.words).toEqual({ nsid: 1, cdw11: 0x103, cdw12: 6 });
    target.answer = () => ({ data: bytes(8, [0, 2, 2], [2, 2, 7], [4, 2, 9]) });
    expect(await directives.openStreams(1)).toEqual([7, 9]);
    await directives.releaseStream(1, 7);
    expect(target.last.words).toEqual({ nsid: 1, cdw11: 0x0007_0101 });
    await directives.releaseStreams(1);
    expect(target.last.words).toEqual({ nsid: 1, cdw11: 0x102 });
    expect(await caught(directives.releaseStream(1, 0))).toBeInstanceOf(ArgumentError);
  });

  test("Virtualization Management, Capacity Management and Lockdown have the specification's dwords", async () => {
    const virtualization = new NvmeVirtualization(controller({ lpa: 0, ctratt: 0x7800, cntlid: 6 }));
    target.answer = () => ({ dw0: 4 });
    expect(await virtualization.manage("secondaryAssign", 3, { type: "interrupts", count: 4 })).toBe(4);
    expect(target.last).toMatchObject({ opcode: 0x1c, words: { cdw10: 0x0003_0108, cdw11: 4 } });
    await virtualization.allocatePrimary({ queues: 2 });
    expect(target.last.words).toEqual({ cdw10: 0x0006_0001, cdw11: 2 });
    const capacity = new NvmeCapacity(target);
    expect(await capacity.createNvmSet(2, 0x5_0000_0007n)).toBe(4);
    expect(target.last).toMatchObject({ opcode: 0x20, words: { cdw10: 0x0002_0003, cdw11: 7, cdw12: 5 } });
    await capacity.deleteEnduranceGroup(9);
    expect(target.last.words).toEqual({ cdw10: 0x0009_0002 });
    await lockdown(target, { scope: "feature", identifier: 6, prohibit: true, interface: "outOfBand" });
    expect(target.last).toMatchObject({ opcode: 0x24, words: { cdw10: 0x0652 } });
    const before = target.last;
    for (const name of ["toString", "features", "__proto__"]) {
      const scope = { scope: name, identifier: 6, prohibit: true } as unknown as LockdownOptions;
      await expect(lockdown(target, scope)).rejects.toThrow("scope must be one of adminOpcode, feature, ");
      const to = {
        scope: "feature",
        identifier: 6,
        prohibit: true,
        interface: name,
      } as unknown as LockdownOptions;
      await expect(lockdown(target, to)).rejects.toThrow("interface must be one of adminQueue, ");
    }
    expect(target.last).toBe(before);
  });
});

describe("features with data", () => {
  test("have the specification's layout", async () => {
    const { structures } = new NvmeFeatures(controller());
    await structures.setPowerTransitions(true, [{ powerState: 3, milliseconds: 100 }], { save: true });
    expect(target.last).toMatchObject({ opcode: 0x09, words: { cdw10: 0x8000_000c, cdw11: 1 } });
    expect(Buffer.from(target.last.data.subarray(0, 8))).toEqual(Buffer.from([0x18, 100, 0, 0, 0, 0, 0, 0]));
    target.answer = () => ({ dw0: 1, data: bytes(256, [8, 4, (7 << 3) | (2000 << 8)]) });
    const { enabled, transitions } = await structures.powerTransitions({ select: "saved" });
    expect([enabled, transitions[1]]).toEqual([true, { powerState: 7, milliseconds: 2000 }]);
    expect(target.last.words).toEqual({ cdw10: 0x20c });
    target.answer = () => ({ data: bytes(16, [0, 8, 5], [8, 8, 6]) });
    expect(await structures.hostIdentifier(128)).toBe((6n << 64n) | 5n);
    expect(target.last).toMatchObject({ opcode: 0x0a, words: { cdw10: 0x81, cdw11: 1 } });
    await structures.setHostIdentifier(0x1234n);
    expect([...target.last.data]).toEqual([0x34, 0x12, 0, 0, 0, 0, 0, 0]);
    target.answer = () => ({ dw0: 0x0301 });
    expect(await structures.flexibleDataPlacement(2)).toEqual({ enabled: true, configuration: 3 });
    await structures.setFlexibleDataPlacement(2, { enabled: true, configuration: 3 });
    expect(target.last.words).toEqual({ cdw10: 0x1d, cdw11: 2, cdw12: 0x301 });
    target.answer = () => ({ dw0: 2, data: bytes(512, [0, 1, 0], [1, 1, 1], [2, 1, 0x80]) });
    expect(await structures.fdpEvents(1, 4)).toEqual(
      new Map([
        [0, true],
        [0x80, false],
      ]),
    );
    target.answer = () => ({ dw0: 1, data: bytes(4096, [0, 1, 1], [16, 8, 64], [64, 1, 4], [88, 8, 7]) });
    const ranges = await structures.lbaRanges(1);
    expect(ranges.map(({ type, slba, nlb }) => [type, slba, nlb])).toEqual([
      [1, 64n, 0n],
      [4, 0n, 7n],
    ]);
  });

  test("host memory is given with a list of its pieces, given again after a reset, and taken back", async () => {
    controller({ hmpre: 64, hmmin: 16 });
    const mapped = target.mapper.mapped.size;
    const buffer = await HostMemoryBuffer.give(target);
    expect(buffer.sizeBytes).toBe(64 * 4096);
    const { words } = target.last;
    expect(words).toMatchObject({ cdw10: 0x0d, cdw11: 1, cdw12: 64, cdw15: 1 });
    const sizes = [...target.mapper.mapped].map(([at, { sizeBytes }]) => [at, sizeBytes] as const);
    const list = (BigInt(words["cdw14"] ?? 0) << 32n) | BigInt(words["cdw13"] ?? 0);
    expect(sizes.some(([at]) => at === list)).toBe(true);
    expect(sizes.some(([, sizeBytes]) => sizeBytes === 64 * 4096)).toBe(true);
    await buffer.restore();
    expect(target.last.words).toEqual({ ...words, cdw11: 3 });
    await buffer.close();
    expect(target.last.words).toEqual({ cdw10: 0x0d });
    expect(target.mapper.mapped.size).toBe(mapped);
    // Or with its controller.
    const other = await HostMemoryBuffer.give(target, 20 * 4096);
    target.device.lease.close();
    expect(other.closed).toBe(true);
    expect(target.mapper.mapped.size).toBe(mapped);
  });

  test("host memory that is too small is rejected, and a rejected buffer leaves nothing mapped", async () => {
    controller({ hmpre: 64, hmmin: 16 });
    expect(await caught(HostMemoryBuffer.give(target, 15 * 4096))).toBeInstanceOf(ArgumentError);
    target.answer = () => {
      throw new NvmeError("Set Features", NvmeStatus.invalidField);
    };
    expect(await caught(HostMemoryBuffer.give(target))).toBeInstanceOf(NvmeError);
    expect(target.mapper.mapped.size).toBe(0);
  });
});

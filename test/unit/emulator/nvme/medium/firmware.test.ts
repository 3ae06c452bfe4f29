/** Tests of firmware download and commit. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ArgumentError } from "../../../../../src/core/errors.js";
import {
  emulatedFirmware,
  type FirmwareReset,
} from "../../../../../src/emulator/nvme/medium/firmware-image.js";
import { identifyController } from "../../../../../src/nvme/spec/identify.js";
import { firmwareSlotLog } from "../../../../../src/nvme/spec/log-pages.js";
import { AdminOpcode, FeatureId, LogPageId } from "../../../../../src/nvme/spec/opcodes.js";
import { NSSR_RESET, NvmeRegister } from "../../../../../src/nvme/spec/registers.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { NvmeTestHost, SUCCESS, startedHost } from "../../../../support/nvme-host.js";

const [REPLACE, REPLACE_AND_ACTIVATE, ACTIVATE, NOW] = [0, 1, 2, 3];

function piece(host: NvmeTestHost, bytes: Uint8Array, at: number): number {
  const memory = host.alloc(Math.max(4096, bytes.length));
  host.bytes(memory, bytes.length).set(bytes);
  return host.admin.run({
    opcode: AdminOpcode.firmwareImageDownload,
    prp1: host.iova(memory),
    prp2: host.iova(memory + 4096),
    cdw10: bytes.length / 4 - 1,
    cdw11: at / 4,
  }).status;
}

function download(host: NvmeTestHost, revision: string, needs: FirmwareReset = "none"): void {
  expect(piece(host, emulatedFirmware({ revision, needs, sizeBytes: 8192 }), 0)).toBe(SUCCESS);
}

function commit(host: NvmeTestHost, action: number, slot: number): number {
  return host.admin.run({ opcode: AdminOpcode.firmwareCommit, cdw10: slot | (action << 3) }).status;
}

function slots(host: NvmeTestHost): { afi: number; frs: string[]; running: string } {
  const { afi, frs } = firmwareSlotLog.decode(host.log(LogPageId.firmwareSlot, 512).page);
  return { afi, frs: frs.slice(0, 3), running: identifyController.decode(host.identify(1).page).fr };
}

function restart(host: NvmeTestHost): void {
  host.freeAll();
  host.enable();
}

describe("firmware", () => {
  test("is replaced, and the next reset activates it", () => {
    using started = startedHost();
    const { host } = started;
    expect(identifyController.decode(host.identify(1).page)).toMatchObject({ frmw: 0b110111, fwug: 1 });
    expect(slots(host)).toEqual({ afi: 1, frs: ["1.0", "", ""], running: "1.0" });
    // An empty slot is zeros, not spaces.
    const log = host.log(LogPageId.firmwareSlot, 512).page;
    expect([...log.subarray(14, 26)]).toEqual([32, 32, ...new Array<number>(10).fill(0)]);
    download(host, "2.0");
    expect(commit(host, REPLACE, 2)).toBe(SUCCESS);
    expect(slots(host)).toEqual({ afi: 1, frs: ["1.0", "2.0", ""], running: "1.0" });
    expect(commit(host, ACTIVATE, 2)).toBe(SUCCESS);
    expect(slots(host)).toMatchObject({ afi: 0x21, running: "1.0" });
    host.write32(NvmeRegister.CC, 0);
    restart(host);
    expect(slots(host)).toMatchObject({ afi: 2, running: "2.0" });
    // The controller chooses a slot: not the running one's, nor the one it can't write.
    download(host, "3.0");
    expect(commit(host, REPLACE_AND_ACTIVATE, 0)).toBe(SUCCESS);
    expect(slots(host)).toMatchObject({ afi: 0x32, frs: ["1.0", "2.0", "3.0"] });
    expect(commit(host, ACTIVATE, 1)).toBe(SUCCESS);
    host.write32(NvmeRegister.CC, 0);
    restart(host);
    expect(slots(host)).toMatchObject({ afi: 1, running: "1.0" });
  });

  test("runs at once if it can, and an event reports it", () => {
    using started = startedHost();
    const { host } = started;
    host.admin.run({
      opcode: AdminOpcode.setFeatures,
      cdw10: FeatureId.asyncEventConfiguration,
      cdw11: 1 << 9,
    });
    host.admin.post({ opcode: AdminOpcode.asyncEventRequest });
    download(host, "now");
    expect(commit(host, NOW, 3)).toBe(SUCCESS);
    host.device.pump();
    expect(host.admin.take()?.dw0).toBe((LogPageId.firmwareSlot << 16) | (1 << 8) | 2);
    expect(slots(host)).toEqual({ afi: 3, frs: ["1.0", "", "now"], running: "now" });
    expect(commit(host, NOW, 1)).toBe(SUCCESS);
    expect(slots(host)).toMatchObject({ afi: 1, running: "1.0" });
  });

  test.each([
    ["controller", NvmeStatus.firmwareActivationRequiresControllerLevelReset, SUCCESS],
    [
      "conventional",
      NvmeStatus.firmwareActivationRequiresConventionalReset,
      NvmeStatus.firmwareActivationRequiresConventionalReset,
    ],
    [
      "subsystem",
      NvmeStatus.firmwareActivationRequiresNvmSubsystemReset,
      NvmeStatus.firmwareActivationRequiresNvmSubsystemReset,
    ],
  ] as const)("waits for a %s reset, and nothing is sanitized meanwhile", (needs, now, later) => {
    using started = startedHost();
    const { host } = started;
    download(host, needs.slice(0, 8), needs);
    expect(commit(host, NOW, 2)).toBe(now);
    expect(commit(host, ACTIVATE, 2)).toBe(later);
    expect(slots(host)).toMatchObject({ afi: 0x21, running: "1.0" });
    expect(host.admin.run({ opcode: AdminOpcode.sanitize, cdw10: 2 }).status).toBe(now);
    const resets = [
      () => host.write32(NvmeRegister.CC, 0),
      () => host.device.reset(),
      () => host.write32(NvmeRegister.NSSR, NSSR_RESET),
    ];
    const enough = ["controller", "conventional", "subsystem"].indexOf(needs);
    for (const [i, reset] of resets.slice(0, enough + 1).entries()) {
      reset();
      restart(host);
      expect(slots(host).running).toBe(i < enough ? "1.0" : needs.slice(0, 8));
    }
  });

  test("is downloaded in any order, without overlaps and holes", () => {
    using started = startedHost();
    const { host } = started;
    const image = emulatedFirmware({ revision: "pieces", sizeBytes: 10_000 });
    expect(piece(host, image.subarray(8192), 8192)).toBe(SUCCESS);
    expect(piece(host, image.subarray(4096, 8196), 4096)).toBe(NvmeStatus.overlappingRange);
    expect(piece(host, image.subarray(0, 4096), 0)).toBe(SUCCESS);
    expect(commit(host, REPLACE, 2)).toBe(NvmeStatus.invalidFirmwareImage);
    // A commit uses the download up.
    expect(piece(host, image.subarray(0, 4096), 0)).toBe(SUCCESS);
    expect(piece(host, image.subarray(4096, 8192), 4096)).toBe(SUCCESS);
    expect(piece(host, image.subarray(8192), 8192)).toBe(SUCCESS);
    expect(commit(host, REPLACE, 2)).toBe(SUCCESS);
    expect(slots(host).frs[1]).toBe("pieces");
    // Another update in the midst of one is noticed (MUD).
    expect(piece(host, image.subarray(0, 4096), 0)).toBe(SUCCESS);
    download(host, "second");
    const { status, dw0 } = host.admin.run({ opcode: AdminOpcode.firmwareCommit, cdw10: 3 });
    expect([status, dw0]).toEqual([SUCCESS, 1]);
    // A reset in between, and what was downloaded is lost.
    download(host, "lost");
    host.device.reset();
    restart(host);
    expect(commit(host, REPLACE, 2)).toBe(NvmeStatus.invalidFirmwareImage);
  });

  test("is refused with an invalid image, slot or action", () => {
    using started = startedHost();
    const { host } = started;
    const image = emulatedFirmware({ revision: "x", sizeBytes: 4096 });
    for (const at of [0, 12, 16, 24, 28, 4095]) {
      const broken = image.slice();
      broken[at] = (broken[at] ?? 0) ^ 1;
      expect(piece(host, broken, 0)).toBe(SUCCESS);
      expect(commit(host, REPLACE, 2)).toBe(NvmeStatus.invalidFirmwareImage);
    }
    download(host, "y");
    expect(commit(host, REPLACE, 1)).toBe(NvmeStatus.invalidFirmwareSlot);
    expect(commit(host, REPLACE, 4)).toBe(NvmeStatus.invalidFirmwareSlot);
    expect(commit(host, ACTIVATE, 0)).toBe(NvmeStatus.invalidFirmwareSlot);
    expect(commit(host, ACTIVATE, 3)).toBe(NvmeStatus.invalidFirmwareImage);
    for (const action of [4, 5, 6, 7]) expect(commit(host, action, 2)).toBe(NvmeStatus.invalidField);
    expect(piece(host, image.subarray(0, 4), 2048)).toBe(NvmeStatus.invalidField);
    expect(piece(host, image, 4 << 20)).toBe(NvmeStatus.invalidField);
    const huge = { opcode: AdminOpcode.firmwareImageDownload, cdw10: 0xffff_ffff };
    expect(host.admin.run(huge).status).toBe(NvmeStatus.invalidField);
    expect(slots(host)).toEqual({ afi: 1, frs: ["1.0", "", ""], running: "1.0" });
    for (const wrong of [{ revision: "" }, { revision: "123456789" }, { revision: "a", sizeBytes: 33 }]) {
      expect(() => emulatedFirmware(wrong)).toThrow(ArgumentError);
    }
  });

  test("is stored in a file and runs after power-on, and a download moves with the controller", () => {
    const folder = mkdtempSync(join(tmpdir(), "iova-firmware-"));
    try {
      const options = { file: join(folder, "disk"), sizeBytes: 1 << 20 };
      {
        using host = new NvmeTestHost(options);
        host.enable();
        download(host, "kept", "subsystem");
        commit(host, REPLACE_AND_ACTIVATE, 3);
        download(host, "moved");
        host.device.migration.stop();
        const state = host.device.migration.save();
        using target = new NvmeTestHost({ ...options, incoming: true });
        target.ram.bytes.set(host.ram.bytes);
        target.device.migration.load(state);
        const text = Buffer.from(target.device.migration.save()).toString("latin1");
        expect(/"firmware":\{"pieces":\[\[0,"[A-Za-z0-9+/=]{10924}"\]\]/.test(text)).toBe(true);
      }
      using host = new NvmeTestHost(options);
      host.enable();
      expect(slots(host)).toEqual({ afi: 3, frs: ["1.0", "", "kept"], running: "kept" });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

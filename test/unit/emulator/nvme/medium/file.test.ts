/** Tests of the medium in a file, and of options. */
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ConfigError, SysError } from "../../../../../src/core/errors.js";
import { EmulatedNvme } from "../../../../../src/emulator/nvme/controller.js";
import type { NvmeEmulatorOptions } from "../../../../../src/emulator/nvme/options.js";
import { identifyNamespace } from "../../../../../src/nvme/spec/identify.js";
import { AdminOpcode, IdentifyCns, IoOpcode } from "../../../../../src/nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { zoneDescriptor } from "../../../../../src/nvme/spec/zoned.js";
import { SUCCESS, startedHost } from "../../../../support/nvme-host.js";

let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "iova-nvme-"));
  file = join(folder, "disk");
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function block(seed: number): Uint8Array {
  return Uint8Array.from({ length: 512 }, (_, i) => (i * seed) & 0xff);
}

function write(options: NvmeEmulatorOptions, lba: number, bytes: Uint8Array, config = 0): void {
  using started = startedHost({ file, ...options }, config);
  const { host, io } = started;
  const at = host.alloc(4096);
  host.bytes(at, 512).set(bytes);
  expect(io.run({ opcode: IoOpcode.write, nsid: 1, prp1: host.iova(at), cdw10: lba }).status).toBe(SUCCESS);
}

describe("a medium in a file", () => {
  test("has data after a restart, at its place in the file, and takes only the space that was written", () => {
    write({}, 100, block(3));
    {
      using started = startedHost({ file });
      const { host, io } = started;
      const at = host.alloc(4096);
      expect(io.run({ opcode: IoOpcode.read, nsid: 1, prp1: host.iova(at), cdw10: 100 }).status).toBe(
        SUCCESS,
      );
      expect(host.bytes(at, 512)).toEqual(block(3));
      expect(io.run({ opcode: IoOpcode.flush, nsid: 1 }).status).toBe(SUCCESS);
    }
    const fd = openSync(file, "r");
    const bytes = new Uint8Array(512);
    readSync(fd, bytes, 0, 512, 100 * 512);
    closeSync(fd);
    expect(bytes).toEqual(block(3));
    const { size, blocks } = statSync(file);
    expect(size).toBeGreaterThan(16 << 20);
    expect(blocks * 512).toBeLessThan(2 << 20);
  });

  test("has formats, namespaces and attachments after a restart", () => {
    {
      using started = startedHost({ file, namespaces: 2 });
      const { host } = started;
      expect(host.admin.run({ opcode: AdminOpcode.formatNvm, nsid: 1, cdw10: 4 }).status).toBe(SUCCESS);
      const list = host.alloc(4096);
      new Uint16Array(host.ram.buffer, host.ram.bytes.byteOffset + list, 2).set([1, 1]);
      expect(
        host.admin.run({ opcode: AdminOpcode.namespaceAttachment, nsid: 2, prp1: host.iova(list), cdw10: 1 })
          .status,
      ).toBe(SUCCESS);
    }
    using started = startedHost({ file, namespaces: 7, blockSizeBytes: 512 });
    const { host } = started;
    const ids = (cns: number): number[] => [
      ...new Uint32Array(host.identify(cns).page.buffer).subarray(0, 3),
    ];
    expect(ids(IdentifyCns.activeNamespaces)).toEqual([1, 0, 0]);
    expect(ids(IdentifyCns.allocatedNamespaces)).toEqual([1, 2, 0]);
    expect(identifyNamespace.decode(host.identify(IdentifyCns.namespace, 1).page)).toMatchObject({
      flbas: 4,
      nsze: 2048n,
    });
  });

  test("has zones after a restart, and closes those that were open", () => {
    const zoned = { zoned: { zoneSizeBytes: 1 << 20 } };
    write(zoned, 0, block(5), 6 << 4);
    using started = startedHost({ file }, 6 << 4);
    const { host, io } = started;
    const at = host.alloc(4096);
    const report = { opcode: IoOpcode.zoneManagementReceive, nsid: 1, prp1: host.iova(at), cdw12: 1023 };
    expect(io.run(report).status).toBe(SUCCESS);
    expect(zoneDescriptor.decode(host.bytes(at + 64, 64))).toMatchObject({ zs: 4, wp: 1n });
    expect(zoneDescriptor.decode(host.bytes(at + 128, 64))).toMatchObject({ zs: 1, wp: 2048n });
  });

  test("causes media errors and no crash if it is truncated or damaged under the controller", () => {
    using started = startedHost({ file });
    const { host, io } = started;
    const at = host.alloc(4096);
    truncateSync(file, 4096);
    const read = { opcode: IoOpcode.read, nsid: 1, prp1: host.iova(at) };
    expect(io.run(read).status).toBe(SUCCESS);
    expect(io.run({ ...read, cdw10: 1000 }).status).toBe(NvmeStatus.unrecoveredReadError);
  });

  test("is refused if it isn't one, or is in use", () => {
    writeFileSync(file, "something else");
    expect(() => EmulatedNvme.create({ file })).toThrow(ConfigError);
    writeFileSync(file, Buffer.alloc(0));
    expect(() => EmulatedNvme.create({ file: folder })).toThrow(SysError);
    expect(() => EmulatedNvme.create({ file: join(folder, "no", "disk") })).toThrow(SysError);
    const first = EmulatedNvme.create({ file, sizeBytes: 1 << 20 });
    expect(() => EmulatedNvme.create({ file })).toThrow(/in use/);
    first.close();
    EmulatedNvme.create({ file }).close();
  });

  test("is read by its older record of namespaces if the newer is damaged, and refused without any", () => {
    write({ sizeBytes: 1 << 20 }, 0, block(1));
    // The record stands twice, at the end; it was written once, to the second place.
    const { size } = statSync(file);
    const damage = (at: number): void => {
      const fd = openSync(file, "r+");
      writeSync(fd, Buffer.alloc(16, 0xff), 0, 16, at);
      closeSync(fd);
    };
    {
      using started = startedHost({ file });
      started.host.admin.run({ opcode: AdminOpcode.formatNvm, nsid: 1, cdw10: 4 });
    }
    damage(size - 2 * 65536);
    {
      using started = startedHost({ file });
      expect(identifyNamespace.decode(started.host.identify(IdentifyCns.namespace, 1).page).flbas).toBe(0);
    }
    damage(size - 65536);
    expect(() => EmulatedNvme.create({ file })).toThrow(/is not the medium/);
    expect(existsSync(file)).toBe(true);
  });
});

describe("options", () => {
  test.each<[string, NvmeEmulatorOptions, RegExp]>([
    ["a size that is no whole MiB", { sizeBytes: (1 << 20) + 512 }, /sizeBytes/],
    ["more namespaces than there is room for", { sizeBytes: 1 << 20, namespaces: 2 }, /sizeBytes/],
    ["capacity below the size", { sizeBytes: 2 << 20, capacityBytes: 1 << 20 }, /capacityBytes/],
    ["protection without metadata", { protection: 1 }, /protection/],
    ["a 64-bit guard in 8 bytes", { metadataBytes: 8, guardBits: 64 }, /guardBits/],
    ["zones with metadata", { zoned: true, metadataBytes: 8 }, /zoned/],
    ["zones of no power of two", { zoned: { zoneSizeBytes: 3 << 20 } }, /zoneSizeBytes/],
    ["a CMB of no power of two", { cmbBytes: 12288 }, /cmbBytes/],
    ["transfers of no power of two", { maxTransferBytes: 12288 }, /maxTransferBytes/],
    ["a fault that isn't one", { faults: [{ kind: "drop", nth: 0 }] }, /nth/],
    ["too long a serial number", { serial: "x".repeat(21) }, /serial/],
  ])("are refused: %s", (_, options, message) => {
    expect(() => EmulatedNvme.create(options)).toThrow(message);
    expect(() => EmulatedNvme.create(options)).toThrow(ConfigError);
  });
});

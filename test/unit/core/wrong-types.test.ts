/** Values of wrong types: each is refused by an ArgumentError, whatever the value is. */
import { describe, expect, test } from "vitest";
import { lookUp, show } from "../../../src/core/check.js";
import { ArgumentError } from "../../../src/core/errors.js";
import { Lease } from "../../../src/core/lifetime/lease.js";
import { Listeners } from "../../../src/core/listeners.js";
import {
  AddressChooser,
  BorrowedBuffer,
  DirtyBitmap,
  DmaPool,
  DmaSpace,
  exportUdmabuf,
  IovaAllocator,
  iova,
} from "../../../src/doors/dma.js";
import { EmulatedEdu, faultFromText, VfioUserServer } from "../../../src/doors/emulator.js";
import { smmuv3Invalidations, Viommu, vtdInvalidations, vtdStage1 } from "../../../src/doors/iommufd.js";
import {
  CompletionQueue,
  HandedQueues,
  HostMemoryBuffer,
  ProtectionInformation,
  SubmissionQueue,
} from "../../../src/doors/nvme.js";
import { descriptorLayout } from "../../../src/doors/pci.js";
import {
  enterLowPower,
  exitLowPower,
  exportDmaBuf,
  groupOf,
  hotReset,
  hotResetInfo,
  queryGfxPlane,
  setVfToken,
  VfioContainer,
  VfioDevice,
  VfioGroup,
} from "../../../src/doors/vfio.js";
import {
  VfioUserDevice,
  VfioUserDmaLogging,
  VfioUserMapper,
  VfioUserMigration,
} from "../../../src/doors/vfio-user.js";
import { EmulatedNvme } from "../../../src/emulator/nvme/controller.js";
import { emulatedFirmware } from "../../../src/emulator/nvme/medium/firmware-image.js";
import { checkCommand } from "../../../src/nvme/command/check-command.js";
import { checkCommandOptions } from "../../../src/nvme/command/command-options.js";
import { crc16, crc32c, crc64 } from "../../../src/nvme/protection/crc.js";
import { checkRing } from "../../../src/nvme/queues/ring-memory.js";
import { hostBehavior } from "../../../src/nvme/spec/features.js";
import { parseBdf } from "../../../src/pci/address/bdf.js";
import { Bar } from "../../../src/pci/bar.js";
import { ConfigSpace } from "../../../src/pci/config-space.js";
import { parseVpd } from "../../../src/pci/details/vpd.js";
import { PciDevice } from "../../../src/pci/device.js";
import { Interrupts } from "../../../src/pci/interrupts.js";
import { EventFd } from "../../../src/sys/eventfd.js";
import { MappedMemory } from "../../../src/sys/memory.js";
import { IdentityMapper } from "../../support/identity-mapper.js";

/** What a program in JavaScript may give. */
const wrong = (value: unknown): never => value as never;

const cyclic: { self?: unknown } = {};
cyclic.self = cyclic;
const detached = new Uint8Array(8);
structuredClone(detached.buffer, { transfer: [detached.buffer] });
const unprintable = [Symbol("s"), Object.create(null), cyclic, detached, 1n, null];

test("a device that a mapper of one's own attaches must be one, and nothing stays open", () => {
  for (const attached of [{ io: {}, leave() {} }, { io: { lease: new Lease("io", undefined) } }]) {
    const mapper = new IdentityMapper();
    const joinable = Object.assign(mapper, { attach: () => wrong(attached) });
    const space = new DmaSpace(joinable);
    expect(() => PciDevice.open("0000:00:00.0", { dma: space })).toThrow(ArgumentError);
    mapper.lease.close();
  }
});

test.each(unprintable.map((value) => [value]))("show() makes a text of any value", (value) => {
  expect(typeof show(value)).toBe("string");
});

describe("an ArgumentError refuses", () => {
  test("a lease or a resource that depends on something else", () => {
    for (const parent of [{}, null, [], { lease: 1 }]) {
      expect(() => new Lease("lease", undefined, wrong(parent))).toThrow(ArgumentError);
      expect(() => new DmaPool(wrong(parent))).toThrow(ArgumentError);
      const mapper = new IdentityMapper();
      expect(() => Reflect.construct(DmaSpace, [mapper, parent])).toThrow(ArgumentError);
      mapper.lease.close();
    }
  });

  test("a lease that depends on itself, on what depends on it, or on a resource instead of its lease", () => {
    using event = new EventFd();
    const top = new Lease("top", undefined);
    const middle = new Lease("middle", undefined, top);
    const bottom = new Lease("bottom", undefined, new Lease("other", undefined), middle);
    for (const lease of [top, middle, bottom]) expect(() => top.dependOn(lease)).toThrow(ArgumentError);
    for (const value of [event, undefined, 1, { dependOn() {} }])
      expect(() => bottom.dependOn(wrong(value))).toThrow(ArgumentError);
    expect(() => new Lease("no release", wrong({}))).toThrow(ArgumentError);
    top.close();
    expect(bottom.closed).toBe(true);
  });

  test("a lease that owns what it depends on, since neither could be closed first", () => {
    const above = new Lease("above", undefined);
    const owner = new Lease("owner", undefined, above);
    for (const part of [owner, above, wrong(undefined)])
      expect(() => owner.setOwned([part])).toThrow(ArgumentError);
    const part = new Lease("part", undefined);
    owner.setOwned([part]);
    const below = new Lease("below", undefined, part);
    for (const parent of [part, below]) expect(() => owner.dependOn(parent)).toThrow(ArgumentError);
    // The same by several steps: what depends on a part of a part.
    const outer = new Lease("outer", undefined);
    outer.setOwned([owner]);
    for (const each of [part, below, owner]) {
      expect(() => each.setOwned([outer])).toThrow(ArgumentError);
      expect(() => outer.dependOn(each)).toThrow(ArgumentError);
    }
    above.close();
    expect(owner.closed).toBe(true);
    outer.close();
  });

  test("bytes whose memory was transferred or shrunk, before anything uses them", () => {
    const mapper = new IdentityMapper();
    const buffer = new DmaSpace(mapper).alloc(4096);
    const resizable = Reflect.construct(ArrayBuffer, [64, { maxByteLength: 4096 }]);
    const beyond = new Uint8Array(resizable, 32, 16);
    resizable.resize(8);
    const uses = [detached, beyond].flatMap((bytes) => [
      () => buffer.write(bytes),
      () => buffer.read(bytes),
      () => parseVpd(bytes),
    ]);
    for (const use of uses) expect(use).toThrow("one whose memory was transferred or shrunk");
    buffer.write(new Uint8Array(0));
    expect(parseVpd(new Uint8Array(0)).readOnly).toEqual([]);
    mapper.lease.close();
  });

  test("a name of memory, guard bits and a declared word of another kind", () => {
    for (const value of [null, {}, detached, 5])
      expect(() => MappedMemory.memfd(4096, { name: wrong(value === null ? 0 : value) })).toThrow(
        ArgumentError,
      );
    for (const guardBits of [detached, {}, "16", Object.create(null)])
      expect(() => new ProtectionInformation(wrong({ type: 1, guardBits }))).toThrow(ArgumentError);
    const word = { kind: "register", width: 32, access: "rw", offset: 0 };
    expect(() => descriptorLayout("forged", 8, wrong({ word }))).toThrow(ArgumentError);
  });

  test("a page number that is none", () => {
    const allocator = new IovaAllocator([{ start: iova(0n), last: iova(2n ** 32n - 1n) }], 4096);
    for (const page of [2n ** 65n, Promise.resolve(), "1", -1, 0.5])
      expect(() => allocator.releasePages(wrong(page), 4096)).toThrow(ArgumentError);
  });

  test("a host that can't be one, before a fault needs it", () => {
    const edu = new EmulatedEdu();
    using nvme = EmulatedNvme.create({ sizeBytes: 2 ** 20 }, false);
    for (const host of [null, {}, { memory: {} }, { memory: {}, raise: 1 }, new Error("none")])
      for (const device of [edu, nvme]) expect(() => device.connect(wrong(host))).toThrow(ArgumentError);
    edu.inject({ kind: "interrupt-storm", count: 3 });
    edu.close();
  });

  test("extensions of a mapper that are something else", () => {
    using mapper = { lease: new Lease("own", undefined), [Symbol.dispose]: () => mapper.lease.close() };
    const methods = {
      name: "own",
      map: () => 0n,
      unmap: () => {},
      iovaRanges: () => [],
      alignmentBytes: () => 1,
    };
    for (const method of ["map", "unmap", "iovaRanges", "alignmentBytes"])
      expect(() => new DmaSpace(wrong({ ...methods, lease: mapper.lease, [method]: undefined }))).toThrow(
        ArgumentError,
      );
    for (const extensions of [
      null,
      { chooser: false },
      { pages: {} },
      { files: {} },
      { buffers: 5 },
      { physicalSegments: 1 },
      { memlockAccount: {} },
    ]) {
      expect(() => new DmaSpace(wrong({ ...methods, lease: mapper.lease, extensions }))).toThrow(
        ArgumentError,
      );
    }
  });

  test("a device, an iommufd, a client or a ring that is something else", () => {
    for (const value of [undefined, null, {}, 1, { lease: new Lease("lease", undefined) }]) {
      const it = wrong(value);
      const calls = [
        () => hotResetInfo(it),
        () => hotReset(it, []),
        () => enterLowPower(it),
        () => exitLowPower(it),
        () => exportDmaBuf(it, 0, []),
        () => queryGfxPlane(it, "region", 0),
        () => setVfToken(it, "00000000-0000-0000-0000-000000000000"),
        () => exportUdmabuf(it),
        () => VfioContainer.ofIommufd(it),
        () => Viommu.alloc(it, it, it),
        () => new VfioUserDevice(it),
        () => new VfioUserMapper(it),
        () => new VfioUserMigration(it),
        () => new VfioUserDmaLogging(it),
        () => new VfioUserServer("/dev/null/x", it),
        () => new Interrupts(it),
        () => new ConfigSpace(it),
        () => new AddressChooser(it),
        () => new SubmissionQueue(1, 2, it, it, 0),
        () => new CompletionQueue(1, 2, it, it, 0),
        () => HandedQueues.take(it),
        () => BorrowedBuffer.of(it),
        () => vtdInvalidations(it),
        () => smmuv3Invalidations(wrong([value])),
        () => vtdStage1(it),
      ];
      for (const call of calls) expect(call, call.toString()).toThrow(ArgumentError);
    }
  });

  test("an option that is misspelt, and a name that a table inherits", () => {
    const mapper = new IdentityMapper();
    const space = new DmaSpace(mapper);
    expect(() => space.alloc(4096, wrong({ adressBits: 32 }))).toThrow(
      /no option "adressBits": there are iova, access, addressBits/,
    );
    expect(() => PciDevice.open("00:03.0", wrong({ backends: "type1" }))).toThrow(ArgumentError);
    expect(() => lookUp("name", wrong("toString"), { a: 1 })).toThrow(
      /name must be one of a, got "toString"/,
    );
    mapper.lease.close();
  });

  test("a path in place of an address, with the way to write a socket", () => {
    for (const backend of [Object.create(null), {}, Symbol("s"), 1])
      expect(() => PciDevice.open("vfio-user:/run/x.sock", { backend: wrong(backend) })).toThrow(
        ArgumentError,
      );
    expect(() => PciDevice.open("/run/x.sock")).toThrow(/is written "vfio-user:\/run\/x.sock"/);
  });

  test("a listener that isn't a function, and options that are no object", () => {
    using event = new EventFd();
    const listeners = new Listeners();
    for (const value of [undefined, null, 1, {}]) {
      expect(() => event.watch(wrong(value))).toThrow(ArgumentError);
      expect(() => listeners.add(wrong(value))).toThrow(ArgumentError);
    }
    expect(() => event.watch(() => {}, wrong(null))).toThrow(ArgumentError);
    expect(() => listeners.add(() => {}, wrong(7))).toThrow(ArgumentError);
    for (const value of [Symbol("s"), -2, 1.5, 1n])
      expect(() => event.waitSync(wrong(value))).toThrow(ArgumentError);
  });

  test("memory and pools whose sizes, handles or options are of another type", () => {
    const mapper = new IdentityMapper();
    const space = new DmaSpace(mapper);
    using pool = new DmaPool(space, { blockSizes: [64], slabBytes: 4096, maxBytes: 4096 });
    for (const value of unprintable) {
      expect(() => pool.alloc(wrong(value))).toThrow(ArgumentError);
      expect(() => pool.bytes(wrong(value))).toThrow(ArgumentError);
      expect(() => new DmaPool(space, { blockSizes: wrong([value]) })).toThrow(ArgumentError);
    }
    expect(() => new DmaPool(space, wrong(null))).toThrow(ArgumentError);
    expect(() => space.alloc(4096, wrong(null))).toThrow(ArgumentError);
    expect(() => space.segments(wrong(null))).toThrow(ArgumentError);
    expect(() => MappedMemory.anonymous(4096, wrong(null))).toThrow(ArgumentError);
    expect(() => MappedMemory.memfd(4096, wrong(null))).toThrow(ArgumentError);
    mapper.lease.close();
  });

  test("devices, addresses and commands of another type", () => {
    for (const value of unprintable) {
      expect(() => parseBdf(wrong(value))).toThrow(ArgumentError);
      expect(() => emulatedFirmware(wrong({ revision: value }))).toThrow(ArgumentError);
    }
    expect(() => emulatedFirmware(wrong(undefined))).toThrow(ArgumentError);
    expect(() => new Bar(wrong(null), 0)).toThrow(ArgumentError);
    expect(() => new Interrupts(wrong(null))).toThrow(ArgumentError);
    const rules = wrong({});
    expect(() => checkCommand(wrong(undefined), rules)).toThrow(ArgumentError);
    expect(() => checkCommandOptions(wrong(null))).toThrow(ArgumentError);
    expect(() => checkCommandOptions({ timeoutMs: wrong(Symbol("s")) })).toThrow(ArgumentError);
  });

  test("a controller to give memory to that lacks members", async () => {
    const target = { admin: () => {}, hostMemoryGiven: () => {} };
    for (const given of [undefined, {}, target, { ...target, identify: {}, device: {} }])
      await expect(HostMemoryBuffer.give(wrong(given))).rejects.toThrow(ArgumentError);
  });

  test("what a callback returns, a record's values, a text, a name and a request of another type", () => {
    const mapper = new IdentityMapper();
    const space = new DmaSpace(mapper);
    const edu = new EmulatedEdu();
    const whole = { ranges: [{ start: iova(0n), last: iova(2n ** 32n - 1n) }], alignmentBytes: 4096 };
    for (const value of [undefined, null, -1, Symbol("s"), () => {}]) {
      const it = wrong(value);
      const calls = [
        () => new AddressChooser(() => it).take(0, 4096, undefined, undefined),
        () => new ProtectionInformation(it),
        () => faultFromText(it),
        () => hostBehavior.encode(it),
        () => hostBehavior.decode(it),
        () => VfioDevice.openCdev(it),
        () => VfioGroup.open(it),
        () => VfioGroup.openFor(it),
        () => groupOf(it),
        () => edu.inject(it),
        () => edu.inject({ kind: it }),
        () => edu.inject(wrong({ kind: mapper })),
        ...(value === undefined || value === -1
          ? []
          : [() => new AddressChooser(() => whole).take(0, 4096, it, undefined)]),
        // A number that is no descriptor is the kernel's to refuse.
        ...(value === -1 ? [] : [() => MappedMemory.ofFile(it, 0, 4096, "file")]),
        () => MappedMemory.ofFile(0, 0, 4096, wrong(null)),
        () => checkRing("memory", it, space, 4096, 4096),
        () => edu.readConfig(0, it),
      ];
      for (const call of calls) expect(call, `${call} with ${show(value)}`).toThrow(ArgumentError);
    }
    expect(() => new IovaAllocator([], 2 ** 16).releasePages(1, 2 ** 16)).toThrow(ArgumentError);
    expect(() => VfioDevice.openCdev(wrong(detached))).toThrow(ArgumentError);
    // A bitmap that no memory can hold.
    expect(() => DirtyBitmap.of(0n, 2 ** 53 - 1, 1)).toThrow(ArgumentError);
    mapper.lease.close();
  });

  test("a part of bytes outside them, of which a CRC would run for ever", () => {
    const bytes = new Uint8Array(8);
    for (const [from, to] of [
      [0, 2 ** 32],
      [-(2 ** 31), 8],
      [0, 9],
      [5, 4],
      [0, 0.5],
    ] as const) {
      expect(() => crc16(bytes, from, to)).toThrow(ArgumentError);
      expect(() => crc32c(bytes, from, to)).toThrow(ArgumentError);
      expect(() => crc64({ low: 0, high: 0 }, bytes, from, to)).toThrow(ArgumentError);
    }
    expect(() => crc16(wrong(undefined), 0, 0)).toThrow(ArgumentError);
    for (const crc of [{}, -1, 2 ** 33, "1"]) {
      expect(() => crc16(bytes, 0, 8, wrong(crc))).toThrow(ArgumentError);
      expect(() => crc32c(bytes, 0, 8, wrong(crc))).toThrow(ArgumentError);
      expect(() => crc64(wrong({ low: crc, high: 0 }), bytes, 0, 8)).toThrow(ArgumentError);
    }
  });

  test("a telemetry reason that isn't a text, and an onRemove that isn't a function", () => {
    using nvme = EmulatedNvme.create({ sizeBytes: 2 ** 20 }, false);
    expect(() => nvme.captureTelemetry(wrong(0))).toThrow(ArgumentError);
    expect(() => {
      nvme.onRemove = wrong(undefined);
    }).toThrow(ArgumentError);
  });
});

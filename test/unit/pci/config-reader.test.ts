/** Header and capabilities of configuration spaces in bytes, also of damaged ones. */
import { describe, expect, test } from "vitest";
import {
  ConfigReader,
  ConfigSnapshot,
  type PciCapabilityDump,
  type PciCapabilityEntry,
  type PciCapabilityName,
  type PciCapabilityRegisters,
  type PciConfigDump,
  type PciHeader,
  type PciHeaderKind,
  reg32,
  reg64,
  registerBlock,
} from "../../../src/doors/pci.js";
import { ArgumentError, StateError, UnsupportedError } from "../../../src/index.js";
import { configBytes } from "../../support/config-bytes.js";

const snapshot = (...options: Parameters<typeof configBytes>): ConfigSnapshot =>
  new ConfigSnapshot(configBytes(...options));
const notesOf = (config: ConfigReader): readonly string[] => config.dump().notes;

describe("the header", () => {
  test("of a device has its command, class and base address registers by name", () => {
    const header: PciHeader = snapshot().header;
    expect(header.kind).toBe("device");
    expect(header.vendorId.read()).toBe(0x1234);
    expect(header.command.decode()).toMatchObject({
      memorySpace: true,
      busMaster: true,
      interruptDisable: false,
    });
    expect(header.baseClass.read()).toBe(0x01);
    if (header.kind !== "device") throw new Error("not a device");
    expect(header.bars.length).toBe(6);
    expect(header.bars.at(0).get("io")).toBe(false);
  });

  test("of a bridge has bus numbers and windows", () => {
    const bytes = configBytes({ headerType: 0x81 });
    bytes.set([0, 1, 3], 0x18);
    bytes.set([0xf1, 0xff], 0x24);
    const { header } = new ConfigSnapshot(bytes);
    if (header.kind !== "bridge") throw new Error("not a bridge");
    expect(header.type.decode()).toEqual({ layout: 1, multifunction: true });
    expect([header.primaryBus, header.secondaryBus, header.subordinateBus].map((bus) => bus.read())).toEqual([
      0, 1, 3,
    ]);
    expect(header.prefetchableBase.decode()).toEqual({ type: "64-bit", address: 0xfff });
  });

  test("of a CardBus bridge leads to its capabilities from another place", () => {
    const config = snapshot({ headerType: 2, standard: [{ at: 0xa0, id: 1 }] });
    expect(config.header.kind satisfies PciHeaderKind).toBe("cardbus");
    expect(config.capabilities()).toMatchObject([{ name: "pm", offset: 0xa0 }]);
  });

  test("of an unknown type has what all headers have", () => {
    const config = snapshot({ headerType: 5 });
    expect(config.header.kind).toBe("unknown");
    expect(config.header.deviceId.read()).toBe(0x11e8);
    expect(config.dump().header.map(({ name }) => name)).not.toContain("bars[0]");
  });
});

describe("capabilities", () => {
  const config = snapshot({
    standard: [
      { at: 0x40, id: 0x01, dwords: { 0: 0xc803_0000, 4: 0x0000_8103 } },
      { at: 0x50, id: 0x05, dwords: { 0: 0x0189_0000, 4: 0xfee0_0000, 8: 1, 12: 0x4021, 16: 5 } },
      { at: 0x70, id: 0x55, dwords: { 4: 0x0403_0201 } },
      { at: 0x80, id: 0x09, dwords: { 0: 0xab08_0000, 4: 0x11 } },
      { at: 0xa0, id: 0x09 },
    ],
    extended: [
      { at: 0x100, id: 0x0010, version: 1, dwords: { 12: 0x0008_0008, 16: 2 } },
      { at: 0x200, id: 0xbeef, version: 3, dwords: { 4: 0x0102_0304 } },
      { at: 0x300, id: 0x0003, dwords: { 4: 0x89ab_cdef, 8: 0x0123_4567 } },
    ],
  });

  test("are listed with id, name, title and place, standard and extended ones separately", () => {
    const standard: PciCapabilityEntry[] = config.capabilities();
    expect(standard.map(({ name }) => name)).toEqual(["pm", "msi", undefined, "vendor", "vendor"]);
    expect(standard[0]).toEqual({
      id: 1,
      offset: 0x40,
      name: "pm",
      title: "Power Management",
      extended: false,
      version: 0,
    });
    expect(config.extendedCapabilities()).toMatchObject([
      { id: 0x10, name: "sriov", offset: 0x100, extended: true, version: 1 },
      { id: 0xbeef, name: undefined, title: "Unknown", version: 3 },
      { id: 3, name: "dsn" },
    ]);
  });

  test("give their registers by name", () => {
    expect(config.capability("pm")?.control.decode()).toMatchObject({
      state: "D3hot",
      pmeEnable: true,
      pmeStatus: true,
    });
    expect(config.capability("dsn")?.serial.read()).toBe(0x0123_4567_89ab_cdefn);
    const sriov: PciCapabilityRegisters<"sriov"> | undefined = config.capability("sriov");
    expect([sriov?.totalVfs.read(), sriov?.vfs.read(), sriov?.bars.length]).toEqual([8, 2, 6]);
    expect(config.capability("vendor")?.length.read()).toBe(8);
    expect(config.capability("vendor", 1)?.length.read()).toBe(0);
    expect(config.capability("vendor", 2)).toBeUndefined();
    expect(config.capability("aer")).toBeUndefined();
  });

  test("have the registers that this function has: an MSI of 64 bits with masks", () => {
    const msi = config.capability("msi");
    expect(msi?.control.decode()).toMatchObject({
      enable: true,
      is64Bit: true,
      maskable: true,
      capable: "16",
    });
    expect(msi?.addressHigh?.read()).toBe(1);
    expect(msi?.data.read()).toBe(0x4021);
    expect(msi?.mask?.read()).toBe(5);
    expect(msi?.extendedData).toBeUndefined();
    const narrow = snapshot({ standard: [{ at: 0x50, id: 5, dwords: { 8: 0x4021 } }] }).capability("msi");
    expect(narrow?.data.read()).toBe(0x4021);
    expect(narrow?.addressHigh).toBeUndefined();
    expect(narrow?.mask).toBeUndefined();
  });

  test("can be read and written as a driver's own registers", () => {
    const Own = registerBlock("own", { identification: reg32(0x00), wide: reg64(0x50) });
    expect(Own.on(config).identification.read()).toBe(0x11e8_1234);
    const Whole = registerBlock("whole", { wide: reg64(0x50, { order: "whole" }) });
    expect(() => Whole.on(config).wide.read()).toThrow(UnsupportedError);
    expect(() => Whole.on(config).wide.write(0n)).toThrow("has no 64-bit accesses, as at 80");
  });

  test("are dumped with their registers, and bytes where these are unknown", () => {
    const dump: PciConfigDump = config.dump();
    expect(dump.notes).toEqual([]);
    const one = (name: PciCapabilityName): PciCapabilityDump | undefined =>
      dump.capabilities.find((each) => each.name === name);
    expect(one("pm")?.registers.find(({ name }) => name === "control")).toEqual({
      name: "control",
      offset: 0x44,
      value: "0x8103",
      fields: {
        state: "D3hot",
        noSoftReset: false,
        pmeEnable: true,
        dataSelect: 0,
        dataScale: 0,
        pmeStatus: true,
      },
    });
    expect(one("vendor")).toMatchObject({ bytes: "ab 11", notes: [] });
    expect(dump.capabilities[2]).toMatchObject({
      title: "Unknown",
      registers: [],
      bytes: "00 00 01 02 03 04",
    });
    expect(dump.capabilities.find(({ id }) => id === 0xbeef)).toMatchObject({ bytes: "04 03 02 01" });
    // It is what the command prints.
    expect(JSON.parse(JSON.stringify(dump))).toEqual(dump);
  });

  test("reject a name that no capability has", () => {
    expect(() => config.capability("power" as "pm")).toThrow(ArgumentError);
    expect(() => config.capability("power" as "pm")).toThrow("name must be one of pm, msi, ");
    expect(() => config.capability("pm", -1)).toThrow(ArgumentError);
  });
});

describe("damaged lists", () => {
  test("end where they lead back", () => {
    const config = snapshot({
      standard: [
        { at: 0x40, id: 1 },
        { at: 0x50, id: 5, next: 0x40 },
      ],
      extended: [
        { at: 0x100, id: 3 },
        { at: 0x200, id: 3, next: 0x200 },
      ],
    });
    expect(config.capabilities().map(({ offset }) => offset)).toEqual([0x40, 0x50]);
    expect(config.extendedCapabilities().map(({ offset }) => offset)).toEqual([0x100, 0x200]);
    expect(notesOf(config)).toEqual([
      "the list of capabilities leads back to 0x40",
      "the list of extended capabilities leads back to 0x200",
    ]);
  });

  test("end where they lead into the header, or to nothing", () => {
    const config = snapshot({
      standard: [{ at: 0x40, id: 1, next: 0x10 }],
      extended: [{ at: 0x100, id: 3, next: 0x80 }],
    });
    expect(notesOf(config)).toEqual([
      "the list of capabilities leads into the header, to 0x10",
      "the list of extended capabilities leads to 0x80, where no extended capability can be",
    ]);
    const bytes = configBytes({
      standard: [{ at: 0x40, id: 1, next: 0x60 }],
      extended: [{ at: 0x100, id: 3, next: 0x300 }],
    });
    bytes[0x60] = 0xff;
    expect(notesOf(new ConfigSnapshot(bytes))).toEqual([
      "there is no capability at 0x60, where the list leads",
      "the list of extended capabilities leads to 0x300, where there is none",
    ]);
  });

  test("end where the configuration space ends", () => {
    const bytes = configBytes({
      standard: [{ at: 0x40, id: 1, next: 0xf0 }],
      extended: [{ at: 0x100, id: 3, next: 0x800 }],
    });
    expect(notesOf(new ConfigSnapshot(bytes.slice(0, 0x80)))).toEqual([
      "the list of capabilities leads to 0xf0, beyond the 128 bytes that can be read",
    ]);
    expect(notesOf(new ConfigSnapshot(bytes.slice(0, 0x400)))).toEqual([
      "the list of extended capabilities leads to 0x800, beyond the 1024 bytes that can be read",
    ]);
  });

  test("have capabilities that are cut off: dump() says so, capability() throws", () => {
    const config = snapshot({
      sizeBytes: 256,
      standard: [{ at: 0xf8, id: 0x10, dwords: { 0: 0x0002_0000 } }],
    });
    const [pcie] = config.dump().capabilities;
    expect(pcie?.registers.map(({ name }) => name)).toEqual(["capabilities", "deviceCapabilities"]);
    expect(pcie?.notes).toEqual([
      "at 0xf8 is cut off after 8 bytes: deviceControl, deviceStatus can't be read",
    ]);
    expect(() => config.capability("pcie")).toThrow(UnsupportedError);
    expect(() => config.capability("pcie")).toThrow("the snapshot: pcie at 0xf8 is cut off after 8 bytes");
  });

  test("have vendors' capabilities of impossible lengths, which are notes", () => {
    const config = snapshot({
      standard: [
        { at: 0x40, id: 9, dwords: { 0: 0x0001_0000 } },
        { at: 0xf0, id: 9, dwords: { 0: 0x0040_0000 } },
      ],
    });
    expect(config.dump().capabilities.map(({ notes }) => notes)).toEqual([
      ["says that it has 1 bytes, but it needs 3"],
      ["says that it has 64 bytes, but only 16 follow"],
    ]);
  });

  test("of a function that has gone are empty, with a note", () => {
    const config = new ConfigSnapshot(new Uint8Array(4096).fill(0xff));
    expect(config.capabilities()).toEqual([]);
    expect(config.extendedCapabilities()).toEqual([]);
    expect(notesOf(config)[0]).toBe("the function doesn't answer: all bits read 1");
  });

  test("never make dump() throw or run for ever, whatever the bytes are", () => {
    let seed = 1;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return (seed >>> 8) % below;
    };
    for (let round = 0; round < 120; round++) {
      const bytes = new Uint8Array([64, 128, 256, 4096][round % 4] ?? 64).map(() => random(256));
      bytes[6] = (bytes[6] ?? 0) | 0x10;
      // Ids that are known, so that declarations are used; next pointers stay random.
      for (let at = 0x40; at < Math.min(bytes.length, 0x100); at += 4) bytes[at] = random(0x16);
      for (let at = 0x100; at < bytes.length; at += 4) bytes.set([random(0x38), 0], at);
      const config = new ConfigSnapshot(bytes);
      expect(() => JSON.stringify(config.dump()), `round ${round}`).not.toThrow();
    }
  });
});

describe("a ConfigSnapshot", () => {
  test("says what is missing if only the header could be read", () => {
    const header = configBytes({ standard: [{ at: 0x40, id: 1 }] }).slice(0, 64);
    const config = new ConfigSnapshot(header, "the configuration space of 0000:00:03.0", 4096);
    expect(config).toMatchObject({ sizeBytes: 64, fullSizeBytes: 4096 });
    expect(config.dump()).toMatchObject({
      kind: "device",
      capabilities: [],
      notes: [
        "only the first 64 of 4096 bytes can be read: the rest needs CAP_SYS_ADMIN, so run this as root",
      ],
    });
  });

  test("copies its bytes, and can't be written", () => {
    // A Buffer out of Node's pool begins somewhere in its memory.
    const bytes = Buffer.concat([Buffer.alloc(8), configBytes({ sizeBytes: 256 })]).subarray(8);
    const config = new ConfigSnapshot(bytes);
    bytes.fill(0);
    expect(config.read16(0)).toBe(0x1234);
    const target = new Uint8Array(2);
    config.readBytes(0, target);
    expect([...target]).toEqual([0x34, 0x12]);
    for (const write of [() => config.write8(), () => config.write16(), () => config.write32()])
      expect(write).toThrow(StateError);
    expect(() => config.header.command.modify({ busMaster: false })).toThrow(
      "the snapshot is a snapshot and can't be written: open the device with PciDevice.open()",
    );
    expect(config).toBeInstanceOf(ConfigReader);
  });

  test("rejects offsets outside it, and sizes that no configuration space has", () => {
    const config = new ConfigSnapshot(configBytes({ sizeBytes: 256 }));
    for (const access of [
      () => config.read8(256),
      () => config.read16(1),
      () => config.read32(0xfe),
      () => config.readBytes(255, new Uint8Array(2)),
    ])
      expect(access).toThrow(ArgumentError);
    expect(() => new ConfigSnapshot(new Uint8Array(63))).toThrow(ArgumentError);
    expect(() => new ConfigSnapshot(new Uint8Array(4097))).toThrow(ArgumentError);
    expect(() => new ConfigSnapshot(new Uint8Array(64), "x", 63)).toThrow(ArgumentError);
    expect(() => ConfigSnapshot.read("no address")).toThrow(ArgumentError);
    expect(() => ConfigSnapshot.read("fffe:00:00.0")).toThrow("there is no PCI device");
  });
});

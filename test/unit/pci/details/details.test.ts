/** What a tree of files in place of sysfs says of a function: as root, as an ordinary user, and with files missing. */
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { factLines, regionLines, vpdLines } from "../../../../src/cli/show-details.js";
import {
  ConfigSnapshot,
  listPciFunctions,
  type PciDetails,
  type PciFunction,
  type PciRegion,
  type PciRegions,
  type PciRomInfo,
  type PciWindow,
  readPciDetails,
  readVpd,
} from "../../../../src/doors/pci.js";
import { ArgumentError } from "../../../../src/index.js";
import { detailsOf } from "../../../../src/pci/details/details.js";
import { configBytes } from "../../../support/config-bytes.js";
import { hostTree, type TreeFiles } from "../../../support/host-tree.js";
import { asUnprivileged } from "../../../support/unprivileged.js";

const BDF = "0000:03:00.0";
const DEVICE = `/sys/bus/pci/devices/${BDF}`;
const MODALIAS = "pci:v00008086d000010C9sv00008086sd0000A03Cbc02sc00i00";

/** Lines of a `resource` file by number; the others are empty. */
function resource(count: number, lines: Readonly<Record<number, string>>): string {
  const empty = "0x0000000000000000 0x0000000000000000 0x0000000000000000";
  return `${Array.from({ length: count }, (_, at) => lines[at] ?? empty).join("\n")}\n`;
}

const nic: TreeFiles = {
  [`${DEVICE}/resource`]: resource(13, {
    0: "0x00000000fe000000 0x00000000fe01ffff 0x0000000000040200",
    1: "0x00000000fe020000 0x00000000fe3fffff 0x0000000000040200",
    2: "0x000000000000c000 0x000000000000c01f 0x0000000000040101",
    3: "0x0000000000000000 0x0000000000003fff 0x0000000020140204",
    6: "0x00000000fe400000 0x00000000fe43ffff 0x0000000000046200",
    7: "0x0000004000000000 0x000000400001ffff 0x000000000014220c",
  }),
  [`${DEVICE}/irq`]: "24\n",
  [`${DEVICE}/modalias`]: `${MODALIAS}\n`,
  [`${DEVICE}/label`]: "Onboard LAN\n",
  [`${DEVICE}/iommu_group/devices/${BDF}`]: "",
  [`${DEVICE}/iommu_group/devices/0000:03:00.1`]: "",
  [`${DEVICE}/vpd`]: Uint8Array.from([0x82, 3, 0, 0x4e, 0x49, 0x43, 0x90, 4, 0, 0x50, 0x4e, 1, 0x37, 0x78]),
  "/sys/bus/pci/slots/3/address": "0000:03:00\n",
  "/sys/bus/pci/slots/3-1/address": "0000:03:01\n",
  "/modules/modules.alias": [
    "# Aliases extracted from modules themselves.",
    "alias pci:v00008086d000010C9sv*sd*bc*sc*i* igb",
    "alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e",
    "alias vfio_pci:v00008086d000010C9sv*sd*bc*sc*i* some_vfio_pci",
    "alias pci:v*d*sv*sd*bc02sc00i* generic_net",
    "alias fs-ext4 ext4",
  ].join("\n"),
  "/modules/modules.builtin.modinfo":
    "virtio_pci.alias=pci:v00001AF4d*sv*sd*bc*sc*i*\0igb2.alias=pci:v00008086d*sv*sd*bc02sc*i*\0igb2.license=GPL\0",
};

/** The header of the function: memory at BARs 0 and 1, I/O ports at BAR 2, an enabled ROM. */
function header(command: number, bytes = 64): ConfigSnapshot {
  const config = configBytes({});
  const view = new DataView(config.buffer);
  view.setUint16(0x04, command, true);
  view.setUint32(0x10, 0xfe00_0000, true);
  view.setUint32(0x14, 0, true);
  view.setUint32(0x18, 0xc001, true);
  view.setUint32(0x30, 0xfe40_0001, true);
  return new ConfigSnapshot(config.slice(0, bytes), "test", 4096);
}

function detailsIn(files: TreeFiles, config: ConfigSnapshot, action?: (path: string) => void): PciDetails {
  using tree = hostTree(files);
  const at = (path: string): string => join(tree.root.path, path);
  action?.(tree.root.path);
  return detailsOf(BDF, config, {
    device: at(DEVICE),
    slots: at("/sys/bus/pci/slots"),
    modules: at("/modules"),
  });
}

const IO_AND_MEMORY = 3;

const fn: PciFunction = {
  bdf: BDF,
  vendorId: 0x8086,
  deviceId: 0x10c9,
  subsystemVendorId: 0x8086,
  subsystemDeviceId: 0xa03c,
  classCode: 0x020000,
  revision: 1,
  driver: "igb",
  iommuGroup: 5,
  numaNode: 1,
  bars: [],
  physicalFunction: undefined,
  maxVirtualFunctions: 8,
  virtualFunctions: [],
};

describe("the details of a function in sysfs", () => {
  test("are interrupt, slot, label, neighbours, modules and product data", () => {
    expect(detailsIn(nic, header(IO_AND_MEMORY))).toMatchObject({
      irq: 24,
      slot: "3",
      label: "Onboard LAN",
      iommuGroupMembers: ["0000:03:00.1"],
      modules: ["igb", "generic_net", "igb2"],
      vpd: { productName: "NIC", readOnly: [{ keyword: "PN", text: "7" }], notes: [] },
      notes: [],
    });
  });

  test("are regions with their addresses, and whether the function answers there", () => {
    const all: PciRegions = detailsIn(nic, header(IO_AND_MEMORY));
    const memory = { kind: "memory", prefetchable: false, is64Bit: false } as const;
    expect(all.regions).toEqual([
      { ...memory, index: 0, sizeBytes: 0x2_0000, address: "0xfe000000", isEnabled: true, isVirtual: false },
      { ...memory, index: 1, sizeBytes: 0x3e_0000, address: "0xfe020000", isEnabled: true, isVirtual: true },
      {
        ...memory,
        index: 2,
        kind: "io",
        sizeBytes: 32,
        address: "0xc000",
        isEnabled: true,
        isVirtual: false,
      },
      {
        ...memory,
        index: 3,
        sizeBytes: 16384,
        is64Bit: true,
        address: undefined,
        isEnabled: true,
        isVirtual: false,
      },
    ] satisfies PciRegion[]);
    expect(all.rom satisfies PciRomInfo | undefined).toEqual({
      address: "0xfe400000",
      sizeBytes: 0x4_0000,
      isEnabled: true,
    });
    expect(all.windows).toEqual([]);
    expect(all.virtualFunctionRegions).toMatchObject([
      {
        index: 0,
        address: "0x4000000000",
        sizeBytes: 0x2_0000,
        is64Bit: true,
        prefetchable: true,
        isEnabled: false,
      },
    ]);
    const off = detailsIn(nic, header(1));
    expect(off.regions.map(({ isEnabled }) => isEnabled)).toEqual([false, false, true, false]);
    expect(off.rom).toMatchObject({ isEnabled: false });
  });

  test("of a physical function say whether its virtual functions answer", () => {
    const bytes = configBytes({ extended: [{ at: 0x100, id: 0x10, version: 1, dwords: { 8: 9 } }] });
    expect(detailsIn(nic, new ConfigSnapshot(bytes)).virtualFunctionRegions).toMatchObject([
      { isEnabled: true },
    ]);
  });

  test("of a virtual function say that it answers, though its own registers read 0", () => {
    const { regions } = detailsIn({ ...nic, [`${DEVICE}/physfn`]: { link: "../0000:03:00.4" } }, header(0));
    expect(regions.every(({ isEnabled }) => isEnabled)).toBe(true);
  });

  test.each([
    [11, 7],
    [17, 13],
  ])("of a bridge have its windows, in a file of %d lines", (count, first) => {
    const bytes = configBytes({ headerType: 1 });
    const { windows } = detailsIn(
      {
        [`${DEVICE}/resource`]: resource(count, {
          [first]: "0x0000000000001000 0x0000000000001fff 0x0000000000000101",
          [first + 2]: "0x0000380000000000 0x00003807ffffffff 0x0000000000102200",
        }),
      },
      new ConfigSnapshot(bytes),
    );
    expect(windows).toEqual([
      { kind: "io", address: "0x1000", sizeBytes: 4096, is64Bit: false },
      { kind: "prefetchable", address: "0x380000000000", sizeBytes: 2 ** 35, is64Bit: true },
    ] satisfies PciWindow[]);
  });

  test("without any file are empty, and notes say what is missing", () => {
    const { notes, ...rest } = detailsIn({ [`${DEVICE}/`]: "" }, header(0));
    expect(rest).toEqual({
      regions: [],
      rom: undefined,
      windows: [],
      virtualFunctionRegions: [],
      irq: undefined,
      iommuGroupMembers: [],
      modules: [],
      slot: undefined,
      label: undefined,
      vpd: undefined,
    });
    expect(notes).toEqual([
      expect.stringMatching(/^regions can't be read: open on .*\/resource: ENOENT$/),
      expect.stringMatching(
        /^the aliases of kernel modules can't be read: open on .*\/modules\.alias: ENOENT$/,
      ),
    ]);
  });

  test("of an ordinary user lack the product data, and a note says what they need", () => {
    const shown = (): PciDetails => {
      using tree = hostTree(nic);
      const at = (path: string): string => join(tree.root.path, path);
      chmodSync(tree.root.path, 0o755);
      chmodSync(at(`${DEVICE}/vpd`), 0o600);
      const read = (): PciDetails =>
        detailsOf(BDF, header(IO_AND_MEMORY), {
          device: at(DEVICE),
          slots: at("/sys/bus/pci/slots"),
          modules: at("/modules"),
        });
      if (process.getuid?.() !== 0) {
        chmodSync(at(`${DEVICE}/vpd`), 0);
        return read();
      }
      let found: PciDetails | undefined;
      asUnprivileged({}, () => {
        found = read();
      });
      if (found === undefined) throw new Error("nothing was read");
      return found;
    };
    expect(shown()).toMatchObject({
      irq: 24,
      modules: ["igb", "generic_net", "igb2"],
      vpd: undefined,
      notes: [
        expect.stringMatching(
          /^vital product data can't be read: open on .*vpd: EACCES \(run this as root\)$/,
        ),
      ],
    });
  });

  test("have what is damaged in the product data among these, however long the file is", () => {
    const { vpd, notes } = detailsIn(
      { ...nic, [`${DEVICE}/vpd`]: new Uint8Array(100_000).fill(0xa0) },
      header(0),
    );
    expect(notes).toEqual([]);
    expect(vpd?.notes.at(-1)).toBe("there is no end tag");
  });

  test("of this host's functions are what sysfs has, and there are none of a function that isn't there", () => {
    for (const { bdf, bars } of listPciFunctions()) {
      const { regions } = readPciDetails(bdf);
      expect(regions.map(({ address, isEnabled, isVirtual, ...bar }) => bar)).toEqual(bars);
    }
    expect(() => readPciDetails("ffff:ff:1f.7")).toThrow(ArgumentError);
    expect(() => readVpd("ffff:ff:1f.7")).toThrow("there is no PCI device ffff:ff:1f.7");
  });
});

describe("iova show", () => {
  test("has a line for each region, and two for the facts", () => {
    const config = header(1);
    const shown = { ...fn, ...detailsIn(nic, config), ...config.dump() };
    expect(factLines(shown)).toEqual([
      "  subsystem 8086:a03c, driver igb, IOMMU group 5 with 0000:03:00.1, NUMA node 1, 0 of 8 virtual functions",
      "  IRQ 24, physical slot 3, called Onboard LAN by the firmware, kernel modules igb generic_net igb2",
    ]);
    expect(regionLines(shown)).toEqual([
      "  BAR 0: memory at 0xfe000000, 131072 bytes, disabled",
      "  BAR 1: memory at 0xfe020000, 4063232 bytes, virtual, disabled",
      "  BAR 2: io at 0xc000, 32 bytes",
      "  BAR 3: memory without an address, 16384 bytes, 64-bit, disabled",
      "  BAR 0: memory at 0x4000000000, 131072 bytes, 64-bit, prefetchable, disabled, of all virtual functions",
      "  expansion ROM at 0xfe400000, 262144 bytes, disabled",
    ]);
    expect(vpdLines(shown.vpd)).toEqual(["  vital product data: NIC", "    PN (Part number): 7"]);
  });

  test("has windows, checksums, bytes that are no text, and notes of the product data", () => {
    expect(
      regionLines({
        ...fn,
        ...header(0).dump(),
        windows: [{ kind: "prefetchable", address: "0x380000000000", sizeBytes: 2 ** 35, is64Bit: true }],
      }),
    ).toEqual(["  window for prefetchable memory at 0x380000000000, 34359738368 bytes, 64-bit"]);
    expect(
      vpdLines({
        productName: undefined,
        readOnly: [
          { keyword: "V1", title: "Vendor specific", text: undefined, bytes: "00ff" },
          { keyword: "RV", title: "Checksum and reserved bytes", text: undefined, bytes: "aa" },
        ],
        readWrite: [{ keyword: "YA", title: "Asset tag", text: "x", bytes: "78" }],
        checksum: "bad",
        freeBytes: 7,
        notes: ["there is no end tag"],
      }),
    ).toEqual([
      "  vital product data",
      "    V1 (Vendor specific): bytes 00ff",
      "    checksum bad",
      "    YA (Asset tag): x, writable",
      "    7 bytes to write are free",
      "    note: there is no end tag",
    ]);
  });
});

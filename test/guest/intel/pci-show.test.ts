/** Configuration spaces of this machine's functions, decoded, beside what `lspci -vvv` prints. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { runShow } from "../../../src/cli/show.js";
import {
  ConfigSnapshot,
  listPciFunctions,
  parseVpd,
  readPciDetails,
  readPciFunction,
  readVpd,
} from "../../../src/doors/pci.js";
import { sriovNvmeBdf } from "../../support/functions.js";
import { hostTree } from "../../support/host-tree.js";
import { compareWithLspci } from "../../support/lspci.js";
import { expectedDetails, expectedVpd, lspciDetails, lspciVpd } from "../../support/lspci-details.js";
import { asUnprivileged } from "../../support/unprivileged.js";

test("each flag and value that lspci prints is what the decoded configuration space says", () => {
  const compared = listPciFunctions().map(({ bdf }) =>
    compareWithLspci(bdf, ConfigSnapshot.read(bdf).dump()),
  );
  expect(compared.flatMap(({ differences }) => differences)).toEqual([]);
  // A machine without capabilities would compare nothing.
  expect(compared.reduce((sum, one) => sum + one.compared, 0)).toBeGreaterThan(1000);
  const unknown = new Set(compared.flatMap((one) => one.unknown));
  // What isn't of the configuration space's registers, or what lspci prints from several of them.
  const others =
    /^header (?:Subsystem|Latency|IOMMU group|NUMA node|Kernel|Region|Expansion ROM|I\/O|Memory|Prefetchable|Physical|Flags)|^vendor |^ssvid |^sata |^aer (?:ErrorSrc|Advanced)|^acs Access|^ari Alt|^sriov (?:Single|Region|VF Migration)|^pcie DevCap2 (?:TPHComp|ExtTPHComp)/;
  expect([...unknown].filter((each) => !others.test(each))).toEqual([]);
});

test("each line that lspci prints beside registers is what iova reads: regions, windows, ROM, interrupt, slot, group, driver", () => {
  const kinds = new Set<string>();
  for (const fn of listPciFunctions()) {
    const { bdf } = fn;
    const { header } = ConfigSnapshot.read(bdf);
    const lines = expectedDetails(fn, readPciDetails(bdf), header.interruptPin.get("pin"));
    expect({ bdf, lines: lines.sort() }).toEqual({ bdf, lines: lspciDetails(bdf).sort() });
    for (const line of lines) kinds.add(line.replace(/(?: \d+)?:.*| at .*/, ""));
  }
  // A machine without them would compare nothing.
  expect([...kinds]).toEqual(
    expect.arrayContaining([
      ...["Subsystem", "Physical Slot", "Interrupt", "IOMMU group", "Region", "Expansion ROM"],
      ...[
        "I/O behind bridge",
        "Memory behind bridge",
        "Prefetchable memory behind bridge",
        "Kernel driver in use",
      ],
    ]),
  );
});

test("functions of one IOMMU group name each other", () => {
  const functions = listPciFunctions();
  for (const { bdf, iommuGroup } of functions) {
    const others = functions.filter((each) => each.iommuGroup === iommuGroup && each.bdf !== bdf);
    expect(readPciDetails(bdf).iommuGroupMembers).toEqual(others.map((each) => each.bdf));
  }
  expect(functions.some(({ bdf }) => readPciDetails(bdf).iommuGroupMembers.length > 0)).toBe(true);
});

test("vital product data are what lspci decodes of the same bytes", () => {
  // QEMU's devices have none.
  for (const { bdf } of listPciFunctions()) expect(readVpd(bdf)).toBeUndefined();
  const ascii = (text: string): number[] => [...Buffer.from(text)];
  const field = (keyword: string, data: readonly number[]): number[] => [
    ...ascii(keyword),
    data.length,
    ...data,
  ];
  const large = (tag: number, data: readonly number[]): number[] => [tag, data.length, 0, ...data];
  const texts = (fields: Readonly<Record<string, string>>): number[] =>
    Object.entries(fields).flatMap(([keyword, text]) => field(keyword, ascii(text)));
  const readOnly = texts({ PN: "A1234-001", EC: "E7", SN: "00e0ed123456", MN: "1028", V0: "x y" });
  for (const checksum of ["good", "bad"]) {
    const start = [
      ...large(0x82, ascii("Ethernet adapter")),
      ...large(0x90, [...readOnly, ...field("RV", [0, 0, 0])]),
    ];
    const sum = start.reduce((total, byte) => total + byte, 0) & 0xff;
    start[start.length - 3] = (256 - sum + (checksum === "good" ? 0 : 1)) & 0xff;
    const writable = [...texts({ YA: "rack 7", V1: "q" }), ...field("RW", [0, 0, 0, 0])];
    const bytes = Uint8Array.from([...start, ...large(0x91, writable), 0x78]);
    const config = new Uint8Array(256);
    config.set([0x86, 0x80, 0xc9, 0x10, 3, 0, 0x10, 0]);
    config[0x34] = 0x40;
    config[0x40] = 3;
    const bdf = "0000:03:00.0";
    using tree = hostTree({
      [`/devices/${bdf}/vendor`]: "0x8086\n",
      [`/devices/${bdf}/device`]: "0x10c9\n",
      [`/devices/${bdf}/class`]: "0x020000\n",
      [`/devices/${bdf}/irq`]: "0\n",
      [`/devices/${bdf}/resource`]: "0x0 0x0 0x0\n".repeat(7),
      [`/devices/${bdf}/config`]: config,
      [`/devices/${bdf}/vpd`]: bytes,
    });
    const vpd = parseVpd(readFileSync(join(tree.root.path, "devices", bdf, "vpd")));
    expect(vpd).toMatchObject({ checksum, notes: [] });
    expect(expectedVpd(vpd)).toEqual(lspciVpd(bdf, tree.root.path));
  }
});

test("no function of this machine has a damaged or unknown capability", () => {
  for (const { bdf } of listPciFunctions()) {
    const { notes, capabilities } = ConfigSnapshot.read(bdf).dump();
    expect({ bdf, notes }).toEqual({ bdf, notes: [] });
    for (const each of capabilities) {
      expect({ bdf, title: each.title, notes: each.notes }).toEqual({ bdf, title: each.title, notes: [] });
      expect(each.name, `${bdf}: ${each.title}`).toBeDefined();
    }
  }
});

test("without privileges the header is shown, and a note says what the rest needs", () => {
  const bdf = sriovNvmeBdf();
  const all = ConfigSnapshot.read(bdf).dump();
  let said = "";
  const spy = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    said += String(text);
    return true;
  });
  try {
    asUnprivileged({}, () => runShow([bdf, "--json"]));
  } finally {
    spy.mockRestore();
  }
  expect(JSON.parse(said)).toMatchObject({
    bdf,
    header: all.header,
    capabilities: [],
    regions: readPciDetails(bdf).regions,
    iommuGroup: readPciFunction(bdf).iommuGroup,
    driver: readPciFunction(bdf).driver,
    notes: [
      "only the first 64 of 4096 bytes can be read: the rest needs CAP_SYS_ADMIN, so run this as root",
      // This kernel has no modules.
      expect.stringMatching(
        /^the aliases of kernel modules can't be read: open on .*modules\.alias: ENOENT$/,
      ),
    ],
  });
  expect(all.capabilities.map(({ name }) => name)).toEqual(
    expect.arrayContaining(["msix", "pcie", "pm", "ari", "sriov"]),
  );
});

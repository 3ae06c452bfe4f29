/** The topology of hand-made sysfs trees, as a tree, a picture and a page; and that of the host that runs the tests. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterEach, expect, test } from "vitest";
import { topologyHtml } from "../../../../src/cli/topology/html.js";
import { topologySvg } from "../../../../src/cli/topology/svg.js";
import { groupsOf, readTopology, rowsOf, type Topology } from "../../../../src/cli/topology/topology.js";
import { isUtf8, treeText } from "../../../../src/cli/topology/tree.js";
import { listPciFunctions } from "../../../../src/pci/sysfs.js";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

interface Made {
  /** Below devices/, such as `pci0000:00/0000:00:01.0`. */
  readonly path: string;
  readonly id?: string;
  readonly classCode?: string;
  readonly driver?: string;
  readonly group?: number;
  readonly bus?: string;
  readonly physfn?: string;
}

/** A sysfs with these functions. */
function sysfsOf(...functions: readonly Made[]): string {
  const sysfs = mkdtempSync(join(tmpdir(), "iova-sysfs-"));
  folders.push(sysfs);
  const bus = join(sysfs, "bus/pci/devices");
  mkdirSync(bus, { recursive: true });
  for (const {
    path,
    id = "1234:11e8",
    classCode = "0x00ff00",
    driver,
    group,
    bus: behind,
    physfn,
  } of functions) {
    const home = join(sysfs, "devices", path);
    mkdirSync(home, { recursive: true });
    const [vendor, device] = id.split(":");
    writeFileSync(join(home, "vendor"), `0x${vendor}\n`);
    writeFileSync(join(home, "device"), `0x${device}\n`);
    writeFileSync(join(home, "class"), `${classCode}\n`);
    const link = (name: string, target: string): void => {
      mkdirSync(target, { recursive: true });
      symlinkSync(relative(home, target), join(home, name));
    };
    if (driver !== undefined) link("driver", join(sysfs, "bus/pci/drivers", driver));
    if (group !== undefined) link("iommu_group", join(sysfs, "kernel/iommu_groups", String(group)));
    if (physfn !== undefined) link("physfn", join(sysfs, "devices", physfn));
    if (behind !== undefined) mkdirSync(join(home, "pci_bus", behind), { recursive: true });
    symlinkSync(relative(bus, home), join(bus, path.split("/").at(-1) ?? ""));
  }
  return sysfs;
}

const none = (): string[] => [];
const port = "pci0000:00/0000:00:01.0";

/** A port with a disk that has a virtual function, a group of two, and a second root. */
const typical: readonly Made[] = [
  { path: "pci0000:00/0000:00:00.0", id: "8086:29c0", classCode: "0x060000", group: 0 },
  { path: port, id: "1b36:000c", classCode: "0x060400", driver: "pcieport", group: 1, bus: "0000:01" },
  { path: `${port}/0000:01:00.0`, id: "1b36:0010", classCode: "0x010802", driver: "nvme", group: 2 },
  {
    path: `${port}/0000:01:00.1`,
    id: "1b36:0010",
    classCode: "0x010802",
    driver: "vfio-pci",
    group: 3,
    physfn: `${port}/0000:01:00.0`,
  },
  { path: "pci0000:00/0000:00:1f.0", classCode: "0x060100", group: 4 },
  { path: "pci0000:00/0000:00:1f.2", classCode: "0x010601", driver: "ahci", group: 4 },
  { path: "pci0001:80/0001:80:00.0" },
];

const read = (...functions: readonly Made[]): Topology => readTopology(none, sysfsOf(...functions));

test("the tree has roots, bridges and what is behind them, with groups and drivers", () => {
  const topology = readTopology(
    (bdf) => (bdf === "0000:01:00.0" ? ["/dev/nvme0n1 is mounted on /"] : []),
    sysfsOf(...typical),
  );
  expect(treeText(topology, true)).toBe(`\
0000:00  root complex
├─ 0000:00:00.0  host bridge  8086:29c0  group 0, no driver
├─ 0000:00:01.0  PCI bridge  1b36:000c  group 1, pcieport, leads to bus 0000:01
│  ├─ 0000:01:00.0  NVMe controller  1b36:0010  group 2, nvme, /dev/nvme0n1 is mounted on /
│  └─ 0000:01:00.1  NVMe controller  1b36:0010  group 3, vfio-pci, virtual function of 0000:01:00.0
├─ 0000:00:1f.0  ISA bridge  1234:11e8  group 4, no driver
└─ 0000:00:1f.2  SATA controller  1234:11e8  group 4, ahci
0001:80  root complex
└─ 0001:80:00.0  device  1234:11e8  no IOMMU group, no driver

IOMMU groups of several functions:
  group 4: 0000:00:1f.0, 0000:00:1f.2`);
  expect(treeText(topology, false)).toMatch(/^[ -~\n]*$/);
});

test("a host bridge below a function, as of Intel VMD, starts a domain there", () => {
  const topology = read(
    { path: "pci0000:00/0000:00:0e.0", classCode: "0x010400", driver: "vmd" },
    { path: "pci0000:00/0000:00:0e.0/pci10000:00/10000:00:01.0", classCode: "0x010802" },
  );
  expect(topology.roots).toHaveLength(1);
  expect(topology.roots[0]?.functions[0]?.functions.map(({ bdf }) => bdf)).toEqual(["10000:00:01.0"]);
});

test("functions below a platform device, as on Arm, have their own root", () => {
  const [root] = read({ path: "platform/40000000.pcie/pci0002:00/0002:00:00.0" }).roots;
  expect(root).toMatchObject({ name: "0002:00", functions: [{ bdf: "0002:00:00.0", functions: [] }] });
});

test("a host without PCI, a link to nowhere and a function without ids are empty trees", () => {
  expect(readTopology(none, join(tmpdir(), "no-such-folder"))).toEqual({ roots: [] });
  const sysfs = sysfsOf();
  symlinkSync("../../../devices/gone", join(sysfs, "bus/pci/devices/0000:00:05.0"));
  mkdirSync(join(sysfs, "bus/pci/devices/0000:00:06.0"));
  expect(readTopology(none, sysfs)).toEqual({ roots: [] });
  expect(treeText({ roots: [] }, true)).toBe("");
  expect(topologySvg({ roots: [] }, "nothing")).toContain("</svg>");
});

test("a function whose users can't be asked any more is there without them", () => {
  const topology = readTopology(
    () => {
      throw new Error("gone");
    },
    sysfsOf({ path: "pci0000:00/0000:00:01.0" }),
  );
  expect(topology.roots[0]?.functions[0]?.inUse).toEqual([]);
});

test("the picture names every function, group and driver, with its colour, once", () => {
  const svg = topologySvg(read(...typical), "a host");
  for (const text of [
    "Root complex 0000:00",
    "Root complex 0001:80",
    "group 4",
    "pcieport",
    "to bus 0000:01",
  ])
    expect(svg).toContain(text);
  const kinds = [...svg.matchAll(/<rect class="(\w+)" x="\d+" y="\d+" width="420"/g)].map(([, kind]) => kind);
  expect(kinds).toEqual(["bridge", "bridge", "kernel", "vfio", "bridge", "kernel", "free"]);
  expect(svg).toContain("prefers-color-scheme: dark");
  // Programs other than browsers paint black what has a variable for its colour.
  expect(svg).not.toContain("var(");
  expect(svg).not.toMatch(/NaN|undefined|Infinity/);
});

test("brackets of groups that overlap are beside each other, and others above each other", () => {
  const at = (device: number, group: number): Made => ({ path: `pci0000:00/0000:00:0${device}.0`, group });
  const brackets = (svg: string): string[] =>
    [...svg.matchAll(/d="M(\d+) \d+ V\d+"/g)].map(([, x = ""]) => x);
  const beside = brackets(topologySvg(read(at(1, 1), at(2, 2), at(3, 1), at(4, 2)), "a"));
  expect(new Set(beside.slice(-2)).size).toBe(2);
  const above = brackets(topologySvg(read(at(1, 1), at(2, 1), at(3, 2), at(4, 2)), "a"));
  expect(new Set(above.slice(-2)).size).toBe(1);
});

test.each([
  ["the picture", topologySvg],
  ["the page", topologyHtml],
])("%s escapes what the host says", (_, draw) => {
  const evil = '<script>alert("&")</script>\u001b[31m';
  const topology = readTopology(() => [evil], sysfsOf({ path: "pci0000:00/0000:00:01.0", driver: "a<b>&'" }));
  const text = draw(topology, evil);
  expect(text).not.toContain("<script>");
  expect(text).not.toContain("a<b>");
  expect(text).not.toContain("\u001b");
  expect(text).toContain("&#60;script&#62;alert(&#34;&#38;&#34;)");
});

test("the page needs nothing from elsewhere", () => {
  const page = topologyHtml(read(...typical), "a host").replaceAll("http://www.w3.org/2000/svg", "");
  expect(page).not.toMatch(/https?:|<script|<link|url\(|@import|\bsrc=/);
  expect(page).toContain("7 functions, 5 IOMMU groups");
});

test.each([
  [{ LC_ALL: "C", LANG: "en_US.UTF-8" }, false],
  [{ LC_ALL: "", LANG: "C.utf8" }, true],
  [{ LC_CTYPE: "de_DE.UTF-8" }, true],
  [{}, false],
])("the locale %j decides what lines are drawn with", (env, expected) => {
  expect(isUtf8(env)).toBe(expected);
});

test("this host's tree has each of its functions, once", () => {
  const topology = readTopology(none);
  const found = topology.roots.flatMap(({ functions }) => rowsOf(functions).map(({ fn }) => fn.bdf));
  expect(found.sort()).toEqual(listPciFunctions().map(({ bdf }) => bdf));
  expect([...groupsOf(topology).values()].flat().length).toBeLessThanOrEqual(found.length);
});

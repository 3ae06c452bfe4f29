/** What doctor() says of a device's surroundings: isolation, a reset of its bus, its IOMMU unit; and of control groups' device rules. */
import { describe, expect, test } from "vitest";
import { type CheckResult, doctor } from "../../../src/doors/host.js";
import { busReset, iommuUnit } from "../../../src/host/checks/around.js";
import { deviceRules } from "../../../src/host/checks/environment.js";
import { allows, parseDeviceRules } from "../../../src/host/facts/device-rules.js";
import { type HostFacts, readHostFacts } from "../../../src/host/facts/facts.js";
import { acsOf } from "../../../src/host/facts/neighbours.js";
import { decodeRegisters } from "../../../src/iommufd/hw-info.js";
import { debian, pciFunction } from "../../support/example-hosts.js";
import { hostTree, type TreeFiles } from "../../support/host-tree.js";

const port = "0000:00:1c.0";
const device = "0000:01:00.0";
const sibling = "0000:01:00.1";
const SERVICES = 0b1_1101;

/** A configuration space with extended capabilities, and ACS if there is a control register. */
function config(control?: number): Uint8Array {
  const bytes = new Uint8Array(4096);
  const view = new DataView(bytes.buffer);
  // Version 1, the only one.
  view.setUint32(0x100, (control === undefined ? 0x0003 : 0x000d) | 0x10000, true);
  if (control !== undefined) view.setUint16(0x106, control, true);
  return bytes;
}

/** A function below others, as sysfs shows it. */
function below(
  above: readonly string[],
  bdf: string,
  more: { readonly driver?: string; readonly classCode?: string; readonly config?: Uint8Array } = {},
): TreeFiles {
  const home = ["/sys/devices/pci0000:00", ...above, bdf].join("/");
  const bus = `/sys/bus/pci/devices/${bdf}`;
  const files = Object.entries(pciFunction(bdf, { ...more, group: "7" })).map(([path, file]) => [
    path.replace(bus, home),
    file,
  ]);
  const space = more.config === undefined ? {} : { [`${home}/config`]: more.config };
  return { ...Object.fromEntries(files), ...space, [bus]: { link: `../../../..${home}` } };
}

function host(portConfig: Uint8Array, more: TreeFiles = {}, resets = "flr bus\n"): TreeFiles {
  return {
    ...debian,
    ...below([], port, { driver: "pcieport", classCode: "0x060400", config: portConfig }),
    ...below([port], device, { driver: "vfio-pci", config: config() }),
    [`/sys/devices/pci0000:00/${port}/${device}/reset_method`]: resets,
    [`/sys/devices/pci0000:00/${port}/${device}/iommu`]: { link: "../../../virtual/iommu/dmar1" },
    ...more,
  };
}

function check(files: TreeFiles, id: string): CheckResult {
  using tree = hostTree(files);
  const found = doctor({ devices: [device], root: tree.root.path }).checks.find((each) => each.id === id);
  if (found === undefined) throw new Error(`there is no check ${id}`);
  return found;
}

function facts(files: TreeFiles): HostFacts {
  using tree = hostTree(files);
  return readHostFacts(tree.root, [device]);
}

const nic = below([port], sibling, { driver: "e1000e", config: config(0) });

describe("device.acs", () => {
  test.each<readonly [string, TreeFiles, string, string]>([
    [
      "alone below a port with ACS",
      host(config(SERVICES)),
      "ok",
      `isolated from other devices; ${port} has ACS on`,
    ],
    ["alone below a port without", host(config()), "ok", `isolated from other devices; ${port} lacks ACS`],
    [
      "beside another below a port with ACS off",
      host(config(0), nic),
      "warning",
      `not isolated from ${sibling}; ${device} lacks ACS, ${port} has ACS off`,
    ],
    [
      "for an ordinary user",
      host(new Uint8Array(64), nic),
      "warning",
      `not isolated from ${sibling}; ${device} lacks ACS, ${port} can't be read (run this as root)`,
    ],
  ])("%s", (_, files, state, found) => {
    expect(check(files, "device.acs")).toMatchObject({
      state,
      found,
      where: `/sys/bus/pci/devices/${device}/config`,
    });
  });

  test("advises another slot, or the whole group", () => {
    const [fix] = check(host(config(0), nic), "device.acs").fixes;
    expect(fix?.steps[0]).toMatchObject({ text: expect.stringContaining(`npx iova bind ${device} --group`) });
  });

  test("ACS is on only with all services that the kernel asks for", () => {
    expect([SERVICES, SERVICES | 2, SERVICES & ~1, 0].map((control) => acsOf(config(control)))).toEqual([
      "on",
      "on",
      "off",
      "off",
    ]);
    expect(acsOf(new Uint8Array(64))).toBe("unknown");
    expect(acsOf(new Uint8Array(256))).toBe("none");
  });
});

describe("device.bus-reset", () => {
  test.each<readonly [string, TreeFiles, string, string]>([
    ["alone on its bus", host(config()), "ok", "it resets this function alone"],
    ["with another, and other resets", host(config(), nic), "ok", `it also resets ${sibling} (e1000e)`],
    [
      "with another, and no other reset",
      host(config(), nic, "bus\n"),
      "warning",
      `it also resets ${sibling} (e1000e), and it is the only reset`,
    ],
    ["on a root bus", { ...debian, ...below([], device) }, "not-applicable", "there is no reset of its bus"],
  ])("%s", (_, files, state, found) => {
    expect(check(files, "device.bus-reset")).toMatchObject({ state, found, where: "/sys/bus/pci/devices" });
  });

  test("advises to bind the others", () => {
    const [fix] = check(host(config(), nic, "bus\n"), "device.bus-reset").fixes;
    expect(fix?.steps).toMatchObject([{ argv: ["npx", "iova", "bind", sibling] }]);
  });

  test("what VFIO says of an open device counts more than the topology", () => {
    const known = facts(host(config(), nic));
    const [own] = known.devices;
    if (own === undefined) throw new Error("there is no device");
    const say = (sameReset: readonly string[]) =>
      busReset({ ...known, opened: new Map([[device, { sameReset, unit: undefined }]]) }, own);
    const where = "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO";
    expect(say([device])).toMatchObject({ state: "ok", found: "it resets this function alone", where });
    expect(say([])).toMatchObject({ state: "not-applicable", where });
    expect(say([device, "0000:01:00.2"])).toMatchObject({ found: "it also resets 0000:01:00.2" });
  });
});

describe("device.unit", () => {
  test("names the unit, and what it can once the device could be opened", () => {
    expect(check(host(config()), "device.unit")).toMatchObject({
      state: "not-applicable",
      found: expect.stringContaining("dmar1: what it can is told when"),
    });
    const known = facts(host(config()));
    const [own] = known.devices;
    if (own === undefined) throw new Error("there is no device");
    const registers = decodeRegisters(1, new Uint8Array(32));
    const unit = {
      type: 1,
      registers: { ...registers, nestedTranslation: true },
      dirtyTracking: true,
      maxPasidLog2: 20,
      pasidExecute: false,
      pasidPrivileged: false,
      atsNotSupported: false,
    };
    const opened = new Map([[device, { sameReset: undefined, unit }]]);
    expect(iommuUnit({ ...known, opened }, own)).toEqual({
      state: "ok",
      found: "dmar1: intel-vtd: nested translation; for this device: dirty tracking, PASIDs of 20 bits",
      where: "IOMMU_GET_HW_INFO",
    });
  });
});

describe("runtime.device-rules", () => {
  const list = "/sys/fs/cgroup/devices/system.slice/x.service/devices.list";
  const group: TreeFiles = {
    ...host(config()),
    "/proc/self/cgroup": "5:devices:/system.slice/x.service\n1:name=systemd:/\n",
  };

  test.each<readonly [string, string, string]>([
    ["a *:* rwm\n", "ok", "the rules of this control group refuse no node of VFIO"],
    ["c 1:3 rwm\nc 10:* rw\n", "ok", "the rules of this control group refuse no node of VFIO"],
    [
      "c 1:3 rwm\nc 10:196 r\nb 10:196 rw\n",
      "problem",
      "the rules of this control group refuse /dev/vfio/vfio",
    ],
  ])("with the rules %j of version 1", (rules, state, found) => {
    expect(check({ ...group, [list]: rules }, "runtime.device-rules")).toMatchObject({
      state,
      found,
      where: list,
    });
  });

  test("exceptions of version 1 that its list lacks are suspected where open() fails with EPERM", () => {
    const known = facts({ ...group, [list]: "a *:* rwm\n" });
    const nodes = known.nodes.map((node) => ({ ...node, canOpen: false, errno: "EPERM" }));
    expect(deviceRules({ ...known, nodes })).toMatchObject({
      state: "problem",
      found: expect.stringContaining("open() of /dev/vfio/vfio, /dev/vfio/3 fails with EPERM"),
      where: list,
    });
  });

  test("in a container the list may be at the mount's root", () => {
    const path = "/sys/fs/cgroup/devices/devices.list";
    const result = check({ ...group, [path]: "c 1:3 rwm\n", "/.dockerenv": "" }, "runtime.device-rules");
    expect(result).toMatchObject({ state: "problem", where: path });
    expect(result.fixes[0]?.steps[0]).toMatchObject({ text: expect.stringContaining("--device /dev/iommu") });
  });

  test("version 2 is suspected only in a container where open() fails with EPERM", () => {
    const known = facts({ ...host(config()), "/proc/self/cgroup": "0::/\n", "/.dockerenv": "" });
    expect(deviceRules(known).state).toBe("not-applicable");
    const nodes = known.nodes.map((node) => ({ ...node, canOpen: false, errno: "EPERM" }));
    expect(deviceRules({ ...known, nodes })).toMatchObject({
      state: "problem",
      found: expect.stringContaining("open() of /dev/vfio/vfio, /dev/vfio/3 fails with EPERM"),
    });
    expect(deviceRules({ ...known, nodes, container: undefined }).state).toBe("not-applicable");
  });

  test("lines of another form are skipped", () => {
    expect(parseDeviceRules("c 1:3\nx 1:3 rw\nc 1:3 rwx\n\nc 10:7 rw\n")).toEqual([
      { type: "c", major: 10, minor: 7, access: "rw" },
    ]);
    expect(allows(parseDeviceRules("c 10:7 rw"), "10:8")).toBe(false);
  });
});

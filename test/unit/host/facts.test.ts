/** Facts about hosts, read from trees of files: distributions, architectures, a container. */
import { release } from "node:os";
import { expect, test } from "vitest";
import { type HostFacts, optionOf, readHostFacts } from "../../../src/host/facts/facts.js";
import { HostRoot } from "../../../src/host/facts/root.js";
import { ArgumentError } from "../../../src/index.js";
import { ALICE, alpine, arch, container, debian, fedora, ubuntuArm } from "../../support/example-hosts.js";
import { hostTree, type TreeFiles } from "../../support/host-tree.js";

function factsOf(files: TreeFiles, devices: readonly string[] = [], user?: string): HostFacts {
  using tree = hostTree(files);
  return readHostFacts(tree.root, devices, user, true);
}

function states(facts: HostFacts): Record<string, string> {
  return Object.fromEntries(facts.options.map(({ name, state }) => [name, state]));
}

test("a function that was listed and has gone is left out, and one that was named is an error", () => {
  using tree = hostTree(debian);
  const gone = "0000:00:1e.0";
  const { devices } = readHostFacts(tree.root, ["0000:00:03.0", gone]);
  expect(devices.map(({ bdf }) => bdf)).toEqual(["0000:00:03.0"]);
  expect(() => factsOf(debian, [gone])).toThrow(ArgumentError);
});

test("Debian's kernel has type1 and no iommufd, by its file in /boot", () => {
  const facts = factsOf(debian, ["0000:00:03.0"]);
  expect(facts.kernel).toEqual({ release: "6.12.48+deb13-amd64", major: 6, minor: 12 });
  expect(facts.configPath).toBe("/boot/config-6.12.48+deb13-amd64");
  expect(states(facts)).toMatchObject({
    IOMMUFD: "off",
    VFIO: "module",
    VFIO_GROUP: "built-in",
    AMD_IOMMU: "off",
  });
  expect(facts.modules).toEqual({
    vfio: "loaded",
    vfio_pci: "loaded",
    vfio_iommu_type1: "loaded",
    iommufd: "missing",
  });
  expect(facts.commandLine.has("intel_iommu", "on")).toBe(true);
  expect(facts.distribution).toMatchObject({ family: "debian", boot: "grub", init: "systemd" });
  expect(facts.iommu).toMatchObject({
    units: [{ name: "dmar0", kind: "intel", devices: 1 }],
    tables: ["DMAR"],
    dmar: { addressBits: 39, interruptRemapping: true },
    groups: 1,
    interruptRemapping: true,
  });
  expect(facts.iommu.domainTypes).toEqual(new Map([["DMA-FQ", 1]]));
  expect(facts.user).toMatchObject({ name: "root", isThisProcess: true });
  expect(facts.limits.get("Max locked memory")).toEqual({ soft: 8_388_608, hard: 8_388_608 });
  expect(facts.hugePages.pools).toEqual([
    { pageBytes: 2 ** 21, total: 512, free: 500, reserved: 0, nodes: [] },
  ]);
  expect(facts.hugePages.transparent).toBe("madvise");
  expect(facts.runtime.libc).toBe("glibc");
});

test("a function's facts have its driver, group, nodes, resets and MSI-X", () => {
  const [device] = factsOf(debian, ["00:03.0"]).devices;
  expect(device).toEqual({
    bdf: "0000:00:03.0",
    vendorId: 0x1b36,
    deviceId: 0x10,
    classCode: 0x010802,
    isBridge: false,
    driver: "vfio-pci",
    isVfio: true,
    driverOverride: undefined,
    group: "3",
    members: [{ bdf: "0000:00:03.0", driver: "vfio-pci", isBridge: false, isHarmless: true }],
    unit: undefined,
    surroundings: { acs: [{ bdf: "0000:00:03.0", state: "none" }], sameReset: undefined },
    cdev: undefined,
    groupNode: "/dev/vfio/3",
    resetMethods: ["flr", "bus"],
    numaNode: 0,
    msix: true,
    powerState: "D0",
    physicalFunction: undefined,
    virtualFunctions: 0,
    inUse: [],
    holders: [],
  });
});

test("Fedora's ordinary user has groups, no rights of root, and nodes that he can't open", () => {
  const facts = factsOf(fedora, ["0000:01:00.0"]);
  expect(facts.configPath).toBe("/lib/modules/6.17.4-300.fc43.x86_64/config");
  expect(optionOf(facts, "IOMMUFD")).toMatchObject({ state: "module" });
  expect(facts.user).toMatchObject({ name: "alice", uid: ALICE, groupNames: ["alice", "vfio"] });
  expect(facts.user.capabilities.size).toBe(0);
  expect(facts.nodes.map(({ path, canOpen }) => [path, canOpen])).toEqual([
    ["/dev/iommu", false],
    ["/dev/vfio/12", false],
    ["/dev/vfio/devices/vfio0", false],
  ]);
  expect(facts.security).toMatchObject({
    lockdown: "integrity",
    secureBoot: true,
    selinuxEnforcing: true,
    confinement: "unconfined_u:unconfined_r:unconfined_t:s0",
  });
  expect(facts.limitSettings.map(({ where, bytes }) => [where, bytes])).toEqual([
    ["/etc/security/limits.d/90-vfio.conf:2", Number.POSITIVE_INFINITY],
    ["/etc/security/limits.d/90-vfio.conf:3", 8 * 2 ** 20],
    ["/etc/systemd/system.conf:2", 65_536],
    ["/etc/systemd/system.conf:2", 8 * 2 ** 20],
  ]);
  expect(facts.distribution).toMatchObject({ id: "fedora", name: "Fedora Linux", boot: "grubby" });
});

test("facts about another user come from /etc/passwd and /etc/group", () => {
  const { user, nodes } = factsOf(ubuntuArm, [], "alice");
  expect(user).toMatchObject({ name: "alice", groupNames: ["alice", "vfio"], isThisProcess: false });
  expect(nodes.every(({ canOpen }) => !canOpen)).toBe(true);
  expect(factsOf(debian, [], "4242").user).toMatchObject({ name: "4242", gids: [] });
  expect(() => factsOf(debian, [], "bob")).toThrow(ArgumentError);
});

test("Arch's blacklist hides the distribution's file of the same name", () => {
  const facts = factsOf(arch, ["0000:02:00.0"]);
  expect(facts.configPath).toBe("/proc/config.gz");
  expect(facts.modprobe).toEqual([
    { kind: "blacklist", module: "vfio_pci", rest: "", where: "/etc/modprobe.d/no-vfio.conf:2" },
    { kind: "install", module: "iommufd", rest: "/bin/false", where: "/etc/modprobe.d/no-vfio.conf:3" },
  ]);
  expect(facts.modules).toMatchObject({ vfio: "loadable", vfio_pci: "loadable", iommufd: "missing" });
  expect(facts.devices[0]).toMatchObject({ driver: "nvme", isVfio: false, group: undefined, members: [] });
  expect(facts.distribution.boot).toBe("systemd-boot");
});

test("Alpine without a configuration file tells options by the lists of modules and by what the kernel shows", () => {
  const facts = factsOf(alpine);
  expect(facts.configPath).toBeUndefined();
  expect(states(facts)).toMatchObject({
    IOMMUFD: "built-in",
    VFIO_PCI: "module",
    VFIO_IOMMU_TYPE1: "off",
    HUGETLBFS: "built-in",
    VFIO_DEVICE_CDEV: "unknown",
  });
  expect(facts.runtime.libc).toBe("musl");
  expect(facts.distribution).toMatchObject({ family: "alpine", boot: "extlinux", init: "openrc" });
  expect(facts.iommu.tables).toEqual([]);
});

test("an arm64 host announces its IOMMUs by the device tree", () => {
  const facts = factsOf(ubuntuArm);
  expect([...facts.iommu.deviceTree].sort()).toEqual(["arm,smmu-v3", "qcom,sdm845-smmu-500"]);
  expect(facts.iommu.tables).toBeUndefined();
  expect(facts.iommu.units).toEqual([{ name: "smmu3.0x0000000009050000", kind: "arm-smmu-v3", devices: 1 }]);
  expect(facts.iommu.interruptRemapping).toBeUndefined();
  expect(facts.distribution).toMatchObject({ id: "ubuntu", family: "debian" });
});

test("a container has a read-only sysfs, no nodes and a small memlock limit", () => {
  const facts = factsOf(container);
  expect(facts.container).toEqual({ kind: "docker", where: "/.dockerenv" });
  expect(facts.security.readOnlySysfs).toBe(true);
  expect(facts.nodes).toEqual([]);
  expect(facts.limits.get("Max locked memory")?.hard).toBe(65_536);
});

test("a machine that was made of an image keeps the image's mark, and is no container", () => {
  const machine = { "/.dockerenv": "", "/proc/2/comm": "kthreadd\n", "/proc/1/cgroup": "0::/init.scope\n" };
  expect(factsOf(machine).container).toBeUndefined();
  // A container that sees its host's processes.
  expect(factsOf({ ...machine, "/proc/1/cgroup": "0::/../../init.scope\n" }).container?.kind).toBe("docker");
  const own = { ...machine, "/proc/self/cgroup": "0::/system.slice/docker-0123.scope\n" };
  expect(factsOf(own).container).toEqual({ kind: "docker", where: "/proc/self/cgroup" });
});

test("an empty tree has facts, too, all of them unknown", () => {
  const facts = factsOf({});
  expect(facts.kernel).toEqual({ release: "", major: 0, minor: 0 });
  expect(new Set(Object.values(states(facts)))).toEqual(new Set(["unknown"]));
  expect(facts.devices).toEqual([]);
  expect(() => factsOf({}, ["0000:00:03.0"])).toThrow(ArgumentError);
  expect(() => factsOf({}, ["nonsense"])).toThrow(ArgumentError);
});

test("this host's facts agree with what Node.js says of it", () => {
  const root = new HostRoot();
  expect(root.isLive).toBe(true);
  const facts = readHostFacts(root, []);
  expect(facts.kernel.release).toBe(release());
  expect(facts.user).toMatchObject({ uid: process.geteuid?.(), isThisProcess: true });
  expect(facts.runtime).toMatchObject({
    node: process.versions.node,
    arch: process.arch,
    koffiError: undefined,
  });
  expect(facts.limits.get("Max open files")?.soft).toBeGreaterThan(0);
});

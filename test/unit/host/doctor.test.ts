/** doctor() on hosts of several kinds: what it finds, what it advises, and whether a device can be used. */
import { expect, test } from "vitest";
import type { CheckResult, FixStep } from "../../../src/doors/host.js";
import { type DoctorOptions, type DoctorReport, doctor, planPermissions } from "../../../src/doors/host.js";
import { ArgumentError } from "../../../src/index.js";
import {
  alpine,
  arch,
  container,
  debian,
  fedora,
  limits,
  ofAlice,
  pciFunction,
  ubuntuArm,
} from "../../support/example-hosts.js";
import { hostTree, type TreeFiles } from "../../support/host-tree.js";

function report(files: TreeFiles, options: DoctorOptions = {}): DoctorReport {
  using tree = hostTree(files);
  return doctor({ ...options, root: tree.root.path });
}

function check(of: DoctorReport, id: string): CheckResult {
  const found = of.checks.find((each) => each.id === id);
  if (found === undefined) throw new Error(`there is no check ${id}`);
  return found;
}

/** Identifiers of the checks in a state. */
function ids(of: DoctorReport, state: CheckResult["state"]): string[] {
  return of.checks.filter((each) => each.state === state).map(({ id }) => id);
}

function steps(result: CheckResult): string[] {
  const text = (step: FixStep): string =>
    step.kind === "command"
      ? step.argv.join(" ")
      : step.kind === "file"
        ? `${step.path}: ${step.content}`
        : step.text;
  return result.fixes.flatMap((fix) => fix.steps.map(text));
}

test("Debian's device can be used by root through type1, and iommufd is only a warning", () => {
  const found = report(debian, { devices: ["0000:00:03.0"] });
  expect(found.devices).toEqual([{ bdf: "0000:00:03.0", usable: true, backends: ["type1"] }]);
  expect(found.usable).toBe(true);
  expect(ids(found, "problem")).toEqual([]);
  expect(check(found, "kernel.iommufd")).toMatchObject({
    state: "warning",
    where: "/boot/config-6.12.48+deb13-amd64",
  });
  expect(check(found, "kernel.iommufd").found).toContain("type1 works meanwhile");
  expect(check(found, "iommu.on").found).toContain("1 of kind intel");
  expect(found).toMatchObject({ user: "root", kernel: "6.12.48+deb13-amd64" });
});

test("without addresses, the devices of VFIO's drivers are checked", () => {
  expect(report(debian).devices.map(({ bdf }) => bdf)).toEqual(["0000:00:03.0"]);
  expect(report(arch)).toMatchObject({ devices: [], usable: false });
  expect(report(debian, { devices: [] })).toMatchObject({ devices: [], usable: false });
});

test("another user needs the nodes and a memlock limit, and the advice names that user", () => {
  const found = report(fedora, { devices: ["0000:01:00.0"] });
  expect(found.usable).toBe(false);
  expect(ids(found, "problem")).toEqual(["nodes.iommufd", "nodes.container", "device.nodes"]);
  expect(steps(check(found, "nodes.iommufd"))).toContain("gpasswd --add alice iova");
  expect(steps(check(found, "device.nodes")).join("\n")).toContain(
    'SUBSYSTEM=="vfio-dev", KERNELS=="0000:01:00.0", SUBSYSTEMS=="pci", MODE="0660", RUN+="/bin/chown 1000 $devnode"',
  );
});

test("the rules that are advised are those that planPermissions() makes", () => {
  using tree = hostTree(fedora);
  const devices = ["0000:01:00.0"];
  const { checks } = doctor({ root: tree.root.path, devices });
  const advised = checks.flatMap(({ fixes }) => fixes.flatMap((fix) => fix.steps));
  const { parts } = planPermissions({ root: tree.root.path, user: "alice", devices });
  const rules = parts.flatMap((part) =>
    part.steps.filter((step) => step.kind === "file" && step.path.endsWith(".rules")),
  );
  expect(rules).toHaveLength(2);
  expect(advised).toEqual(expect.arrayContaining(rules));
});

test("Arch has its IOMMU off by the command line, a replaced modprobe and the kernel's driver", () => {
  const found = report(arch, { devices: ["0000:02:00.0"] });
  expect(ids(found, "problem")).toEqual(
    expect.arrayContaining([
      "iommu.on",
      "modules.vfio-pci",
      "modules.obstacles",
      "device.driver",
      "device.group",
    ]),
  );
  expect(check(found, "iommu.on").found).toBe("off: intel_iommu=off is on the kernel command line");
  expect(steps(check(found, "modules.vfio-pci"))).toEqual([
    "modprobe vfio-pci",
    "/etc/modules-load.d/iova-vfio-pci.conf: vfio-pci\n",
  ]);
  expect(steps(check(found, "device.driver"))).toEqual([
    "first mend what the check iommu.on found",
    "npx iova bind 0000:02:00.0",
  ]);
  expect(check(found, "device.driver").found).toBe("driver nvme");
});

test("advice for the kernel command line is in the words of the distribution", () => {
  const off: TreeFiles = { "/proc/cmdline": "quiet", "/sys/firmware/acpi/tables/DMAR": "" };
  const advice = (files: TreeFiles): string[] => steps(check(report({ ...off, ...files }), "iommu.on"));
  const os = (id: string): TreeFiles => ({ "/etc/os-release": `ID=${id}\n` });
  expect(advice({ ...os("debian"), "/etc/default/grub": "" })).toEqual([
    `sed -i s/^GRUB_CMDLINE_LINUX="/&intel_iommu=on / /etc/default/grub`,
    "update-grub",
  ]);
  expect(advice({ ...os("opensuse-leap"), "/etc/default/grub": "" })[1]).toBe(
    "grub2-mkconfig -o /boot/grub2/grub.cfg",
  );
  expect(advice(os("fedora"))).toEqual(["grubby --update-kernel=ALL --args=intel_iommu=on"]);
  expect(advice({ ...os("fedora"), "/run/ostree-booted": "" })[0]).toContain("rpm-ostree kargs");
  expect(advice({ ...os("alpine"), "/etc/update-extlinux.conf": "" })[1]).toBe("update-extlinux");
  expect(advice({ ...os("raspbian"), "/boot/firmware/cmdline.txt": "" })[0]).toContain(
    "/boot/firmware/cmdline.txt",
  );
  expect(advice({ ...os("arch"), "/etc/kernel/cmdline": "" })[1]).toBe("mkinitcpio -P");
  expect(advice(os("nixos"))[0]).toContain("boot.kernelParams");
  expect(advice(os("unheard-of"))[0]).toContain("boot loader");
});

test("every command of a fix can be undone, or has nothing to undo", () => {
  const fixes = [report(arch, { devices: ["0000:02:00.0"] }), report(fedora)].flatMap((each) =>
    each.checks.flatMap(({ fixes: some }) => some),
  );
  const commands = fixes.flatMap((fix) => fix.steps.filter((step) => step.kind === "command"));
  expect(commands.length).toBeGreaterThan(5);
  expect(commands.filter(({ undo }) => undo === undefined).map(({ argv }) => argv[0])).toEqual(
    expect.not.arrayContaining(["modprobe", "sed", "npx"]),
  );
});

test("without sysfs, doctor says that the IOMMU isn't known, not that the firmware has none", () => {
  const bare = Object.fromEntries(Object.entries(alpine).filter(([path]) => !path.startsWith("/sys/")));
  const finding = check(report(bare, {}), "iommu.on");
  expect(finding).toMatchObject({
    state: "problem",
    found: "unknown, as all devices are: /sys isn't mounted",
  });
  expect(steps(finding)).toEqual([expect.stringContaining("mount -t sysfs sysfs /sys")]);
});

test("Alpine without IOMMU tables is told to switch the IOMMU on in the firmware", () => {
  const found = report(alpine, { devices: ["0000:00:04.0"] });
  expect(check(found, "iommu.on").found).toContain("no DMAR, IVRS, IORT or VIOT table");
  expect(steps(check(found, "modules.vfio-pci"))[1]).toContain("/etc/modules");
  expect(found.usable).toBe(false);
});

test("an arm64 device can be used through iommufd", () => {
  const found = report(ubuntuArm, { devices: ["0000:00:02.0"] });
  expect(found.devices).toEqual([{ bdf: "0000:00:02.0", usable: true, backends: ["iommufd"] }]);
  expect(check(found, "iommu.interrupts").state).toBe("not-applicable");
  const other = report(ubuntuArm, { devices: ["0000:00:02.0"], user: "alice" });
  expect(other).toMatchObject({ usable: false, user: "alice" });
});

test("a container is told to get nodes and limits from its manager", () => {
  const found = report(container, { devices: ["0000:00:03.0"] });
  expect(found.usable).toBe(false);
  expect(check(found, "runtime.container")).toMatchObject({ state: "warning" });
  expect(check(found, "limits.memlock")).toMatchObject({
    state: "problem",
    found: expect.stringContaining("64 KiB"),
  });
  expect(steps(check(found, "limits.memlock"))[0]).toContain("--ulimit memlock=-1");
  expect(steps(check(found, "device.nodes"))[0]).toContain("--device");
});

test("a group with a member on a kernel driver isn't usable, and the fix binds that member", () => {
  const found = report(
    { ...debian, ...pciFunction("0000:00:03.1", { driver: "e1000e", group: "3", classCode: "0x020000" }) },
    { devices: ["0000:00:03.0"] },
  );
  expect(check(found, "device.group")).toMatchObject({ state: "problem" });
  expect(steps(check(found, "device.group"))).toEqual(["npx iova bind 0000:00:03.1"]);
  expect(found.usable).toBe(false);
});

test("a bridge in the group is harmless, and can't be used itself", () => {
  const files = {
    ...debian,
    ...pciFunction("0000:00:01.0", { driver: "pcieport", group: "3", classCode: "0x060400" }),
  };
  expect(report(files, { devices: ["0000:00:03.0"] }).usable).toBe(true);
  const bridge = report(files, { devices: ["0000:00:01.0"] });
  expect(check(bridge, "device.driver").found).toContain("bridge");
  expect(bridge.usable).toBe(false);
});

test("interrupts that aren't remapped are a problem, until a switch accepts them", () => {
  const files = { ...debian, "/proc/interrupts": " 24: 0 PCI-MSI-0000:00:03.0 0-edge nvme\n" };
  const found = report({ ...files, "/proc/cmdline": "intremap=off" });
  expect(check(found, "iommu.interrupts")).toMatchObject({ state: "problem", where: "/proc/cmdline" });
  expect(found.usable).toBe(false);
  const accepted = report({
    ...files,
    "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts": "Y\n",
  });
  expect(check(accepted, "iommu.interrupts").state).toBe("warning");
  expect(check(accepted, "modules.unsafe").state).toBe("warning");
  expect(accepted.devices[0]?.backends).toEqual(["type1"]);
});

test("where a loaded module can accept interrupts that aren't isolated, the second fix does so until the next start", () => {
  const path = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
  const interrupts = " 24: 0 PCI-MSI-0000:00:03.0 0-edge nvme\n";
  const found = check(
    report({ ...debian, "/proc/interrupts": interrupts, [path]: "N\n" }),
    "iommu.interrupts",
  );
  expect(found.fixes.map(({ effect }) => effect)).toEqual(["reboot", "now"]);
  expect(found.fixes[1]?.steps).toEqual([
    {
      kind: "command",
      argv: ["sh", "-c", `echo 1 > ${path}`],
      undo: ["sh", "-c", `echo 0 > ${path}`],
    },
  ]);
});

test("a kernel whose modules are gone is told apart from one where vfio-pci isn't loaded", () => {
  const { "/proc/modules": _, ...files } = debian;
  const release = "6.12.48+deb13-amd64";
  const gone = Object.fromEntries(Object.entries(files).filter(([path]) => !path.startsWith("/lib/modules")));
  const unbound = pciFunction("0000:00:03.0", { driver: "nvme", group: "3" });
  const found = report({ ...gone, ...unbound }, { devices: ["0000:00:03.0"] });
  expect(check(found, "modules.vfio-pci")).toMatchObject({
    state: "problem",
    found: `vfio-pci isn't loaded, and there is no list of this kernel's modules in /lib/modules/${release}`,
  });
  expect(steps(check(found, "modules.vfio-pci"))).toEqual([
    `restart the machine if its kernel was updated; else: sudo apt-get install --reinstall linux-image-${release}, then: sudo modprobe vfio-pci`,
  ]);
  expect(steps(check(found, "device.driver"))).toEqual([
    "first mend what the check modules.vfio-pci found",
    "npx iova bind 0000:00:03.0",
  ]);
  const slim = report({ ...files, [`/lib/modules/${release}/modules.dep`]: "kernel/fs/ext4/ext4.ko:\n" });
  expect(check(slim, "modules.vfio-pci").found).toContain("isn't among the modules");
});

test("on a kernel without VFIO, binding waits for another kernel", () => {
  const { "/proc/modules": _, ...files } = debian;
  const config = "CONFIG_64BIT=y\n# CONFIG_VFIO is not set\nCONFIG_INTEL_IOMMU=y\n";
  const found = report(
    {
      ...files,
      "/boot/config-6.12.48+deb13-amd64": config,
      ...pciFunction("0000:00:03.0", { driver: "nvme", group: "3" }),
    },
    { devices: ["0000:00:03.0"] },
  );
  expect(steps(check(found, "kernel.vfio"))).toEqual([
    "install or build a kernel with CONFIG_VFIO and CONFIG_VFIO_PCI, and start it",
  ]);
  expect(steps(check(found, "device.driver"))[0]).toBe("first mend what the check kernel.vfio found");
});

test("a small memlock limit of an ordinary user is a problem, and one that can be raised says how", () => {
  const memlock = (soft: string, hard: string): CheckResult =>
    check(
      report({ ...fedora, "/proc/self/status": ofAlice, "/proc/self/limits": limits(soft, hard) }),
      "limits.memlock",
    );
  expect(memlock("65536", "65536").state).toBe("problem");
  expect(memlock("8388608", "unlimited").state).toBe("warning");
  expect(steps(memlock("8388608", "unlimited"))[0]).toBe("ulimit -S -l hard");
  expect(memlock("unlimited", "unlimited").state).toBe("ok");
});

test("no-IOMMU mode is a warning, and takes CAP_SYS_RAWIO", () => {
  const files: TreeFiles = {
    "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode": "Y\n",
    "/proc/self/status": debian["/proc/self/status"] ?? "",
    "/dev/vfio/noiommu-0": { mode: 0o600 },
    "/sys/kernel/iommu_groups/0/name": "vfio-noiommu\n",
    "/sys/class/iommu/iommufd_selftest_iommu.0/name": "",
    ...pciFunction("0000:00:03.0", { driver: "vfio-pci", group: "0" }),
  };
  const found = report(files);
  expect(check(found, "iommu.on").state).toBe("warning");
  expect(check(found, "modules.unsafe").state).toBe("warning");
  expect(found.devices).toEqual([{ bdf: "0000:00:03.0", usable: true, backends: ["noiommu"] }]);
  expect(report({ ...files, "/proc/self/status": ofAlice }).usable).toBe(false);
});

test("no-IOMMU mode without free huge pages is a warning, which says how to reserve some", () => {
  const pool = "/sys/kernel/mm/hugepages/hugepages-2048kB";
  const pages = (total: number, free: number, noiommu: string): CheckResult =>
    check(
      report({
        "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode": noiommu,
        [`${pool}/nr_hugepages`]: `${total}\n`,
        [`${pool}/free_hugepages`]: `${free}\n`,
      }),
      "memory.huge-pages",
    );
  expect(pages(4, 0, "N\n").state).toBe("ok");
  expect(pages(4, 1, "Y\n").state).toBe("ok");
  const full = pages(4, 0, "Y\n");
  expect(full.state).toBe("warning");
  expect(steps(full)).toEqual(["npx iova hugepages 20 --size 2M"]);
});

test("a host without any files is all problems and no error", () => {
  const found = report({});
  expect(found.usable).toBe(false);
  expect(ids(found, "problem")).toEqual(expect.arrayContaining(["iommu.on", "modules.vfio-pci"]));
});

test("this host has a report", () => {
  const found = doctor();
  expect(found.checks.map(({ id }) => id)).toContain("runtime.node");
  expect(check(found, "runtime.node")).toMatchObject({ state: "ok", where: "process.versions" });
});

test("quirks of the device's model are told, also those of some models only", () => {
  const bdf = "0000:00:03.0";
  const quirks = (more: TreeFiles): CheckResult =>
    check(report({ ...debian, ...more }, { devices: [bdf] }), "device.quirks");
  const path = `/sys/bus/pci/devices/${bdf}`;
  const ofQemu = "QEMU: bogus-identifiers. The NVMe driver minds them";
  expect(quirks({})).toMatchObject({ state: "ok", found: ofQemu });
  expect(quirks({ [`${path}/vendor`]: "0x1179\n" })).toMatchObject({
    state: "ok",
    found: expect.stringMatching(/^Toshiba \S+ \(model THNSF5256GPUK TOSHIBA only\): no-apst\. /),
  });
  expect(quirks({ [`${path}/vendor`]: "0xfffe\n" })).toMatchObject({ state: "ok", found: "none is known" });
  expect(quirks({ [`${path}/class`]: "0x020000\n" })).toMatchObject({ state: "not-applicable" });
});

test("wrong arguments are ArgumentErrors", () => {
  expect(() => doctor({ devices: ["0000:ff:1f.7"] })).toThrow(ArgumentError);
  expect(() => doctor({ devices: ["nonsense"] })).toThrow(ArgumentError);
  expect(() => doctor({ user: "nobody-of-this-name" })).toThrow(ArgumentError);
  expect(() => doctor(JSON.parse('{"device": "x"}'))).toThrow(ArgumentError);
  expect(() => doctor(JSON.parse('{"devices": [1]}'))).toThrow(ArgumentError);
});

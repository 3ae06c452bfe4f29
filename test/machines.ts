/** The machines of the guest suite: purpose, devices and kernel of each. */
import { closeSync, ftruncateSync, openSync } from "node:fs";
import { join } from "node:path";
import { KMOD, type Tool } from "../guest/host-tools.js";
import type { KernelVariant } from "../guest/kernel.js";
import { findProgram } from "../guest/paths.js";

/** A machine that the guest suite runs on. Each is one boot. */
export interface TestMachine {
  readonly name: string;
  /** Test files, or folders of them, besides test/guest/NAME/. */
  readonly alsoRuns?: readonly string[];
  /** Kernel series; the newest kernel where left out. */
  readonly series?: string;
  /** Configuration of the kernel where it isn't the usual one. */
  readonly variant?: KernelVariant;
  /** Debian 12's own kernel package instead, with or without the folder of its modules. */
  readonly debianKernel?: { readonly modules: boolean };
  /** What is special about it. */
  readonly purpose: string;
  readonly defaultDevices: boolean;
  /** @param folder for disk images, removed with the machine */
  readonly qemuArgs: (folder: string) => string[];
  readonly append: readonly string[];
  /** Memory as QEMU takes it; left out, the guest tool's default. */
  readonly memory?: string;
  /** Emulated controllers that run on the host beside it: the rest of an `iova emulate nvme` command line. */
  readonly emulators?: readonly EmulatorProcess[];
  /** It takes a QEMU newer than stable Debian's. */
  readonly foreignQemu?: boolean;
  /** Programs its tests run, beyond those a guest needs anyway. */
  readonly tools?: readonly Tool[];
}

export interface EmulatorProcess {
  /** Also its serial number, and the name of its socket in the machine's folder. */
  readonly name: string;
  readonly args: readonly string[];
}

/** A user's PATH may lack where these programs are. */
const SBIN = "/usr/sbin:/sbin:/usr/bin:/bin";
const MIB = 1024 * 1024;

const nvmeCli: Tool = { package: "nvme-cli", present: () => findProgram("nvme", SBIN) !== undefined };

const pciutils: Tool = { package: "pciutils", present: () => findProgram("lspci", SBIN) !== undefined };

/** Its daemon takes part in what the tests show of the rules for it. */
const udev: Tool = { package: "udev", present: () => findProgram("udevadm", SBIN) !== undefined };

/** Whose files `iova bind --persist` writes where it is installed. */
const driverctl: Tool = { package: "driverctl", present: () => findProgram("driverctl", SBIN) !== undefined };

/** A disk in a sparse file, fresh at every boot. */
function disk(folder: string, id: string, sizeBytes: number): string[] {
  const file = join(folder, `${id}.img`);
  const fd = openSync(file, "w");
  ftruncateSync(fd, sizeBytes);
  closeSync(fd);
  return ["-drive", `if=none,id=${id},file=${file},format=raw,cache=unsafe`];
}

/** Another shape of controller: 4 KiB blocks, transfers of two pages at most. */
function wideNvme(folder: string): string[] {
  return [
    ...disk(folder, "wide", 64 * MIB),
    "-device",
    "nvme,serial=wide,drive=wide,logical_block_size=4096,physical_block_size=4096,physical_block_size=4096,mdts=1,addr=0x12",
  ];
}

/** Two controllers of one subsystem, with a namespace for both and one that is attached to neither. */
function twinNvmes(folder: string): string[] {
  return [
    ...disk(folder, "twin1", 16 * MIB),
    ...disk(folder, "twin2", 16 * MIB),
    ...["-device", "nvme-subsys,id=twin-subsys,nqn=twins"],
    ...["-device", "nvme,id=twin,serial=twin,subsys=twin-subsys,addr=0x16"],
    ...["-device", "nvme,serial=twin,subsys=twin-subsys,addr=0x17"],
    ...["-device", "nvme-ns,drive=twin1,nsid=1,bus=twin,shared=on"],
    ...["-device", "nvme-ns,drive=twin2,nsid=2,bus=twin,shared=on,detached=on"],
  ];
}

/** What the tests in test/guest/intel/ expect besides the default devices. */
function intelDevices(folder: string): string[] {
  return [
    // Two functions without ACS between them share an IOMMU group: a group that can be made not viable.
    ...disk(folder, "pair", 16 * MIB),
    ...["-device", "nvme,serial=pair,drive=pair,addr=0x10.0,multifunction=on,mdts=0,msix_qsize=1"],
    ...["-device", "edu,addr=0x10.1"],
    ...["-device", "e1000e,addr=0x15"],
    // BAR 2 has nothing behind it: registers that always read zero.
    ...["-device", "pci-testdev,membar=1M,addr=0x11"],
    // A BAR of 256 bytes.
    ...["-device", "sdhci-pci,addr=0x18"],
    ...["-device", "VGA,addr=0x19"],
    ...wideNvme(folder),
    ...twinNvmes(folder),
  ];
}

/**
 * Behind root ports, where a bus can be reset: a controller with virtual functions, and two edus. A port that is faster
 * should tell when its link is up again, which QEMU's doesn't.
 */
function portDevices(folder: string): string[] {
  return [
    ...disk(folder, "sriov", 16 * MIB),
    ...["-device", "pcie-root-port,id=sriov-port,chassis=1,addr=0x13,x-speed=5"],
    ...["-device", "nvme-subsys,id=sriov-subsys"],
    "-device",
    "nvme,serial=sriov,subsys=sriov-subsys,bus=sriov-port,max_ioqpairs=8,msix_qsize=8," +
      "sriov_max_vfs=2,sriov_vq_flexible=4,sriov_vi_flexible=2",
    ...["-device", "nvme-ns,drive=sriov,nsid=1"],
    ...["-device", "pcie-root-port,id=edu-port,chassis=2,addr=0x14"],
    // Two functions: what resets one of them resets the other, too.
    ...["-device", "edu,bus=edu-port,addr=0x0.0,multifunction=on"],
    ...["-device", "edu,bus=edu-port,addr=0x0.1"],
  ];
}

/** Controllers of this project for the kernel's own driver, in the order of their slots. */
const vfioUserControllers: readonly EmulatorProcess[] = [
  { name: "plain", args: ["--size", "256M", "--namespaces", "2"] },
  {
    name: "wide",
    args: ["--size", "384M", "--namespaces", "3", "--block-size", "4096", "--file", "wide.img"],
  },
  { name: "pin", args: ["--size", "128M", "--vectors", "0", "--doorbells", "messages"] },
  { name: "protected", args: ["--size", "128M", "--block-size", "4096", "--metadata", "8", "--pi", "1"] },
  { name: "zoned", args: ["--size", "256M", "--block-size", "4096", "--zns"] },
];

const translatedControllers: readonly EmulatorProcess[] = [{ name: "translated", args: ["--size", "128M"] }];

/** Memory that the controllers' processes can map, and a PCI function for each of them. */
function vfioUserDevices(folder: string): string[] {
  return [
    ...["-object", "memory-backend-memfd,id=shared,size=2G,share=on", "-machine", "memory-backend=shared"],
    ...functionsOf(vfioUserControllers, folder),
  ];
}

/** The same in a file that can't be sealed, and behind an IOMMU: QEMU maps pages one by one as the guest does. */
function translatedDevices(folder: string): string[] {
  return [
    ...["-device", "intel-iommu,intremap=on,caching-mode=on"],
    ...["-object", "memory-backend-file,id=shared,size=2G,share=on,mem-path=/dev/shm"],
    ...["-machine", "memory-backend=shared"],
    ...functionsOf(translatedControllers, folder),
  ];
}

function functionsOf(controllers: readonly EmulatorProcess[], folder: string): string[] {
  return controllers.flatMap(({ name }, index) => {
    const socket = { type: "unix", path: join(folder, name) };
    return ["-device", JSON.stringify({ driver: "vfio-user-pci", socket, addr: (8 + index).toString(16) })];
  });
}

/** Namespaces of {@link dataDevices} by id, as QEMU's nvme-ns takes them. */
const dataNamespaces: readonly string[] = [
  "logical_block_size=512",
  "logical_block_size=512,ms=8,pi=1",
  "logical_block_size=512,ms=8,pi=2,pil=1",
  "logical_block_size=4096,physical_block_size=4096,ms=8,pi=3",
  "logical_block_size=512,ms=16,mset=1",
  "logical_block_size=4096,physical_block_size=4096,ms=64,mset=1,pi=1",
  "logical_block_size=4096,physical_block_size=4096,ms=16,pi=1,pif=2",
  "logical_block_size=4096,physical_block_size=4096,ms=64,pi=2,pif=2,pil=1",
  "logical_block_size=4096,physical_block_size=4096,ms=16,mset=1,pi=3,pif=2",
  "logical_block_size=4096,physical_block_size=4096,zoned=on,zoned.zone_size=1M,zoned.zone_capacity=512K,zoned.max_open=3,zoned.max_active=4," +
    "zoned.descr_ext_size=64",
];

/**
 * A subsystem of two controllers, one of which transfers 8 KiB at most and one of which has no limit; a controller
 * with memory of its own, a CMB and a PMR; and one with a single queue pair and a single vector.
 */
function dataDevices(folder: string): string[] {
  return [
    ...["-device", "nvme-subsys,id=data-subsys"],
    ...["-device", "nvme,serial=data,subsys=data-subsys,mdts=0,addr=0x10"],
    ...["-device", "nvme,serial=data,subsys=data-subsys,mdts=1,addr=0x11"],
    ...dataNamespaces.flatMap((options, i) => [
      ...disk(folder, `data${i + 1}`, 32 * MIB),
      ...["-device", `nvme-ns,drive=data${i + 1},nsid=${i + 1},${options}`],
    ]),
    ...["-object", "memory-backend-ram,id=pmr,size=16M"],
    ...disk(folder, "memory", 32 * MIB),
    ...["-device", "nvme,serial=memory,drive=memory,cmb_size_mb=16,pmrdev=pmr,addr=0x12"],
    ...disk(folder, "narrow", 32 * MIB),
    ...["-device", "nvme,serial=narrow,drive=narrow,max_ioqpairs=1,msix_qsize=1,mdts=1,addr=0x13"],
  ];
}

/** What only a newer QEMU has: placement of data in two reclaim groups, short queues, a controller without shadow doorbells. */
function newerDevices(folder: string): string[] {
  return [
    ...["-device", "nvme-subsys,id=fdp-subsys,fdp=on,fdp.runs=1M,fdp.nrg=2,fdp.nruh=4"],
    ...["-device", "nvme,serial=fdp,subsys=fdp-subsys,addr=0x10"],
    ...disk(folder, "placed1", 32 * MIB),
    ...["-device", "nvme-ns,drive=placed1,nsid=1,fdp.ruhs=0;1;2"],
    ...disk(folder, "placed2", 32 * MIB),
    ...["-device", "nvme-ns,drive=placed2,nsid=2,fdp.ruhs=3"],
    ...disk(folder, "short", 32 * MIB),
    ...["-device", "nvme,serial=short,drive=short,max_ioqpairs=1,mqes=15,dbcs=off,addr=0x11"],
  ];
}

/** Controllers behind root ports to be taken out, and QEMU's monitor at a port of the guest's to do so. */
function removableDevices(folder: string): string[] {
  return [
    // The kernel's own hot-plug driver for root ports, not the firmware's: it also notices what nobody announced.
    ...["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"],
    ...["pulled-iommufd", "pulled-type1", "deleted", "listened"].flatMap((id, i) => [
      ...["-device", `pcie-root-port,id=port-${id},chassis=${i + 1},addr=0x1${i}`],
      ...disk(folder, id, 16 * MIB),
      ...["-device", `nvme,id=${id},serial=${id},drive=${id},bus=port-${id}`],
    ]),
    ...monitorInGuest(folder),
  ];
}

/** QEMU's monitor at a port of the guest's. */
function monitorInGuest(folder: string): string[] {
  const monitor = join(folder, "qmp");
  return [
    ...[
      "-chardev",
      `socket,id=monitor,path=${monitor},server=on,wait=off`,
      "-mon",
      "chardev=monitor,mode=control",
    ],
    ...["-chardev", `socket,id=monitor-client,path=${monitor}`],
    ...["-device", "virtserialport,bus=iova-serial.0,nr=9,chardev=monitor-client,name=iova.qmp"],
  ];
}

/**
 * Network controllers in pairs, each pair on a hub of QEMU's, which hands a frame over at once: nothing is lost as long as the other
 * one has buffers. Behind root ports, to be taken out.
 */
function igbDevices(folder: string): string[] {
  return [
    ...["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"],
    ...["left", "right", "pulled-iommufd", "pulled-type1"].flatMap((id, i) => [
      ...["-netdev", `hubport,id=net-${id},hubid=${i >> 1}`],
      ...["-device", `pcie-root-port,id=port-${id},chassis=${i + 1},addr=0x1${i}`],
      ...["-device", `igb,id=${id},netdev=net-${id},mac=52:54:00:00:00:1${i},bus=port-${id}`],
    ]),
    ...monitorInGuest(folder),
  ];
}

/** Devices of virtio 1 behind the IOMMU. */
function virtioDevices(folder: string): string[] {
  const modern = "iommu_platform=on,disable-legacy=on";
  return [
    ...["-device", `virtio-rng-pci,${modern},addr=0x10`],
    ...disk(folder, "virtio", 32 * MIB),
    ...["-device", `virtio-blk-pci,drive=virtio,serial=virtio,${modern},addr=0x11`],
    ...disk(folder, "locked", MIB).map((each) => (each.startsWith("if=") ? `${each},readonly=on` : each)),
    ...["-device", `virtio-blk-pci,drive=locked,${modern},event_idx=off,addr=0x12`],
    ...disk(folder, "packed", 32 * MIB),
    ...["-device", `virtio-blk-pci,id=packed,drive=packed,${modern},packed=on,num-queues=4,addr=0x13`],
    // A cable between two.
    ...["left", "right"].flatMap((id, i) => [
      ...["-netdev", `hubport,id=net-${id},hubid=0`],
      ...[
        "-device",
        `virtio-net-pci,id=${id},netdev=net-${id},${modern},packed=on,mac=52:54:00:00:00:2${i},addr=0x1${4 + i}`,
      ],
    ]),
    ...monitorInGuest(folder),
  ];
}

export const testMachines: readonly TestMachine[] = [
  {
    name: "intel",
    purpose: "intel-iommu with interrupt remapping; iommufd and type1 side by side",
    tools: [nvmeCli, pciutils, udev, driverctl],
    defaultDevices: true,
    qemuArgs: (folder) => [...intelDevices(folder), ...portDevices(folder)],
    // A page of 1 GiB can be had at boot only, and is taken from all others.
    append: ["hugepagesz=1G", "hugepages=1", "hugepagesz=2M", "hugepages=4"],
    memory: "4G",
  },
  {
    name: "nvme-data",
    purpose:
      "NVMe namespaces of many formats, reached through two controllers of one subsystem; two NUMA nodes",
    tools: [nvmeCli],
    defaultDevices: true,
    qemuArgs: dataDevices,
    append: ["numa=fake=2"],
  },
  {
    name: "newer-qemu",
    purpose: "a newer QEMU's NVMe controllers: flexible data placement, queues of 16 entries",
    foreignQemu: true,
    defaultDevices: true,
    qemuArgs: newerDevices,
    append: [],
  },
  {
    name: "virtio",
    purpose: "virtio devices behind an IOMMU, for the example's drivers",
    defaultDevices: true,
    qemuArgs: virtioDevices,
    append: [],
  },
  {
    name: "igb",
    purpose: "a newer QEMU's 82576 network controllers in pairs, for the example's driver",
    foreignQemu: true,
    defaultDevices: true,
    qemuArgs: igbDevices,
    append: [],
  },
  {
    name: "sriov",
    // Older ones destroy virtual functions with each reset, where a race sometimes ends QEMU (SIGSEGV).
    purpose: "virtual functions on a newer QEMU",
    foreignQemu: true,
    defaultDevices: true,
    qemuArgs: portDevices,
    append: [],
  },
  {
    name: "sriov-container",
    alsoRuns: ["test/guest/sriov/vfio-selftests.test.ts"],
    purpose: "virtual functions on a kernel whose /dev/vfio/vfio is iommufd's",
    variant: "iommufd-container",
    foreignQemu: true,
    defaultDevices: true,
    qemuArgs: portDevices,
    append: [],
  },
  {
    name: "removal",
    purpose: "controllers that leave the machine, and QEMU's monitor to make them",
    defaultDevices: true,
    qemuArgs: removableDevices,
    append: [],
  },
  {
    name: "iommufd-container",
    alsoRuns: [
      ...["device", "dma", "driver"].map((suite) => `test/guest/intel/vfio-selftests-${suite}.test.ts`),
      "test/guest/intel/nvme-io.test.ts",
      "test/guest/mdev/",
    ],
    variant: "iommufd-container",
    purpose: "a kernel whose /dev/vfio/vfio is iommufd's: the same suites without type1",
    defaultDevices: true,
    qemuArgs: (folder) => [...intelDevices(folder), ...portDevices(folder)],
    append: ["hugepagesz=1G", "hugepages=1", "hugepagesz=2M", "hugepages=4"],
    memory: "4G",
  },
  {
    name: "no-remapping",
    purpose: "an IOMMU that can't isolate interrupts",
    defaultDevices: true,
    qemuArgs: () => [],
    append: ["intremap=off"],
  },
  {
    name: "mdev",
    purpose: "the kernel's sample mediated devices: serial ports that migrate, and two displays",
    defaultDevices: false,
    qemuArgs: () => [],
    append: [],
  },
  {
    name: "noiommu",
    purpose: "devices for programs although there is no IOMMU",
    defaultDevices: false,
    qemuArgs: (folder) => [
      ...disk(folder, "plain", 16 * MIB),
      ...["-device", "nvme,serial=plain,drive=plain"],
      ...["-device", "edu,dma_mask=0xffffffff"],
      ...["-device", "pci-testdev,membar=1M"],
      ...disk(folder, "virtio", 8 * MIB),
      ...["-device", "virtio-blk-pci,drive=virtio,disable-legacy=on,packed=on,addr=0x11"],
    ],
    append: ["vfio.enable_unsafe_noiommu_mode=1", "hugepages=4"],
    // All of it below 4 GiB, where edu reaches it.
    memory: "2G",
  },
  {
    name: "mock",
    purpose: "no devices: the kernel's own mock IOMMU, with huge pages for its cases",
    defaultDevices: false,
    qemuArgs: () => [],
    append: ["hugepages=256"],
  },
  {
    name: "no-iommu",
    purpose: "no IOMMU at all: every backend has to say why it can't work",
    defaultDevices: false,
    qemuArgs: (folder) => [
      ...disk(folder, "plain", 16 * MIB),
      ...["-device", "nvme,serial=plain,drive=plain"],
    ],
    append: [],
  },
  {
    name: "iommu-off",
    purpose: "an IOMMU that the kernel command line switches off",
    defaultDevices: true,
    qemuArgs: () => [],
    append: ["intel_iommu=off"],
  },
  {
    name: "lts",
    purpose: "Linux 6.12, the long-term kernel: the same library, with less beneath it",
    alsoRuns: ["test/guest/intel/nvme-io.test.ts"],
    series: "6.12",
    defaultDevices: true,
    qemuArgs: intelDevices,
    append: [],
  },
  {
    name: "debian",
    purpose: "Debian 12's own kernel with its modules: no iommufd, and VFIO isn't loaded",
    debianKernel: { modules: true },
    tools: [
      KMOD,
      ...["dmsetup", "mdadm"].map((name) => ({
        package: name,
        present: () => findProgram(name, SBIN) !== undefined,
      })),
      { package: "e2fsprogs", present: () => findProgram("mkfs.ext4", SBIN) !== undefined },
      { package: "iproute2", present: () => findProgram("ip", SBIN) !== undefined },
    ],
    defaultDevices: true,
    qemuArgs: () => ["-device", "e1000e,addr=0x10"],
    append: [],
  },
  {
    name: "no-modules",
    purpose: "the same kernel, whose modules were removed, as by an update",
    debianKernel: { modules: false },
    tools: [KMOD],
    defaultDevices: true,
    qemuArgs: () => [],
    append: [],
  },
  {
    name: "no-vfio",
    purpose: "a kernel that has an IOMMU and iommufd, but no VFIO to give a device to a program",
    variant: "no-vfio",
    defaultDevices: true,
    qemuArgs: () => [],
    append: [],
  },
  {
    name: "vfio-user",
    purpose: "a newer QEMU whose PCI functions are this project's emulated controllers, driven by the kernel",
    foreignQemu: true,
    emulators: vfioUserControllers,
    tools: [{ package: "e2fsprogs", present: () => findProgram("mkfs.ext4", SBIN) !== undefined }],
    defaultDevices: false,
    qemuArgs: vfioUserDevices,
    append: [],
    memory: "2G",
  },
  {
    name: "vfio-user-iommu",
    purpose: "the same behind a guest's IOMMU that maps pages one by one, with memory that can't be sealed",
    foreignQemu: true,
    emulators: translatedControllers,
    defaultDevices: false,
    qemuArgs: translatedDevices,
    append: [],
    memory: "2G",
  },
];

/** Hosts to test the host layer on: distributions, architectures, a container. Files are short and written for the purpose. */
import { gzipSync } from "node:zlib";
import type { TreeFiles } from "./host-tree.js";

/** Files in a tree belong to who runs the test; so that is root on these hosts. */
const ROOT = process.getuid?.() ?? 0;
/** The ordinary user of these hosts. */
export const ALICE = ROOT + 1000;

export const RIGHTS_OF_ROOT = "000001ffffffffff";

const passwd = `root:x:${ROOT}:0:root:/root:/bin/sh\nalice:x:${ALICE}:${ALICE}::/home/alice:/bin/sh\n`;
const group = `root:x:0:\nvfio:x:777:alice\nalice:x:${ALICE}:\n`;

/** /proc/self/status of a user's process. */
export function status(uid: number, capabilities: string): string {
  const four = `${uid}\t${uid}\t${uid}\t${uid}`;
  const groups = uid === ALICE ? `${ALICE} 777` : "0";
  return `Name:\tnode\nUid:\t${four}\nGid:\t${four}\nGroups:\t${groups} \nCapEff:\t${capabilities}\n`;
}

export const ofRoot = status(ROOT, RIGHTS_OF_ROOT);
export const ofAlice = status(ALICE, "0000000000000000");

/** /proc/self/limits with a memlock limit. */
export function limits(soft: string, hard: string): string {
  return [
    "Limit                     Soft Limit           Hard Limit           Units     ",
    "Max cpu time              unlimited            unlimited            seconds   ",
    `Max locked memory         ${soft.padEnd(20)} ${hard.padEnd(20)} bytes     `,
    "Max open files            1024                 524288               files     ",
    "Max realtime timeout      unlimited            unlimited            us        ",
    "",
  ].join("\n");
}

/** Configuration space of a function with one capability. */
export function configWith(capability: number): Uint8Array {
  const bytes = new Uint8Array(256);
  bytes[0x06] = 0x10;
  bytes[0x34] = 0x40;
  bytes[0x40] = capability;
  return bytes;
}

/** Files of one PCI function. */
export function pciFunction(
  bdf: string,
  {
    driver,
    group: groupName,
    classCode = "0x010802",
    cdev,
  }: {
    readonly driver?: string;
    readonly group?: string;
    readonly classCode?: string;
    readonly cdev?: string;
  },
): TreeFiles {
  const path = `/sys/bus/pci/devices/${bdf}`;
  return {
    [`${path}/vendor`]: "0x1b36\n",
    [`${path}/device`]: "0x0010\n",
    [`${path}/class`]: `${classCode}\n`,
    [`${path}/numa_node`]: "0\n",
    [`${path}/driver_override`]: "(null)\n",
    [`${path}/reset_method`]: "flr bus\n",
    [`${path}/power_state`]: "D0\n",
    [`${path}/config`]: configWith(0x11),
    ...(driver === undefined ? {} : { [`${path}/driver`]: { link: `../../../bus/pci/drivers/${driver}` } }),
    ...(groupName === undefined
      ? {}
      : {
          [`${path}/iommu_group`]: { link: `../../../kernel/iommu_groups/${groupName}` },
          [`/sys/kernel/iommu_groups/${groupName}/devices/${bdf}`]: "",
          [`/sys/kernel/iommu_groups/${groupName}/type`]: "DMA-FQ\n",
        }),
    ...(cdev === undefined ? {} : { [`${path}/vfio-dev/${cdev}/dev`]: "511:0\n" }),
  };
}

const common: TreeFiles = {
  "/etc/passwd": passwd,
  "/etc/group": group,
  "/proc/self/status": ofRoot,
  "/proc/self/limits": limits("8388608", "8388608"),
  "/proc/self/mounts": "sysfs /sys sysfs rw,nosuid 0 0\n",
  "/proc/self/maps": "7f00-7f01 r-xp 00000000 08:01 1 /usr/lib/x86_64-linux-gnu/libc.so.6\n",
  "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "512\n",
  "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "500\n",
  "/sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
};

/** Debian 13: no iommufd in the kernel, type1 as a module, GRUB, configuration in /boot. */
export const debian: TreeFiles = {
  ...common,
  "/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n',
  "/etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n',
  "/run/systemd/system/": "",
  "/run/udev/control": "",
  "/proc/sys/kernel/osrelease": "6.12.48+deb13-amd64\n",
  "/proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet intel_iommu=on iommu=pt\n",
  "/boot/config-6.12.48+deb13-amd64":
    "# Linux/x86 6.12.48 Kernel Configuration\nCONFIG_64BIT=y\n# CONFIG_IOMMUFD is not set\nCONFIG_VFIO=m\n" +
    "CONFIG_VFIO_GROUP=y\nCONFIG_VFIO_CONTAINER=y\nCONFIG_VFIO_IOMMU_TYPE1=m\nCONFIG_VFIO_PCI=m\n" +
    'CONFIG_INTEL_IOMMU=y\nCONFIG_IRQ_REMAP=y\nCONFIG_CC_VERSION_TEXT="gcc = 14"\n',
  "/lib/modules/6.12.48+deb13-amd64/modules.builtin": "kernel/fs/ext4/ext4.ko\n",
  "/lib/modules/6.12.48+deb13-amd64/modules.dep":
    "kernel/drivers/vfio/vfio.ko.xz:\nkernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/vfio.ko.xz\n" +
    "kernel/drivers/vfio/vfio_iommu_type1.ko.xz: kernel/drivers/vfio/vfio.ko.xz\n",
  "/proc/modules":
    "vfio_pci 16384 1 - Live 0x0\nvfio 65536 2 vfio_pci, Live 0x0\nvfio_iommu_type1 45056 0 - Live 0x0\n",
  "/sys/firmware/acpi/tables/DMAR": Uint8Array.from(
    [..."DMAR"].map((c) => c.charCodeAt(0)).concat(new Array(32).fill(0), [38, 1]),
  ),
  "/sys/class/iommu/dmar0/devices/0000:00:03.0": "",
  "/sys/class/misc/vfio/dev": "10:196\n",
  "/proc/interrupts": "           CPU0\n 24:  0  IR-PCI-MSI-0000:00:03.0    0-edge  nvme0q0\n",
  "/dev/vfio/vfio": { mode: 0o666 },
  "/dev/vfio/3": { mode: 0o600 },
  ...pciFunction("0000:00:03.0", { driver: "vfio-pci", group: "3" }),
};

/** Fedora: iommufd as a module, configuration beside the modules, an ordinary user. */
export const fedora: TreeFiles = {
  ...common,
  "/usr/lib/os-release": "NAME='Fedora Linux'\nID=fedora\nVERSION_ID=43\n",
  "/run/systemd/system/": "",
  "/run/udev/control": "",
  "/proc/self/status": ofAlice,
  "/proc/sys/kernel/osrelease": "6.17.4-300.fc43.x86_64\n",
  "/proc/cmdline": "root=UUID=1 rhgb quiet amd_iommu=on\n",
  "/lib/modules/6.17.4-300.fc43.x86_64/config":
    "CONFIG_IOMMUFD=m\nCONFIG_VFIO=m\nCONFIG_VFIO_DEVICE_CDEV=y\nCONFIG_VFIO_GROUP=y\nCONFIG_VFIO_CONTAINER=y\n" +
    "CONFIG_VFIO_IOMMU_TYPE1=m\nCONFIG_VFIO_PCI=m\nCONFIG_AMD_IOMMU=y\nCONFIG_IRQ_REMAP=y\n",
  "/lib/modules/6.17.4-300.fc43.x86_64/modules.builtin": "",
  "/lib/modules/6.17.4-300.fc43.x86_64/modules.dep": "kernel/drivers/iommu/iommufd/iommufd.ko.xz:\n",
  "/proc/modules":
    "iommufd 90112 1 vfio, Live 0x0\nvfio 65536 1 vfio_pci, Live 0x0\nvfio_pci 16384 0 - Live 0x0\n",
  "/sys/firmware/acpi/tables/IVRS": "",
  "/sys/class/iommu/ivhd0/devices/0000:01:00.0": "",
  "/sys/class/misc/iommu/dev": "10:125\n",
  "/sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
  "/sys/kernel/security/lsm": "lockdown,capability,yama,selinux,bpf\n",
  "/sys/fs/selinux/enforce": "1",
  "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": Uint8Array.of(6, 0, 0, 0, 1),
  "/proc/self/attr/current": "unconfined_u:unconfined_r:unconfined_t:s0\0",
  "/proc/interrupts": " 30:  0  IR-PCI-MSIX-0000:01:00.0    0-edge  vfio-msix[0]\n",
  "/etc/security/limits.d/90-vfio.conf": "# drivers\n@vfio - memlock unlimited\n*  hard  memlock  8192\n",
  "/etc/systemd/system.conf": "[Manager]\nDefaultLimitMEMLOCK=64K:8M\n",
  "/dev/iommu": { mode: 0o600 },
  "/dev/vfio/devices/vfio0": { mode: 0o600 },
  "/dev/vfio/12": { mode: 0o600 },
  ...pciFunction("0000:01:00.0", { driver: "vfio-pci", group: "12", cdev: "vfio0" }),
};

/** Arch: everything in /proc/config.gz, a module blacklisted, systemd-boot, the IOMMU off. */
export const arch: TreeFiles = {
  ...common,
  "/etc/os-release": 'NAME="Arch Linux"\nID=arch\n',
  "/boot/loader/entries/arch.conf": "title Arch\n",
  "/run/systemd/system/": "",
  "/run/udev/control": "",
  "/proc/sys/kernel/osrelease": "7.3.1-arch1-1\n",
  "/proc/cmdline": "root=LABEL=arch rw intel_iommu=off\n",
  "/proc/config.gz": gzipSync(
    "CONFIG_IOMMUFD=m\nCONFIG_VFIO=m\nCONFIG_VFIO_PCI=m\nCONFIG_VFIO_DEVICE_CDEV=y\nCONFIG_INTEL_IOMMU=y\nCONFIG_INTEL_IOMMU_DEFAULT_ON=y\n",
  ),
  "/lib/modules/7.3.1-arch1-1/modules.builtin": "kernel/drivers/iommu/intel/intel.ko\n",
  "/lib/modules/7.3.1-arch1-1/modules.dep":
    "kernel/drivers/vfio/pci/vfio-pci.ko.zst:\nkernel/drivers/vfio/vfio.ko.zst:\n",
  "/proc/modules": "nvme 65536 2 - Live 0x0\n",
  "/etc/modprobe.d/no-vfio.conf": "# not here\nblacklist vfio-pci\ninstall iommufd /bin/false\n",
  "/usr/lib/modprobe.d/no-vfio.conf": "blacklist vfio\n",
  "/sys/firmware/acpi/tables/DMAR": "",
  ...pciFunction("0000:02:00.0", { driver: "nvme" }),
};

/** Alpine on musl: OpenRC, extlinux, no configuration at all; the running kernel shows what it has. */
export const alpine: TreeFiles = {
  ...common,
  "/etc/os-release": 'NAME="Alpine Linux"\nID=alpine\nPRETTY_NAME="Alpine Linux v3.23"\n',
  "/etc/update-extlinux.conf": "default_kernel_opts=quiet\n",
  "/run/openrc/": "",
  "/proc/sys/kernel/osrelease": "6.18.2-0-lts\n",
  "/proc/cmdline": "BOOT_IMAGE=vmlinuz-lts modules=ext4 quiet\n",
  "/proc/self/maps": "7f00-7f01 r-xp 00000000 08:01 1 /lib/ld-musl-x86_64.so.1\n",
  "/lib/modules/6.18.2-0-lts/modules.builtin": "kernel/drivers/iommu/iommufd/iommufd.ko\n",
  "/lib/modules/6.18.2-0-lts/modules.dep":
    "kernel/drivers/vfio/vfio.ko.gz:\nkernel/drivers/vfio/pci/vfio-pci.ko.gz: kernel/drivers/vfio/vfio.ko.gz\n",
  "/sys/firmware/acpi/tables/FACP": "",
  ...pciFunction("0000:00:04.0", { driver: "nvme" }),
};

/** Ubuntu on arm64: a device tree in place of ACPI, an SMMU v3. */
export const ubuntuArm: TreeFiles = {
  ...common,
  "/etc/os-release": 'PRETTY_NAME="Ubuntu 26.04 LTS"\nID=ubuntu\nID_LIKE=debian\n',
  "/etc/default/grub": "GRUB_TIMEOUT=0\n",
  "/run/systemd/system/": "",
  "/run/udev/control": "",
  "/proc/sys/kernel/osrelease": "7.0.0-12-generic\n",
  "/proc/cmdline": "root=/dev/vda1 iommu.passthrough=0 iommu.strict=1\n",
  "/boot/config-7.0.0-12-generic":
    "CONFIG_ARM64=y\nCONFIG_IOMMUFD=y\nCONFIG_VFIO=y\nCONFIG_VFIO_DEVICE_CDEV=y\nCONFIG_VFIO_PCI=y\nCONFIG_ARM_SMMU_V3=y\n",
  "/sys/firmware/devicetree/base/smmuv3@9050000/compatible": "arm,smmu-v3\0",
  "/sys/firmware/devicetree/base/soc@0/iommu@5000000/compatible": "qcom,sdm845-smmu-500\0arm,mmu-500\0",
  "/sys/firmware/devicetree/base/chosen/bootargs": "quiet\0",
  "/sys/class/iommu/smmu3.0x0000000009050000/devices/0000:00:02.0": "",
  "/sys/class/misc/iommu/dev": "10:125\n",
  "/proc/interrupts": " 30:  0  ITS-PCI-MSI-0000:00:02.0    0 Edge      nvme0q0\n",
  "/dev/iommu": { mode: 0o660 },
  "/dev/vfio/devices/vfio0": { mode: 0o600 },
  "/dev/vfio/0": { mode: 0o600 },
  ...pciFunction("0000:00:02.0", { driver: "vfio-pci", group: "0", cdev: "vfio0" }),
};

/** A container on the Debian host: sysfs is read-only, no nodes, 64 KiB of memlock. */
export const container: TreeFiles = {
  ...debian,
  "/etc/os-release": 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nID=ubuntu\nID_LIKE=debian\n',
  "/.dockerenv": "",
  "/proc/1/cgroup": "0::/\n",
  "/proc/self/status": status(ROOT, "00000000a80425fb"),
  "/proc/self/limits": limits("65536", "65536"),
  "/proc/self/mounts": "overlay / overlay rw 0 0\nsysfs /sys sysfs ro,nosuid,nodev 0 0\n",
  "/dev/vfio/vfio": { link: "/nowhere" },
  "/dev/vfio/3": { link: "/nowhere" },
};

/** The parsers of a host's files, each on the forms that these files have. */
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { kernelBoolean, parseCommandLine } from "../../../src/host/facts/command-line.js";
import { containerOfCgroup } from "../../../src/host/facts/container.js";
import { hasMsix } from "../../../src/host/facts/device.js";
import { familyOf, parseOsRelease } from "../../../src/host/facts/distribution.js";
import { chosenWord } from "../../../src/host/facts/huge-pages.js";
import { iommuKind, parseDmar, parseInterrupts } from "../../../src/host/facts/iommu.js";
import { isPlain, parseKernelConfig, unpackConfig } from "../../../src/host/facts/kernel-config.js";
import { isAtLeast, parseKernelVersion } from "../../../src/host/facts/kernel-version.js";
import {
  loginSetting,
  parseLimitsConf,
  parseSystemdConf,
  parseSystemdSize,
} from "../../../src/host/facts/limit-settings.js";
import { obstaclesOf, parseModprobe, vfioPciIds } from "../../../src/host/facts/modprobe.js";
import { moduleName, parseLoadedModules, parseModuleList } from "../../../src/host/facts/modules.js";
import { parseMounts } from "../../../src/host/facts/mounts.js";
import { permits } from "../../../src/host/facts/nodes.js";
import { parseProcessLimits } from "../../../src/host/facts/process-limits.js";
import { libcOfMaps } from "../../../src/host/facts/runtime.js";
import { type HostUser, parseCapabilities } from "../../../src/host/facts/users.js";
import { parseGroup, parsePasswd } from "../../../src/host/names/files.js";
import { parseSystemIds, spelling } from "../../../src/host/names/spelling.js";
import { configWith } from "../../support/example-hosts.js";

function user(name: string, uid: number, groups: Readonly<Record<string, number>> = {}): HostUser {
  return {
    name,
    spelling: spelling("user", uid, name, parseSystemIds("")),
    uid,
    gids: Object.values(groups),
    groupNames: Object.keys(groups),
    capabilities: new Set(),
    isThisProcess: false,
  };
}

describe("the kernel's version", () => {
  test("is the first two numbers of a release", () => {
    expect(parseKernelVersion("7.3.4-1~bpo13+1")).toMatchObject({ major: 7, minor: 3 });
    expect(parseKernelVersion("custom")).toMatchObject({ major: 0, minor: 0 });
  });

  test("is compared by both numbers, and unknown ones not at all", () => {
    expect(isAtLeast(parseKernelVersion("6.12.1"), 6, 6)).toBe(true);
    expect(isAtLeast(parseKernelVersion("6.1.1"), 6, 6)).toBe(false);
    expect(isAtLeast(parseKernelVersion("7.0-rc1"), 6, 6)).toBe(true);
    expect(isAtLeast(parseKernelVersion(""), 6, 6)).toBeUndefined();
  });
});

describe("a kernel configuration", () => {
  test("has values, options that are off, and texts without their quotation marks", () => {
    const text = 'CONFIG_A=y\r\n# CONFIG_B is not set\nCONFIG_C="x y"\n# comment\nCONFIG_D=0x10\nnonsense\n';
    expect([...parseKernelConfig(text)]).toEqual([
      ["A", "y"],
      ["B", "n"],
      ["C", "x y"],
      ["D", "0x10"],
    ]);
  });

  test("may be packed, and is undefined if the packing is damaged", () => {
    const packed = gzipSync("CONFIG_A=m\n");
    expect(unpackConfig(packed)).toBe("CONFIG_A=m\n");
    expect(unpackConfig(Buffer.from("CONFIG_A=m\n"))).toBe("CONFIG_A=m\n");
    expect(unpackConfig(packed.subarray(0, 15))).toBeUndefined();
  });

  test("isn't looked for at a release that leads elsewhere", () => {
    expect(["6.1.0-9-amd64", "6.12.48+deb13-amd64", "7.3.4-1~bpo13+1"].every(isPlain)).toBe(true);
    expect(["", "..", "../../etc", "a b"].some(isPlain)).toBe(false);
  });
});

describe("the kernel command line", () => {
  test("is parameters with values, where - and _ are the same, up to --", () => {
    const line = parseCommandLine(
      'quiet vfio-pci.ids=1b36:0010 dyndbg="file a +p" iommu=pt,strict intel_iommu=on -- iommu=off',
    );
    expect(line.last("vfio_pci.ids")).toBe("1b36:0010");
    expect(line.last("dyndbg")).toBe("file a +p");
    expect(line.all("quiet")).toEqual([""]);
    expect(line.last("iommu")).toBe("pt,strict");
    expect(line.has("iommu", "strict")).toBe(true);
    expect(line.has("iommu", "off")).toBe(false);
    expect(line.last("absent")).toBeUndefined();
  });

  test("has booleans as the kernel reads them", () => {
    expect(["1", "y", "Yes", "on", ""].map(kernelBoolean)).toEqual([true, true, true, true, true]);
    expect(["0", "n", "off"].map(kernelBoolean)).toEqual([false, false, false]);
    expect(kernelBoolean("maybe")).toBeUndefined();
  });
});

describe("modules", () => {
  test("have one name, however it is written", () => {
    expect(moduleName("vfio-pci")).toBe("vfio_pci");
    expect([...parseLoadedModules("vfio_pci 1 0 - Live 0x0\n\njunk\n")]).toEqual(["vfio_pci"]);
  });

  test("are listed with or without packing and dependencies", () => {
    const list = "kernel/a/vfio-pci.ko.zst: kernel/b/vfio.ko.zst\nkernel/ext4.ko\nplain.ko.xz:\nno module\n";
    expect([...parseModuleList(list)]).toEqual(["vfio_pci", "ext4", "plain"]);
  });

  test("have options, blacklists and commands in modprobe.d, over several lines too", () => {
    const lines = parseModprobe(
      "# x\noptions vfio-pci ids=1b36:0010,8086:10c9 \\\n  disable_vga=1\nblacklist nouveau # c\ninstall vfio /usr/bin/true\n" +
        "softdep nvme pre: vfio-pci\ninstall iommufd /sbin/modprobe -i iommufd\nalias a b\n",
      "/f",
    );
    expect(vfioPciIds(lines)).toEqual(["1b36:0010", "8086:10c9"]);
    expect(lines.map(({ kind, module, where }) => `${kind} ${module} ${where}`)).toEqual([
      "options vfio_pci /f:2",
      "blacklist nouveau /f:4",
      "install vfio /f:5",
      "softdep nvme /f:6",
      "install iommufd /f:7",
    ]);
    expect(obstaclesOf(lines, "vfio")).toHaveLength(1);
    expect(obstaclesOf(lines, "iommufd")).toEqual([]);
  });
});

describe("the IOMMU", () => {
  test("has a kind by the name of its unit", () => {
    expect(["dmar1", "ivhd0", "smmu3.0x1", "smmu.0x1", "virtio-iommu", "x"].map(iommuKind)).toEqual([
      "intel",
      "amd",
      "arm-smmu-v3",
      "arm-smmu",
      "virtio",
      "other",
    ]);
  });

  test("is announced by a DMAR table with width and flags", () => {
    const table = Buffer.alloc(48);
    table.write("DMAR");
    table[36] = 45;
    expect(parseDmar(table)).toEqual({ addressBits: 46, interruptRemapping: false });
    expect(parseDmar(table.subarray(0, 36))).toBeUndefined();
    expect(parseDmar(Buffer.alloc(48))).toBeUndefined();
  });

  test("remaps interrupts whose controllers' names begin with IR-", () => {
    expect(parseInterrupts(" 1: 0 IR-IO-APIC 1-edge\n")).toBe(true);
    expect(parseInterrupts(" 24: 0 PCI-MSI-0000:00:03.0 0-edge\n")).toBe(false);
    expect(parseInterrupts(" 24: 0 GICv3 27 Level\n")).toBeUndefined();
  });
});

describe("limits", () => {
  test("of the process are numbers or infinite", () => {
    const limits = parseProcessLimits("Max locked memory         65536   unlimited   bytes\nMax bad x y\n");
    expect(limits.get("Max locked memory")).toEqual({ soft: 65_536, hard: Number.POSITIVE_INFINITY });
    expect(limits.size).toBe(1);
  });

  test("of logins count in KiB, and the closest line wins", () => {
    const settings = parseLimitsConf(
      "* hard memlock 64\n@vfio - memlock unlimited # c\nalice soft memlock 1\nbob hard memlock 128\nbob hard nofile 1\nbob hard memlock x\n",
      "/l",
    );
    expect(settings).toHaveLength(4);
    expect(loginSetting(settings, user("alice", 1000))?.bytes).toBe(65_536);
    expect(loginSetting(settings, user("alice", 1000, { vfio: 7 }))?.bytes).toBe(Number.POSITIVE_INFINITY);
    expect(loginSetting(settings, user("bob", 1001, { vfio: 7 }))?.where).toBe("/l:4");
    expect(loginSetting(settings, user("root", 0))).toBeUndefined();
  });

  test("of logins name users and groups by numbers and ranges of them, too", () => {
    const bytes = (domain: string): number | undefined => {
      const settings = parseLimitsConf(`* hard memlock 64\n${domain} hard memlock 1\n`, "/l");
      return loginSetting(settings, user("EX\\bob smith", 70_001, { vfio: 7 }))?.bytes;
    };
    for (const domain of [":70001", "70001:", "70000:70002", "@:7", "@7:", "@1:9"])
      expect(bytes(domain)).toBe(1024);
    for (const domain of [":70000", "70002:", "1:2", "@:70001", "@8:", ":", "@:", "70001", "1:2:3"])
      expect(bytes(domain)).toBe(65_536);
  });

  test("of systemd have units, and soft and hard apart", () => {
    expect(parseSystemdSize("4G")).toEqual({ soft: 2 ** 32, hard: 2 ** 32 });
    expect(parseSystemdSize("64K:infinity")).toEqual({ soft: 65_536, hard: Number.POSITIVE_INFINITY });
    expect(["", "4Q", "1:2:3", "x"].map(parseSystemdSize)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    expect(parseSystemdConf("[Manager]\n#DefaultLimitMEMLOCK=1\nDefaultLimitMEMLOCK=8M\n", "/s")).toEqual([
      { where: "/s:3", by: "systemd", domain: "", which: "both", bytes: 8 * 2 ** 20 },
    ]);
  });
});

describe("users and permissions", () => {
  test("of /etc/passwd and /etc/group have numbers and members", () => {
    expect(parsePasswd("root:x:0:0::/:/bin/sh\n+nis\nbad:x:a:b\n")).toEqual([
      { name: "root", uid: 0, gid: 0 },
    ]);
    expect(parseGroup("vfio:x:7:alice, bob\nempty:x:8:\nbad\n")).toEqual([
      { name: "vfio", gid: 7, members: ["alice", "bob"] },
      { name: "empty", gid: 8, members: [] },
    ]);
  });

  test("are the owner's, or else the group's, or else everybody's", () => {
    const node = { isDevice: true, uid: 0, gid: 7, mode: 0o660 };
    expect(permits(node, user("root", 0))).toBe(true);
    expect(permits(node, user("alice", 1000, { vfio: 7 }))).toBe(true);
    expect(permits(node, user("bob", 1001))).toBe(false);
    expect(permits({ ...node, mode: 0o466 }, user("root", 0))).toBe(false);
    expect(
      permits({ ...node, mode: 0 }, { ...user("x", 5), capabilities: new Set(["CAP_DAC_OVERRIDE"]) }),
    ).toBe(true);
  });

  test("of root are bits of a mask", () => {
    expect(parseCapabilities("0000000000024000")).toEqual(["CAP_IPC_LOCK", "CAP_SYS_RAWIO"]);
    expect(parseCapabilities("xyz")).toEqual([]);
  });
});

describe("the rest", () => {
  test("a distribution belongs to the family of its id, or of those that it is like", () => {
    const family = (text: string): string => familyOf(parseOsRelease(text));
    expect(family("ID=linuxmint\nID_LIKE='ubuntu debian'\n")).toBe("debian");
    expect(family('ID="opensuse-tumbleweed"\n')).toBe("suse");
    expect(family('ID=rocky\nID_LIKE="rhel centos fedora"\n')).toBe("fedora");
    expect(family("")).toBe("other");
    expect(parseOsRelease('NAME="A \\"B\\""\n# ID=x\n')).toEqual(new Map([["NAME", 'A "B"']]));
  });

  test("a container's manager is in the paths of control groups", () => {
    expect(containerOfCgroup("0::/kubepods/besteffort/pod1/x")).toBe("kubernetes");
    expect(containerOfCgroup("1:name=systemd:/docker/abc")).toBe("docker");
    expect(containerOfCgroup("0::/machine.slice/libpod-abc.scope")).toBe("podman");
    expect(containerOfCgroup("0::/user.slice")).toBeUndefined();
  });

  test("a mount's target may have blanks", () => {
    expect(parseMounts("a /mnt/my\\040disk ext4 rw,noatime 0 0\n\n")).toEqual([
      { target: "/mnt/my disk", type: "ext4", options: ["rw", "noatime"] },
    ]);
  });

  test("an attribute's chosen word is in brackets", () => {
    expect(chosenWord("always [madvise] never")).toBe("madvise");
    expect(chosenWord("always")).toBeUndefined();
  });

  test("the C library is among the mapped files", () => {
    expect(libcOfMaps("x /lib/ld-musl-x86_64.so.1\n")).toBe("musl");
    expect(libcOfMaps("x /usr/lib64/libc.so.6\n")).toBe("glibc");
    expect(libcOfMaps("")).toBe("unknown");
  });

  test("MSI-X is a capability, in a list that may be unreadable or a circle", () => {
    expect(hasMsix(configWith(0x11))).toBe(true);
    expect(hasMsix(configWith(0x05))).toBe(false);
    expect(hasMsix(configWith(0x11).subarray(0, 64))).toBeUndefined();
    expect(hasMsix(new Uint8Array(256))).toBe(false);
    const circle = configWith(0x05);
    circle[0x41] = 0x40;
    expect(hasMsix(circle)).toBe(false);
  });
});

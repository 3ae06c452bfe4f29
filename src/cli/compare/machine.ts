/** Describes the machine, from what the kernel reports. */
import { cpus, freemem, hostname, totalmem } from "node:os";
import { kernelNames, kernelText } from "../../sys/kernel-files.js";
import { packageFile } from "../package-file.js";
import type { Machine } from "./report.js";

const text = (path: string): string => kernelText(path) ?? "";
const names = (path: string): string[] => kernelNames(path) ?? [];

const HUGE_PAGES = "/sys/kernel/mm/hugepages";

/** Pools of explicit huge pages, smallest first. */
export function hugePagePools(): { pageBytes: number; total: number; free: number }[] {
  return names(HUGE_PAGES)
    .map((name) => ({
      pageBytes: Number(/(\d+)kB/.exec(name)?.[1] ?? 0) * 1024,
      total: Number(text(`${HUGE_PAGES}/${name}/nr_hugepages`)),
      free: Number(text(`${HUGE_PAGES}/${name}/free_hugepages`)),
    }))
    .sort((a, b) => a.pageBytes - b.pageBytes);
}

/** Memory that can be allocated without swapping, in bytes. */
export function availableBytes(): number {
  const [, kib] = /^MemAvailable:\s+(\d+) kB/m.exec(text("/proc/meminfo")) ?? [];
  return kib === undefined ? freemem() : Number(kib) * 1024;
}

function memlock(): number | null {
  const [, soft = "unlimited"] = /^Max locked memory\s+(\S+)/m.exec(text("/proc/self/limits")) ?? [];
  return soft === "unlimited" ? null : Number(soft);
}

function hypervisor(): string | null {
  const vendor = text("/sys/class/dmi/id/sys_vendor");
  const product = text("/sys/class/dmi/id/product_name");
  const isVirtual = /^flags\s*:.*\bhypervisor\b/m.test(text("/proc/cpuinfo"));
  const isEmulated = /TCG/.test(cpus()[0]?.model ?? "");
  if (!isVirtual && !isEmulated) return null;
  const name = [vendor, product].filter((part) => part !== "").join(" ") || "a hypervisor";
  return isEmulated ? `${name}, emulated without KVM (TCG)` : name;
}

/** The package's own version. */
function ownVersion(): string {
  const parsed: unknown = JSON.parse(text(packageFile("package.json")) || "{}");
  const hasVersion = typeof parsed === "object" && parsed !== null && "version" in parsed;
  return hasVersion ? String(parsed.version) : "unknown";
}

export function describeMachine(): Machine {
  const processors = cpus();
  return {
    hostname: hostname(),
    cpu: (processors[0]?.model ?? "unknown").trim(),
    cpus: Math.max(1, processors.length),
    hypervisor: hypervisor(),
    memoryBytes: totalmem(),
    availableBytes: availableBytes(),
    transparentHugePages:
      /\[(\w+)\]/.exec(text("/sys/kernel/mm/transparent_hugepage/enabled"))?.[1] ?? "none",
    hugePages: hugePagePools(),
    memlockBytes: memlock(),
    kernel: text("/proc/sys/kernel/osrelease"),
    architecture: process.arch,
    parameters: text("/proc/cmdline")
      .split(/\s+/)
      .filter((word) => /iommu|vfio|huge|smmu/i.test(word)),
    iommus: names("/sys/class/iommu"),
    node: process.versions.node,
    iova: ownVersion(),
  };
}

/** Memory of this process that is pinned for devices: iommufd counts it as VmPin, type1 as VmLck. */
export function pinnedAndLocked(): { pinnedBytes: number; lockedBytes: number } {
  const status = text("/proc/self/status");
  const of = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) * 1024;
  return { pinnedBytes: of("VmPin"), lockedBytes: of("VmLck") };
}

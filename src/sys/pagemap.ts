/** Physical addresses of memory (Documentation/admin-guide/mm/pagemap.rst). For root only. */
import { closeSync, openSync, readSync } from "node:fs";
import { UnsupportedError } from "../core/errors.js";
import { fileText } from "./kernel-files.js";
import { PAGE_SIZE } from "./syscalls.js";

const PRESENT = 1n << 63n;
const FRAME = (1n << 55n) - 1n;
/** linux/kernel-page-flags.h: a page of hugetlbfs. */
const KPF_HUGE = 17n;

function readWords(path: string, first: number, count: number): BigUint64Array {
  const words = new BigUint64Array(count);
  const fd = openSync(path, "r");
  try {
    const bytes = new Uint8Array(words.buffer);
    for (let done = 0; done < bytes.length; ) {
      const n = readSync(fd, bytes, done, bytes.length - done, first * 8 + done);
      if (n === 0) throw new UnsupportedError(`${path} ends at entry ${first + done / 8}`);
      done += n;
    }
    return words;
  } finally {
    closeSync(fd);
  }
}

/**
 * Physical address of each page of [address, address + sizeBytes), all of which are in memory.
 * @throws UnsupportedError without CAP_SYS_ADMIN, or if a page isn't in memory
 */
export function physicalPages(address: number, sizeBytes: number): bigint[] {
  const entries = readWords("/proc/self/pagemap", address / PAGE_SIZE, sizeBytes / PAGE_SIZE);
  return Array.from(entries, (entry, i) => {
    const frame = entry & FRAME;
    if ((entry & PRESENT) === 0n || frame === 0n) {
      throw new UnsupportedError(
        (entry & PRESENT) === 0n
          ? `the page at 0x${(address + i * PAGE_SIZE).toString(16)} is not in memory`
          : "physical addresses are hidden from this process: it needs CAP_SYS_ADMIN",
      );
    }
    return frame * BigInt(PAGE_SIZE);
  });
}

/** Whether the kernel may move locked pages, by compaction or to another NUMA node. */
export function movesLockedPages(): boolean {
  const isOn = (path: string): boolean => (fileText(path) ?? "0") !== "0";
  return isOn("/proc/sys/vm/compact_unevictable_allowed") || isOn("/proc/sys/kernel/numa_balancing");
}

/** Whether the page at a physical address is an explicit huge page, which never moves. @throws UnsupportedError */
export function isHugePage(physicalAddress: bigint): boolean {
  const [flags = 0n] = readWords("/proc/kpageflags", Number(physicalAddress / BigInt(PAGE_SIZE)), 1);
  return ((flags >> KPF_HUGE) & 1n) === 1n;
}

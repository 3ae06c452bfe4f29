/** The kernel's pools of explicit huge pages (Documentation/admin-guide/mm/hugetlbpage.rst), and the huge pages of a range. */
import { readFileSync } from "node:fs";
import { kernelText } from "./kernel-files.js";

/** Sizes of explicit huge pages that are chosen without being asked for, smallest first. */
export const HUGE_PAGE_SIZES: readonly number[] = [2 ** 21, 2 ** 30];

function pool(pageBytes: number): string {
  return `/sys/kernel/mm/hugepages/hugepages-${pageBytes / 1024}kB`;
}

function numberIn(path: string): number | undefined {
  const text = kernelText(path);
  return text === undefined ? undefined : Number(text);
}

/** What to do if there are too few huge pages of this size. */
export function hugePageHint(pageBytes: number): string {
  const total = numberIn(`${pool(pageBytes)}/nr_hugepages`);
  if (total === undefined) return `this kernel has no huge pages of ${pageBytes} bytes`;
  const free = numberIn(`${pool(pageBytes)}/free_hugepages`) ?? 0;
  return (
    `${free} of ${total} huge pages of ${pageBytes} bytes are free; ` +
    `reserve more: echo N > ${pool(pageBytes)}/nr_hugepages`
  );
}

/** Size of a transparent huge page in bytes; undefined if the kernel has none. */
export function transparentHugePageBytes(): number | undefined {
  return numberIn("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
}

/** Bytes of [address, address + length) that transparent huge pages hold, as /proc/self/smaps counts them. */
export function transparentHugeBytes(address: number, length: number): number {
  let inside = false;
  let total = 0;
  for (const line of readFileSync("/proc/self/smaps", "utf8").split("\n")) {
    const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line) ?? [];
    if (start !== undefined && end !== undefined) {
      inside = Number.parseInt(start, 16) < address + length && Number.parseInt(end, 16) > address;
    } else if (inside) {
      const [, kib] = /^(?:AnonHugePages|ShmemPmdMapped): +(\d+) kB/.exec(line) ?? [];
      if (kib !== undefined) total += Number(kib) * 1024;
    }
  }
  return Math.min(total, length);
}

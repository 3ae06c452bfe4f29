/** Reads the page tables of an Intel IOMMU from debugfs. */
import { readFileSync } from "node:fs";

/** The page table entries that lead to one I/O virtual address, from the root down; 0n if there is none. */
export interface TableWalk {
  readonly pgd: bigint;
  readonly p4d: bigint;
  readonly pud: bigint;
  readonly pmd: bigint;
  readonly pte: bigint;
}

/**
 * Reads a function's page table for an address from debugfs, to confirm what a mapping call returned. Undefined if nothing
 * is mapped there.
 */
export function intelTableWalk(bdf: string, iova: bigint): TableWalk | undefined {
  const text = readFileSync(`/sys/kernel/debug/iommu/intel/${bdf}/domain_translation_struct`, "utf8");
  for (const line of text.split("\n")) {
    const numbers = line.match(/0x[0-9a-f]+/g)?.map(BigInt) ?? [];
    const [page, pgd = 0n, p4d = 0n, pud = 0n, pmd = 0n, pte = 0n] = numbers;
    if (line.startsWith("0x") && page === iova >> 12n) return { pgd, p4d, pud, pmd, pte };
  }
  return undefined;
}

import { readFileSync } from "node:fs";

/** The entries that lead to one I/O virtual address, from the root of the page table down; 0n where there is none. */
export interface TableWalk {
  readonly pgd: bigint;
  readonly p4d: bigint;
  readonly pud: bigint;
  readonly pmd: bigint;
  readonly pte: bigint;
}

/**
 * What the IOMMU's own page table of a function says of an address: the kernel shows it in debugfs, a second witness
 * beside the kernel's answer to a mapping call. Undefined where nothing leads there.
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

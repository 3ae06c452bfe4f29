/** Huge pages: pools by size and NUMA node, where they are mounted, transparent ones. */

import { parseMounts } from "./mounts.js";
import type { HostRoot } from "./root.js";

/** Pages of one size. */
export interface HugePagePool {
  /** Size of a page in bytes. */
  readonly pageBytes: number;
  /** Number of pages, used ones too. */
  readonly total: number;
  /** Number of pages that no mapping has. */
  readonly free: number;
  /** Promised to mappings that haven't touched them yet; these are among the free ones. */
  readonly reserved: number;
  /** The same on each NUMA node, by its number; empty without NUMA. */
  readonly nodes: readonly HugePagesOnNode[];
}

/** Pages of one size on one NUMA node. */
export interface HugePagesOnNode {
  /** Number of the node. */
  readonly node: number;
  /** Number of pages, used ones too. */
  readonly total: number;
  /** Number of pages that no mapping has. */
  readonly free: number;
}

/** Huge pages of a host. */
export interface HugePageFacts {
  /** By size, the smallest first. */
  readonly pools: readonly HugePagePool[];
  /** Where a hugetlbfs is mounted. */
  readonly mounts: readonly string[];
  /** `always`, `madvise` or `never`; undefined if the kernel has no transparent huge pages. */
  readonly transparent: string | undefined;
  /** The same for shared memory, which `DmaSpace.alloc` doesn't use. */
  readonly transparentShared: string | undefined;
}

/** The chosen word of an attribute like `always [madvise] never`. Never throws. */
export function chosenWord(text: string): string | undefined {
  const start = text.indexOf("[");
  const end = text.indexOf("]", start);
  return start < 0 || end < 0 ? undefined : text.slice(start + 1, end);
}

const POOLS = "/sys/kernel/mm/hugepages";
const NODES = "/sys/devices/system/node";
const TRANSPARENT = "/sys/kernel/mm/transparent_hugepage";

function sizes(root: HostRoot, folder: string): { readonly path: string; readonly pageBytes: number }[] {
  return root.names(folder).flatMap((name) => {
    const [, kib] = /^hugepages-(\d{1,12})kB$/.exec(name) ?? [];
    return kib === undefined ? [] : [{ path: `${folder}/${name}`, pageBytes: Number(kib) * 1024 }];
  });
}

function counts(root: HostRoot, path: string): { readonly total: number; readonly free: number } {
  return {
    total: root.number(`${path}/nr_hugepages`) ?? 0,
    free: root.number(`${path}/free_hugepages`) ?? 0,
  };
}

export function readHugePages(root: HostRoot): HugePageFacts {
  const nodes = root.names(NODES).flatMap((name) => {
    const [, node] = /^node(\d{1,6})$/.exec(name) ?? [];
    return node === undefined ? [] : [{ node: Number(node), folder: `${NODES}/${name}/hugepages` }];
  });
  return {
    pools: sizes(root, POOLS)
      .map(({ path, pageBytes }) => ({
        pageBytes,
        ...counts(root, path),
        reserved: root.number(`${path}/resv_hugepages`) ?? 0,
        nodes: nodes
          .flatMap(({ node, folder }) =>
            sizes(root, folder)
              .filter((each) => each.pageBytes === pageBytes)
              .map((each) => ({ node, ...counts(root, each.path) })),
          )
          .sort((a, b) => a.node - b.node),
      }))
      .sort((a, b) => a.pageBytes - b.pageBytes),
    mounts: parseMounts(root.text("/proc/self/mounts") ?? "")
      .filter(({ type }) => type === "hugetlbfs")
      .map(({ target }) => target),
    transparent: chosenWord(root.text(`${TRANSPARENT}/enabled`) ?? ""),
    transparentShared: chosenWord(root.text(`${TRANSPARENT}/shmem_enabled`) ?? ""),
  };
}

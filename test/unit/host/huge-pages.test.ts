/** Huge pages on a tree of files: shown, set, kept, mounted, and taken back. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { poolTable } from "../../../src/cli/host/hugepages.js";
import {
  type HugePageOptions,
  listHugePages,
  planHugePages,
  restoreChanges,
  setHugePages,
} from "../../../src/doors/host.js";
import { ArgumentError, UnsupportedError } from "../../../src/index.js";
import { type HostTree, hostTree, program, snapshot, type TreeFiles } from "../../support/host-tree.js";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

function pool(path: string, total: number): TreeFiles {
  return {
    [`${path}/nr_hugepages`]: `${total}\n`,
    [`${path}/free_hugepages`]: "3\n",
    [`${path}/resv_hugepages`]: "1\n",
  };
}

const files: TreeFiles = {
  ...pool("/sys/kernel/mm/hugepages/hugepages-2048kB", 8),
  ...pool("/sys/kernel/mm/hugepages/hugepages-1048576kB", 0),
  ...pool("/sys/devices/system/node/node0/hugepages/hugepages-2048kB", 5),
  ...pool("/sys/devices/system/node/node1/hugepages/hugepages-2048kB", 3),
  "/sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
  "/proc/meminfo": "MemTotal: 1 kB\nHugepagesize:       2048 kB\n",
  "/proc/self/mounts": "hugetlbfs /dev/hugepages hugetlbfs rw 0 0\n",
  "/run/systemd/system/": "",
  "/mnt/": "",
  "/etc/tmpfiles.d/": "",
  "/usr/bin/mkdir": program('/bin/mkdir ".$1"'),
  "/usr/bin/rmdir": program('/bin/rmdir ".$1"'),
  "/usr/bin/mount": program('echo "mount $*" >> calls'),
  "/usr/bin/umount": program('echo "umount $*" >> calls'),
};

function text(tree: HostTree, path: string): string {
  return readFileSync(join(tree.root.path, path), "utf8");
}

test("pools are shown by size and NUMA node", () => {
  using tree = hostTree(files);
  const pages = listHugePages({ root: tree.root.path });
  expect(pages).toMatchObject({ defaultPageBytes: 2 * MIB, mounts: ["/dev/hugepages"] });
  expect(
    pages.pools.map(({ pageBytes, total, free, reserved }) => ({ pageBytes, total, free, reserved })),
  ).toEqual([
    { pageBytes: 2 * MIB, total: 8, free: 3, reserved: 1 },
    { pageBytes: GIB, total: 0, free: 3, reserved: 1 },
  ]);
  expect(poolTable(pages).split("\n")).toEqual([
    "size  where   total  free  reserved",
    "----  ------  -----  ----  --------",
    "2M    all         8     3         1",
    "      node 0      5     3",
    "      node 1      3     3",
    "1G    all         0     3         1",
    "mounted: /dev/hugepages",
    "transparent: madvise",
  ]);
  expect(poolTable({ ...pages, pools: [], mounts: [] })).toMatch(
    /^this kernel shows no huge pages: it has none, or \/sys isn't mounted\nmounted: nowhere/,
  );
});

test("a number is set, kept for later starts and mounted, and all of it is taken back", async () => {
  using tree = hostTree(files);
  const root = tree.root.path;
  const before = snapshot(tree);
  const change = await setHugePages({ count: 512, persist: true, mount: "/mnt/huge", root });
  expect(change).toMatchObject({ purpose: "huge pages", state: "applied" });
  expect(text(tree, "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")).toBe("512\n");
  expect(text(tree, "/etc/tmpfiles.d/iova-hugepages-2048kB.conf")).toBe(
    "w /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages - - - - 512\n",
  );
  expect(existsSync(join(root, "mnt/huge"))).toBe(true);
  expect(text(tree, "/calls")).toBe("mount -t hugetlbfs -o pagesize=2097152 hugetlbfs /mnt/huge\n");
  expect((await restoreChanges({ root })).flatMap(({ left }) => left)).toEqual([]);
  expect(snapshot(tree)).toEqual(before);
  expect(text(tree, "/calls")).toMatch(/umount \/mnt\/huge\n$/);
});

test("a size and a node have their own file", async () => {
  using tree = hostTree(files);
  const root = tree.root.path;
  await setHugePages({ count: 9, node: 1, persist: true, root });
  const path = "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages";
  expect(text(tree, path)).toBe("9\n");
  expect(text(tree, "/etc/tmpfiles.d/iova-hugepages-2048kB-node1.conf")).toBe(`w ${path} - - - - 9\n`);
  await setHugePages({ count: 2, pageBytes: GIB, root });
  expect(text(tree, "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages")).toBe("2\n");
  expect(await setHugePages({ count: 2, pageBytes: GIB, root })).toBeUndefined();
  expect(await setHugePages({ mount: "/dev/hugepages", root })).toBeUndefined();
});

test("what this kernel or system lacks is an UnsupportedError, and wrong values are ArgumentErrors", () => {
  using tree = hostTree(files);
  using openrc = hostTree({
    ...pool("/sys/kernel/mm/hugepages/hugepages-2048kB", 8),
    "/proc/meminfo": "Hugepagesize: 2048 kB\n",
  });
  const at = (options: HugePageOptions) => () => planHugePages({ root: tree.root.path, ...options });
  expect(at({ count: 1, pageBytes: 4 * MIB })).toThrow(UnsupportedError);
  expect(at({ count: 1, node: 2 })).toThrow("there is no NUMA node 2: this host has 0, 1");
  expect(at({ count: 1, node: 0, pageBytes: GIB })).toThrow(UnsupportedError);
  expect(at({ count: 1, persist: true, root: openrc.root.path })).toThrow("persist needs systemd");
  expect(at({ count: 1, root: openrc.root.path })).not.toThrow();
  for (const wrong of [
    {},
    { persist: true, mount: "/mnt/a" },
    { node: 0, mount: "/mnt/a" },
    { count: -1 },
    { count: 1.5 },
  ])
    expect(at(wrong)).toThrow(ArgumentError);
  for (const mount of ["relative", "/a/../b", "/a b", "/a\nb", "/$HOME"])
    expect(at({ mount })).toThrow(ArgumentError);
});

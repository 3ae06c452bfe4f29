/** Huge pages: what is reserved, by size and NUMA node; how many there are to be, now and after a restart; where they are mounted. */
import { checkBoolean, checkInteger, checkKeys, checkString, show } from "../core/check.js";
import { ArgumentError, UnsupportedError } from "../core/errors.js";
import { checkSignal } from "../core/listeners.js";
import { append } from "../core/lists.js";
import { applySteps } from "./changes/apply.js";
import type { HostChange } from "./changes/changes.js";
import { placesOf, type RecordOptions } from "./changes/options.js";
import type { ChangeStep } from "./changes/steps.js";
import { readDistribution } from "./facts/distribution.js";
import { type HugePageFacts, type HugePagePool, readHugePages } from "./facts/huge-pages.js";
import { HostRoot } from "./facts/root.js";

/** Options of {@link setHugePages}. */
export interface HugePageOptions extends RecordOptions {
  /** How many pages there are to be, free and used ones; those of all nodes if there is no {@link node}. Unchanged by default. */
  readonly count?: number | undefined;
  /** Size of a page in bytes; the kernel's default size by default, which is 2 MiB on x86. */
  readonly pageBytes?: number | undefined;
  /** Number of a NUMA node; by default the kernel spreads the pages over all. */
  readonly node?: number | undefined;
  /** Absolute path of a folder to mount a hugetlbfs on; it is made if it doesn't exist. */
  readonly mount?: string | undefined;
  /** Also reserve them at every start of the machine. */
  readonly persist?: boolean | undefined;
  /** Gives up between two steps. */
  readonly signal?: AbortSignal | undefined;
}

/** Huge pages of this host. */
export interface HugePages extends HugePageFacts {
  /** Size in bytes of the pages that programs get who don't ask for a size; undefined if the kernel has no huge pages. */
  readonly defaultPageBytes: number | undefined;
}

/**
 * Reads what huge pages there are.
 * @throws ArgumentError
 */
export function listHugePages(options: Pick<RecordOptions, "root"> = {}): HugePages {
  checkKeys("options", options, ["root"]);
  const host = new HostRoot(placesOf(options).root);
  const [, kib] = /^Hugepagesize:\s+(\d{1,12}) kB$/m.exec(host.text("/proc/meminfo") ?? "") ?? [];
  return { ...readHugePages(host), defaultPageBytes: kib === undefined ? undefined : Number(kib) * 1024 };
}

const MAX_PAGES = 2 ** 32;
/** Of a mount point: neither the shell nor the kernel's list of mounts writes it in another way. */
const FOLDER = /^\/[\w./-]{1,200}$/;

/**
 * Says what would reserve or mount huge pages, for `applySteps`.
 * @throws ArgumentError: wrong values; UnsupportedError: this kernel lacks the size or the node, or this system has no means for `persist`
 */
export function planHugePages(options: HugePageOptions): ChangeStep[] {
  checkKeys("options", options, [
    "root",
    "record",
    "count",
    "pageBytes",
    "node",
    "mount",
    "persist",
    "signal",
  ]);
  const { count, node, mount, persist = false } = options;
  checkBoolean("persist", persist);
  if (count !== undefined) checkInteger("count", count, 0, MAX_PAGES);
  if (count === undefined && (mount === undefined || persist || node !== undefined))
    throw new ArgumentError(
      `count must be a number of pages${persist ? ", which persist keeps" : ""}, got ${show(count)}`,
    );
  const { root } = placesOf(options);
  const host = new HostRoot(root);
  const pages = listHugePages({ root });
  const { pageBytes = pages.defaultPageBytes } = options;
  const pool = pages.pools.find(
    (each) => each.pageBytes === checkInteger("pageBytes", pageBytes ?? 0, 0, 2 ** 50),
  );
  if (pool === undefined) {
    const sizes = pages.pools.map((each) => each.pageBytes).join(", ");
    throw new UnsupportedError(
      `this kernel shows no huge pages of ${pageBytes} bytes: it has ${sizes || "none, or /sys isn't mounted"}`,
    );
  }
  const path = poolPath(pool, node);
  const steps: ChangeStep[] = [];
  if (count !== undefined) steps.push({ kind: "attribute", path, value: String(count) });
  if (count !== undefined && persist) steps.push(atStart(host, path, pool, node, count));
  if (mount !== undefined) append(steps, mountSteps(host, pages, pool, checkString("mount", mount)));
  return steps;
}

function sizeName({ pageBytes }: HugePagePool): string {
  return `hugepages-${pageBytes / 1024}kB`;
}

/** The kernel's file with the number of pages. @throws ArgumentError, UnsupportedError */
function poolPath(pool: HugePagePool, node: number | undefined): string {
  if (node === undefined) return `/sys/kernel/mm/hugepages/${sizeName(pool)}/nr_hugepages`;
  checkInteger("node", node, 0, 0xffff);
  if (!pool.nodes.some((each) => each.node === node)) {
    const nodes = pool.nodes.map((each) => each.node).join(", ");
    throw new UnsupportedError(`there is no NUMA node ${node}: this host has ${nodes || "none"}`);
  }
  return `/sys/devices/system/node/node${node}/hugepages/${sizeName(pool)}/nr_hugepages`;
}

/** tmpfiles.d(5): systemd writes the number early at each start, for any size and node. @throws UnsupportedError */
function atStart(
  host: HostRoot,
  path: string,
  pool: HugePagePool,
  node: number | undefined,
  count: number,
): ChangeStep {
  if (readDistribution(host).init !== "systemd") {
    throw new UnsupportedError(
      `persist needs systemd; here, write ${count} to ${path} in a script that runs at each start, such as one in /etc/local.d`,
    );
  }
  const where = node === undefined ? "" : `-node${node}`;
  const content = `w ${path} - - - - ${count}\n`;
  return { kind: "file", path: `/etc/tmpfiles.d/iova-${sizeName(pool)}${where}.conf`, content };
}

/** @throws ArgumentError */
function mountSteps(host: HostRoot, { mounts }: HugePages, pool: HugePagePool, folder: string): ChangeStep[] {
  if (!FOLDER.test(folder) || folder.split("/").some((part) => part === ".." || part === "."))
    throw new ArgumentError(
      `mount must be an absolute path of letters, digits, "_", "-" and ".", got ${show(folder)}`,
    );
  if (mounts.includes(folder)) return [];
  const make: ChangeStep = { kind: "command", argv: ["mkdir", folder], undo: ["rmdir", folder] };
  const type = ["-t", "hugetlbfs", "-o", `pagesize=${pool.pageBytes}`];
  return [
    ...(host.exists(folder) ? [] : [make]),
    { kind: "command", argv: ["mount", ...type, "hugetlbfs", folder], undo: ["umount", folder] },
  ];
}

/**
 * Reserves huge pages, and mounts them, which needs root. If the kernel finds fewer free pages than it should, everything is as before.
 * `restoreChanges` takes it back.
 * @returns the change; undefined if everything was so already
 * @throws as a rejection: as planHugePages() and applySteps()
 */
export async function setHugePages(options: HugePageOptions): Promise<HostChange | undefined> {
  const { root, record } = options;
  const signal = checkSignal(options.signal);
  return await applySteps(planHugePages(options), {
    root,
    record,
    purpose: "huge pages",
    about: ["huge-pages"],
    signal,
  });
}

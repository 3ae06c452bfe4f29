/** How the PCI functions of a host hang together: root complexes, bridges, IOMMU groups, as sysfs tells it. */
import { join } from "node:path";
import { largestOf } from "../../core/lists.js";
import type { PciFunction } from "../../pci/sysfs.js";
import { kernelLinkName, kernelNames, kernelRealPath, kernelText } from "../../sys/kernel-files.js";

/** A function, with what is behind it if it is a bridge. */
export interface TreeFunction
  extends Pick<
    PciFunction,
    "bdf" | "vendorId" | "deviceId" | "classCode" | "driver" | "iommuGroup" | "physicalFunction"
  > {
  /** What uses the function, in words. */
  readonly inUse: readonly string[];
  /** Buses behind a bridge, such as `0000:01`. */
  readonly buses: readonly string[];
  readonly functions: readonly TreeFunction[];
}

/** A root complex, or another start of a PCI hierarchy. */
export interface RootComplex {
  /** Domain and bus, such as `0000:00`. */
  readonly name: string;
  readonly functions: readonly TreeFunction[];
}

/** The PCI functions of a host. */
export interface Topology {
  readonly roots: readonly RootComplex[];
}

const BDF = /^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/;

/** A function while the tree grows. */
interface Node extends TreeFunction {
  readonly functions: Node[];
}

/**
 * Reads a host's topology. A function that is removed meanwhile is left out.
 * @param inUse what uses a function, in words
 * @param sysfs where sysfs is mounted
 */
export function readTopology(inUse: (bdf: string) => readonly string[], sysfs = "/sys"): Topology {
  const devices = join(sysfs, "bus/pci/devices");
  const nodes = new Map<string, Node>();
  const roots = new Map<string, Node[]>();
  for (const { bdf, chain } of placesIn(devices)) {
    const node = readNode(devices, bdf, inUse);
    if (node === undefined) continue;
    nodes.set(bdf, node);
    const parent = chain.at(-2);
    const siblings = parent === undefined ? undefined : nodes.get(parent)?.functions;
    if (siblings !== undefined) siblings.push(node);
    else {
      // The first bus of the hierarchy.
      const root = (chain[0] ?? bdf).replace(/:[^:]*$/, "");
      roots.set(root, [...(roots.get(root) ?? []), node]);
    }
  }
  return { roots: [...roots].sort(byName).map(([name, functions]) => ({ name, functions })) };
}

/** Where each function is: the functions above it and itself. Those above come first. */
function placesIn(devices: string): { readonly bdf: string; readonly chain: readonly string[] }[] {
  const places = (kernelNames(devices) ?? []).flatMap((bdf) => {
    const path = kernelRealPath(join(devices, bdf));
    return path === undefined ? [] : [{ bdf, chain: path.split("/").filter((name) => BDF.test(name)) }];
  });
  return places.sort((a, b) => a.chain.length - b.chain.length || (a.bdf < b.bdf ? -1 : 1));
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}

function readNode(devices: string, bdf: string, inUse: (bdf: string) => readonly string[]): Node | undefined {
  const path = join(devices, bdf);
  const number = (file: string): number => Number(kernelText(join(path, file)) ?? 0);
  const group = kernelLinkName(join(path, "iommu_group"));
  const users = (): readonly string[] => {
    try {
      return inUse(bdf);
    } catch {
      // It has gone.
      return [];
    }
  };
  const node: Node = {
    bdf,
    vendorId: number("vendor"),
    deviceId: number("device"),
    classCode: number("class"),
    driver: kernelLinkName(join(path, "driver")),
    iommuGroup: group === undefined || !/^\d+$/.test(group) ? undefined : Number(group),
    physicalFunction: kernelLinkName(join(path, "physfn")),
    inUse: users(),
    buses: kernelNames(join(path, "pci_bus")) ?? [],
    functions: [],
  };
  return kernelText(join(path, "vendor")) === undefined ? undefined : node;
}

/** A function in the order in which a tree is drawn, and how many bridges are above it. */
export interface TreeRow {
  readonly fn: TreeFunction;
  readonly depth: number;
  /** Whether it is the last of its bus; then the same of the bridges above it, from the root on. */
  readonly isLast: readonly boolean[];
}

/** The functions of a root, in the order of drawing. */
export function rowsOf(functions: readonly TreeFunction[], above: readonly boolean[] = []): TreeRow[] {
  return functions.flatMap((fn, index) => {
    const isLast = [...above, index === functions.length - 1];
    return [{ fn, depth: above.length, isLast }, ...rowsOf(fn.functions, isLast)];
  });
}

/** IOMMU groups and their functions, by number. */
export function groupsOf({ roots }: Topology): Map<number, TreeFunction[]> {
  const groups = new Map<number, TreeFunction[]>();
  for (const { fn } of roots.flatMap(({ functions }) => rowsOf(functions))) {
    if (fn.iommuGroup !== undefined) groups.set(fn.iommuGroup, [...(groups.get(fn.iommuGroup) ?? []), fn]);
  }
  return new Map([...groups].sort(([a], [b]) => a - b));
}

/** Whether a function is a bridge, as far as its class and what is behind it say. */
export function isBridge({ classCode, functions, buses }: TreeFunction): boolean {
  return classCode >>> 16 === 6 || functions.length > 0 || buses.length > 0;
}

/** Levels of the deepest function of a topology; 0 if all are on their root's bus. */
export function depthOf({ roots }: Topology): number {
  return largestOf(
    roots.flatMap(({ functions }) => rowsOf(functions).map(({ depth }) => depth)),
    0,
  );
}

/** Placement: of memory on NUMA nodes by mbind(2) and get_mempolicy(2), of threads on processors by sched_setaffinity(2). */
import { checkInteger } from "../core/check.js";
import { ArgumentError, SysError, UnsupportedError } from "../core/errors.js";
import { fileText } from "./kernel-files.js";
import { c, lastErrno } from "./libc.js";

const MPOL_BIND = 2;
const MPOL_MF_STRICT = 1;
const MPOL_F_NODE = 1;
const MPOL_F_ADDR = 2;
const MAX_NODES = 1024;

interface SystemCalls {
  readonly mbind: number;
  readonly getMempolicy: number;
}

/** asm-generic/unistd.h */
const generic: SystemCalls = { mbind: 235, getMempolicy: 236 };
const numbers: Readonly<Record<string, SystemCalls>> = {
  x64: { mbind: 237, getMempolicy: 239 },
  arm64: generic,
  riscv64: generic,
  loong64: generic,
};

/** Nodes with memory, as the kernel lists them; empty if it has no NUMA support. */
export function numaNodes(): number[] {
  const list = fileText("/sys/devices/system/node/has_memory");
  if (list === undefined) return [];
  return list.split(",").flatMap((part) => {
    const [first = Number.NaN, last = first] = part.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

/** @throws ArgumentError: no such node, or none with memory */
export function checkNumaNode(node: number): number {
  checkInteger("numaNode", node, 0, MAX_NODES - 1);
  const nodes = numaNodes();
  if (!nodes.includes(node)) {
    throw new ArgumentError(
      nodes.length === 0
        ? "this kernel has no NUMA nodes: leave numaNode out"
        : `there is no memory on NUMA node ${node}: nodes with memory are ${nodes.join(", ")}`,
    );
  }
  return node;
}

/** Makes the kernel take a range's future pages only from `node`. @throws SysError, UnsupportedError */
export function bindToNode(address: number, length: number, node: number): void {
  const mask = new BigUint64Array(MAX_NODES / 64);
  mask[node >> 6] = 1n << BigInt(node & 63);
  const mbind = numbers[process.arch]?.mbind;
  if (mbind === undefined) {
    throw new UnsupportedError(`numaNode isn't supported on ${process.arch}: leave it out`);
  }
  // The kernel subtracts one from maxnode.
  if (c().mbind(mbind, address, length, MPOL_BIND, mask, MAX_NODES + 1, MPOL_MF_STRICT) < 0) {
    throw new SysError("mbind", lastErrno(), { object: `${length} bytes of memory to NUMA node ${node}` });
  }
}

/** The node of the page at `address`; undefined if it can't be learnt here. Faults the page in. */
export function nodeOf(address: number): number | undefined {
  const getMempolicy = numbers[process.arch]?.getMempolicy;
  if (getMempolicy === undefined) return undefined;
  const node = new Int32Array(1);
  const result = c().getMempolicy(getMempolicy, node, null, 0, address, MPOL_F_NODE | MPOL_F_ADDR);
  return result < 0 ? undefined : node[0];
}

/** The C library's cpu_set_t has as many. */
const MAX_CPUS = 1024;

/**
 * Checks that threads of this process can be kept on processors, by a moment on each of them.
 * @throws ArgumentError: there is no such processor, or not for this process; SysError
 */
export function checkProcessors(cpus: readonly number[]): void {
  if (cpus.length === 0) return;
  const before = new Uint8Array(MAX_CPUS / 8);
  if (c().schedGetaffinity(0, before.length, before) < 0)
    throw new SysError("sched_getaffinity", lastErrno());
  try {
    for (const cpu of cpus) tryProcessor(cpu);
  } finally {
    c().schedSetaffinity(0, before.length, before);
  }
}

function tryProcessor(cpu: number): void {
  try {
    pinThread(cpu);
  } catch (error) {
    if (!(error instanceof SysError) || error.code !== "EINVAL") throw error;
    const online = fileText("/sys/devices/system/cpu/online")?.trim();
    throw new ArgumentError(
      `there is no processor ${cpu} for this process: ${online} are online, and its cpuset may have fewer`,
      { cause: error },
    );
  }
}

/** Keeps this thread on a processor from now on. @throws ArgumentError, SysError: EINVAL if there is no such processor for it */
export function pinThread(cpu: number): void {
  checkInteger("cpu", cpu, 0, MAX_CPUS - 1);
  const mask = new Uint8Array(MAX_CPUS / 8);
  mask[cpu >> 3] = 1 << (cpu & 7);
  if (c().schedSetaffinity(0, mask.length, mask) < 0) {
    throw new SysError("sched_setaffinity", lastErrno(), { object: `a thread to processor ${cpu}` });
  }
}

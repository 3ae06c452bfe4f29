/**
 * Maps pages when a device asks for them, instead of pinning everything in advance. Needs an IOMMU and a device that support
 * page requests (PRI) or stalls.
 */

import type { MappedMemory } from "iova";
import type { DevicePageTables, FaultQueue, PagingHwpt } from "iova/iommufd";

const PAGE = 4096n;

/**
 * Lets a device ask for pages: from now on it translates by a table with a queue of its page requests.
 * @param tables those of a PciDevice: `device.pageTables`
 * @returns close the table first, after something else was attached
 */
export function attachWithFaults(tables: DevicePageTables): { faults: FaultQueue; table: PagingHwpt } {
  const faults = tables.allocFaultQueue();
  const table = tables.alloc({ faultQueue: faults });
  tables.attach(table);
  return { faults, table };
}

/**
 * Answers page requests until the queue is closed. Maps pages of `memory` for requests inside the window, and refuses
 * others.
 * @param windowStart I/O virtual address of the first byte of `memory`
 * @returns how many pages were mapped
 */
export async function serveFaults(
  { ioas }: DevicePageTables,
  faults: FaultQueue,
  memory: MappedMemory,
  windowStart: bigint,
): Promise<number> {
  const mapped = new Set<bigint>();
  for await (const group of faults) {
    let inside = true;
    for (const { address } of group.requests) {
      const page = address - (address % PAGE);
      const offset = page - windowStart;
      if (offset < 0n || offset >= BigInt(memory.sizeBytes)) {
        inside = false;
        continue;
      }
      if (mapped.has(page)) continue;
      ioas.map({ address: memory.address + Number(offset), sizeBytes: Number(PAGE) }, { iova: page });
      mapped.add(page);
    }
    // The device waits for this response.
    group.respond(inside ? "success" : "invalid");
  }
  return mapped.size;
}

/** Reachability logs: all namespaces of the subsystem reach each other, as Copy between them shows. */
import { reachabilityDescriptor, reachabilityHeader } from "../../../nvme/spec/log-pages.js";
import { LogPageId } from "../../../nvme/spec/opcodes.js";
import type { Inventory } from "./inventory.js";

/** The only reachability group, and the only association. */
export const REACHABILITY_GROUP = 1;
const ASSOCIATION = 1;

interface PageCommand {
  cdw(index: number): number;
}

/** The log pages Reachability Groups and Reachability Associations. */
export function reachabilityLogs(
  command: PageCommand,
  inventory: Inventory,
): { readonly logPages: Readonly<Record<number, { page(): Uint8Array }>> } {
  const page = (id: number, ids: readonly number[]): Uint8Array => {
    // LSP: descriptors only.
    const listed = ((command.cdw(10) >>> 8) & 1) === 1 ? [] : ids;
    return Buffer.concat([
      reachabilityHeader.encode({ descriptors: 1 }),
      reachabilityDescriptor.encode({ id, members: ids.length }),
      new Uint8Array(Uint32Array.from(listed).buffer),
    ]);
  };
  return {
    logPages: {
      [LogPageId.reachabilityGroups]: {
        page: () =>
          page(
            REACHABILITY_GROUP,
            inventory.all.filter(({ attached }) => attached).map(({ nsid }) => nsid),
          ),
      },
      [LogPageId.reachabilityAssociations]: { page: () => page(ASSOCIATION, [REACHABILITY_GROUP]) },
    },
  };
}

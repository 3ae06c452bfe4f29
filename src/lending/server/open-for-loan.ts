/** Opens a function's nodes for a client. The client binds and attaches, so the kernel charges its pinned memory to it. */
import { BusyError, IovaError, UnsupportedError } from "../../core/errors.js";
import { closeAll } from "../../core/lifetime/close-all.js";
import type { Resource } from "../../core/lifetime/resource.js";
import { Iommufd } from "../../iommufd/iommufd.js";
import { findPciFunction } from "../../pci/sysfs.js";
import { holdersText, vfioHolders } from "../../pci/usage/holders.js";
import { isVfioBound } from "../../pci/vfio-driver.js";
import { VfioDevice } from "../../vfio/device.js";
import { VfioContainer } from "../../vfio-legacy/container.js";
import { VfioGroup } from "../../vfio-legacy/group.js";
import { type LentBackend, lentBackends } from "../messages.js";

/** Nodes of a function. */
export interface OpenedNodes {
  readonly backend: LentBackend;
  /** In the order in which the client expects them. */
  readonly fds: readonly number[];
  /** Closes this process's descriptors. */
  close(): void;
}

const ways: Readonly<Record<LentBackend, readonly ((bdf: string) => Resource & { readonly fd: number })[]>> =
  {
    iommufd: [(bdf) => VfioDevice.openCdev(bdf), () => Iommufd.open()],
    type1: [(bdf) => VfioGroup.openFor(bdf), () => VfioContainer.open()],
  };

/**
 * A function that isn't there yet may come.
 * @throws UnsupportedError if no VFIO driver has a function: every client would be refused
 */
export function assertLendable(bdf: string): void {
  const found = findPciFunction(bdf);
  if (found === undefined || isVfioBound(bdf)) return;
  const who = found.driver === undefined ? "no driver has it" : `the kernel's driver ${found.driver} has it`;
  throw new UnsupportedError(`${bdf} can't be lent: ${who}. Bind it to vfio-pci first: iova bind ${bdf}`);
}

/**
 * Opens what a backend needs, or what the first that works needs.
 * @param hasGroup whether the client has the function's group open: the kernel opens that once, so there is nothing more to pass
 * @throws BusyError if another process has the function open; as VfioDevice.openCdev(), Iommufd.open(), VfioGroup.openFor() and
 *   VfioContainer.open()
 */
export function openForLoan(bdf: string, wanted: LentBackend | undefined, hasGroup: boolean): OpenedNodes {
  if (hasGroup) return { backend: "type1", fds: [], close: () => {} };
  const holders = vfioHolders(bdf);
  if (holders.length > 0) throw new BusyError(`${bdf} is open in ${holdersText(holders)}`);
  if (wanted !== undefined) return opened(bdf, wanted);
  const reasons: string[] = [];
  for (const backend of lentBackends) {
    try {
      return opened(bdf, backend);
    } catch (error) {
      if (!(error instanceof IovaError)) throw error;
      reasons.push(`${backend}: ${error.message}`);
    }
  }
  throw new UnsupportedError(`the server can't open ${bdf}. ${reasons.join("; ")}`);
}

function opened(bdf: string, backend: LentBackend): OpenedNodes {
  const nodes: (Resource & { readonly fd: number })[] = [];
  const close = (): void => closeAll(nodes, `closing the nodes of ${bdf}`);
  try {
    for (const open of ways[backend]) nodes.push(open(bdf));
    return { backend, fds: nodes.map(({ fd }) => fd), close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Opens a function that a server lends (`iova serve`). */
import { ArgumentError, BusyError } from "../../core/errors.js";
import { Loan } from "../../lending/borrow.js";
import { type LentBackend, lentBackends } from "../../lending/messages.js";
import { type GivenJoinableMapper, groupsOf, type JoinedDevice } from "../../vfio/joinable.js";
import { groupOf } from "../../vfio-legacy/group.js";
import type { OpenedBackend } from "./backend.js";
import { joinByNode, openGiven } from "./given.js";

/**
 * Borrows a function, and has it join an address space. The loan ends when it closes.
 * @throws ArgumentError (a space whose functions can't be lent), BusyError (its group is in another space), and as Loan.of() and joinByNode(), with nothing left open
 */
export function joinLent(
  bdf: string,
  token: string | undefined,
  socket: string,
  mapper: GivenJoinableMapper,
): JoinedDevice & { readonly loan: Loan } {
  const loan = Loan.of({ socket, bdf }, lendable(mapper.name));
  try {
    // The space has an iommufd or a container: the one that was lent besides closes with the loan.
    const [node] = loan.fds ?? [];
    if (node !== undefined) return { ...joinByNode(bdf, token, node, mapper), loan };
    if (!hasGroup(mapper, bdf)) throw inOtherSpace(bdf);
    return { ...mapper.attach(bdf, token), loan };
  } catch (error) {
    loan.close();
    throw error;
  }
}

function hasGroup(mapper: GivenJoinableMapper, bdf: string): boolean {
  const number = groupOf(bdf);
  return groupsOf(mapper).some((group) => group.number === number);
}

function inOtherSpace(bdf: string): BusyError {
  return new BusyError(
    `this process has ${bdf}'s IOMMU group in another DMA space: open it with { dma } of the device there`,
  );
}

/** @throws ArgumentError */
function lendable(wanted: string): LentBackend {
  const backend = lentBackends.find((name) => name === wanted);
  if (backend !== undefined) return backend;
  throw new ArgumentError(`a function is lent for ${lentBackends.join(" or ")}, not for ${wanted}`);
}

/**
 * Borrows a function, and opens it with an address space of its own. The loan ends when it closes.
 * @param socket path of the server's
 * @throws ArgumentError (a backend that can't be lent), BusyError (its group is in another DMA space of this process), and as Loan.of() and openGiven(), with nothing left open
 */
export function openLent(
  bdf: string,
  token: string | undefined,
  socket: string,
  wanted: string | undefined,
): OpenedBackend & { readonly name: "iommufd" | "type1" } {
  const backend = wanted === undefined ? undefined : lendable(wanted);
  const loan = Loan.of({ socket, bdf }, backend);
  try {
    if (loan.fds === undefined) throw inOtherSpace(bdf);
    const [one, other] = loan.fds;
    const descriptors =
      loan.backend === "iommufd" ? { device: one, iommufd: other } : { group: one, container: other };
    const result = openGiven(bdf, token, descriptors);
    loan.taken();
    return { ...result, resources: [...result.resources, loan] };
  } catch (error) {
    loan.close();
    throw error;
  }
}

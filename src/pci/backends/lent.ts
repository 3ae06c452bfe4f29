/** Opens a function that a server lends (`iova serve`). */
import { ArgumentError } from "../../core/errors.js";
import { Loan } from "../../lending/borrow.js";
import { lentBackends } from "../../lending/messages.js";
import type { OpenedBackend } from "./backend.js";
import { openGiven } from "./given.js";

/**
 * Borrows a function, and opens it with an address space of its own. The loan ends when it closes.
 * @param socket path of the server's
 * @throws ArgumentError (a backend that can't be lent), and as Loan.of() and openGiven(), with nothing left open
 */
export function openLent(
  bdf: string,
  token: string | undefined,
  socket: string,
  wanted: string | undefined,
): OpenedBackend & { readonly name: "iommufd" | "type1" } {
  const backend = lentBackends.find((name) => name === wanted);
  if (backend === undefined && wanted !== undefined)
    throw new ArgumentError(`a function is lent for ${lentBackends.join(" or ")}, not for ${wanted}`);
  const loan = Loan.of({ socket, bdf }, backend);
  try {
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

/** Security Send and Receive, as protocols of several commands use them. */
import type { AdminTarget } from "./admin-target.js";

/** A security protocol (SECP), with what is specific to it: SPSP, and NSSF where it has a meaning. */
interface Protocol {
  readonly protocol: number;
  readonly specific: number;
  readonly nssf?: number;
}

/** What protocols need of {@link NvmeSecurity}. */
export interface SecurityChannel {
  send(protocol: Protocol, data: Uint8Array): Promise<void>;
  receive(protocol: Protocol, sizeBytes: number): Promise<Uint8Array>;
}

/** A response belongs to the last request of any program part: one exchange at a time on a controller. */
export class Turns {
  private readonly last = new WeakMap<AdminTarget, Promise<unknown>>();

  /** Does the work after that which others have begun, whatever became of it. */
  async take<T>(of: AdminTarget, work: () => Promise<T>): Promise<T> {
    const mine = (this.last.get(of) ?? Promise.resolve()).then(work, work);
    this.last.set(of, mine);
    return await mine;
  }
}

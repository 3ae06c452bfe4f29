/**
 * Lifetimes of kernel resources.
 *
 * A {@link Lease} is the obligation to give something back; it knows who depends on it and never refers to the
 * object the user holds. A {@link Resource} is that object. The split lets the garbage collector take a
 * forgotten Resource while its Lease, still held by the parent's, releases in the right order.
 */
import { BusyError, ClosedError } from "./errors.js";

/** Holders beyond this thread: they may come and go at any moment, so asking and locking them out is one step. */
export interface ForeignHolders {
  /** How many there are at this moment. */
  count(): number;
  /** Lets no new holder in. @returns how many there are; where any, nothing was locked */
  lock(): number;
  /** Undoes lock(). */
  unlock(): void;
}

export class Lease {
  private readonly dependents = new Set<Lease>();
  private readonly parents = new Set<Lease>();
  private holdCount = 0;
  private lastHolder = "";
  private foreign: ForeignHolders | undefined;
  private isClosing = false;
  private isClosed = false;

  /**
   * @param label names the resource in errors and warnings, e.g. `ioas 3 of /dev/iommu`
   * @param release gives the resource back; runs once, after all dependents; must not refer to the Resource
   */
  constructor(
    readonly label: string,
    private readonly release: () => void,
    ...parents: Lease[]
  ) {
    for (const parent of parents) this.dependOn(parent);
  }

  get closed(): boolean {
    return this.isClosed;
  }

  /** Whether close() has begun: what depends on it is being closed, or all of it is. */
  get closing(): boolean {
    return this.isClosing;
  }

  /** From now on closing `parent` closes this first. @throws ClosedError where the parent is closed */
  dependOn(parent: Lease): void {
    if (parent.isClosing) throw new ClosedError(parent.label);
    this.parents.add(parent);
    parent.dependents.add(this);
  }

  assertOpen(): void {
    if (this.isClosed) throw new ClosedError(this.label);
  }

  /** Refuses close() until {@link drop} was called as often. Two plain stores: it stands on the I/O path. */
  hold(holder: string): void {
    this.assertOpen();
    this.holdCount++;
    this.lastHolder = holder;
  }

  drop(): void {
    this.holdCount--;
  }

  /** From now on close() is refused while other threads hold it, too. */
  setForeignHolders(foreign: ForeignHolders): void {
    this.foreign = foreign;
  }

  /** @throws BusyError naming the latest holder found here or below, before anything is closed */
  assertIdle(): void {
    if (this.holdCount > 0) {
      throw new BusyError(
        `${this.label} can't be closed: ${this.lastHolder} uses it (${this.holdCount} in flight)`,
      );
    }
    this.refuseForeign(this.foreign?.count() ?? 0);
    for (const dependent of this.dependents) dependent.assertIdle();
  }

  /**
   * As {@link assertIdle}, and no other thread can begin to hold anything here or below from now on: for who closes in
   * several steps. close() has to follow.
   * @throws BusyError with nothing locked
   */
  lockIdle(): void {
    this.assertIdle();
    this.lockForeign();
  }

  private refuseForeign(holders: number): void {
    if (holders > 0) {
      throw new BusyError(`${this.label} can't be closed: other threads use it (${holders} holds)`);
    }
  }

  /**
   * Closes all dependents, newest first, then this. Safe to repeat. Whatever fails, everything is attempted.
   * @throws BusyError with nothing done, or what the releases threw
   */
  close(): void {
    if (this.isClosing) return;
    this.lockIdle();
    const errors: unknown[] = [];
    this.closeInto(errors);
    if (errors.length === 1) throw errors[0];
    if (errors.length > 1)
      throw new AggregateError(errors, `closing ${this.label} failed in ${errors.length} places`);
  }

  /** @throws BusyError with nothing locked */
  private lockForeign(): void {
    this.refuseForeign(this.foreign?.lock() ?? 0);
    const locked: Lease[] = [];
    try {
      for (const dependent of this.dependents) {
        if (!dependent.isClosing) dependent.lockForeign();
        locked.push(dependent);
      }
    } catch (error) {
      for (const lease of locked) lease.unlockForeign();
      this.foreign?.unlock();
      throw error;
    }
  }

  private unlockForeign(): void {
    if (this.isClosing) return;
    this.foreign?.unlock();
    for (const dependent of this.dependents) dependent.unlockForeign();
  }

  private closeInto(errors: unknown[]): void {
    if (this.isClosing) return;
    this.isClosing = true;
    // Still open to them: a dependent may need this object for its release.
    for (const dependent of [...this.dependents].reverse()) dependent.closeInto(errors);
    this.isClosed = true;
    try {
      this.release();
    } catch (error) {
      errors.push(error);
    }
    for (const parent of this.parents) parent.dependents.delete(this);
    this.parents.clear();
  }
}

function throwCollected(errors: readonly unknown[], what: string): void {
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw new AggregateError(errors, `${what} failed in ${errors.length} places`);
}

/** Closes these in order; whatever fails, all are attempted. @throws what the closes threw */
export function closeAll(closeables: readonly { close(): void }[], what: string): void {
  const errors: unknown[] = [];
  for (const closeable of closeables) {
    try {
      closeable.close();
    } catch (error) {
      errors.push(error);
    }
  }
  throwCollected(errors, what);
}

const forgotten = new FinalizationRegistry<{ lease: Lease; site: string | undefined }>(({ lease, site }) => {
  if (lease.closed) return;
  process.emitWarning(`${lease.label} was never closed; released at garbage collection`, {
    type: "IovaResourceWarning",
    code: "IOVA_FORGOTTEN",
    ...(site === undefined ? {} : { detail: `created at\n${site}` }),
  });
  try {
    lease.close();
  } catch (error) {
    process.emitWarning(error instanceof Error ? error : String(error), { type: "IovaResourceWarning" });
  }
});

/** Base of every object that holds something of the kernel's. Works with `using`; closing twice is fine. */
export abstract class Resource implements Disposable {
  /** Not part of the public API: how this object's lifetime is tied to others. */
  readonly lease: Lease;
  /** Objects that must not be collected before this one: their leases end with them. */
  private readonly kept = new Set<object>();

  /** @param site where the object was made, for the warning when it is forgotten (costs a stack trace) */
  protected constructor(lease: Lease, site?: string) {
    this.lease = lease;
    forgotten.register(this, { lease, site }, lease);
  }

  get closed(): boolean {
    return this.lease.closed;
  }

  /** Releases this and all that depends on it. @throws BusyError while something is in flight */
  close(): void {
    this.lease.close();
    forgotten.unregister(this.lease);
    this.kept.clear();
  }

  /** Not part of the public API: keeps `parent` from being collected before this object. */
  keep(parent: object): void {
    this.kept.add(parent);
  }

  /** Hands the duty to close over to whoever asks: no warning any more when this object is collected. */
  entrust(): Lease {
    forgotten.unregister(this.lease);
    return this.lease;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

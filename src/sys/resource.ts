/**
 * Lifetimes of kernel resources.
 *
 * A {@link Lease} is the obligation to give something back; it knows who depends on it and never refers to the
 * object the user holds. A {@link Resource} is that object. The split lets the garbage collector take a
 * forgotten Resource while its Lease, still held by the parent's, releases in the right order.
 */
import { BusyError, ClosedError } from "./errors.js";

/** That one lease depends on another: a node in the list of the parent's dependents, oldest first. */
class Dependence {
  before: Dependence | undefined;
  after: Dependence | undefined = undefined;

  constructor(
    readonly dependent: Lease,
    readonly parent: Lease,
    /** What else the dependent depends on. */
    readonly next: Dependence | undefined,
    last: Dependence | undefined,
  ) {
    this.before = last;
    if (last !== undefined) last.after = this;
  }
}

export class Lease {
  // Lists and not Sets: buffers come and go by the million, and a Set makes itself anew every few changes.
  private newestDependent: Dependence | undefined = undefined;
  private dependences: Dependence | undefined = undefined;
  private holdCount = 0;
  private lastHolder = "";
  private closing = false;
  private isClosed = false;
  /** Where its Resource was made, for the warning when that is forgotten. */
  site: string | undefined = undefined;

  /**
   * @param name names the resource in errors and warnings, e.g. `ioas 3 of /dev/iommu`
   * @param giveBack gives the resource back; runs once, after all dependents; must not refer to the Resource
   */
  constructor(
    private readonly name: string,
    private readonly giveBack: (() => void) | undefined,
    ...parents: Lease[]
  ) {
    for (const parent of parents) this.dependOn(parent);
  }

  get label(): string {
    return this.name;
  }

  /** Runs once, after all dependents. A subclass may hold what it needs itself, where a closure costs too much. */
  protected release(): void {
    this.giveBack?.();
  }

  get closed(): boolean {
    return this.isClosed;
  }

  /** From now on closing `parent` closes this first. @throws ClosedError where the parent is closed */
  dependOn(parent: Lease): void {
    if (parent.closing) throw new ClosedError(parent.label);
    const dependence = new Dependence(this, parent, this.dependences, parent.newestDependent);
    this.dependences = dependence;
    parent.newestDependent = dependence;
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

  /** @throws BusyError naming the latest holder found here or below, before anything is closed */
  assertIdle(): void {
    if (this.holdCount > 0) {
      throw new BusyError(
        `${this.label} can't be closed: ${this.lastHolder} uses it (${this.holdCount} in flight)`,
      );
    }
    for (let each = this.newestDependent; each !== undefined; each = each.before) each.dependent.assertIdle();
  }

  /**
   * Closes all dependents, newest first, then this. Safe to repeat. Whatever fails, everything is attempted.
   * @throws BusyError with nothing done, or what the releases threw
   */
  close(): void {
    if (this.closing) return;
    this.assertIdle();
    const errors = this.closeInto(undefined);
    if (errors !== undefined) throwCollected(errors, `closing ${this.label}`);
  }

  /** @returns the errors given and those met here; undefined where there is none, which is the rule */
  private closeInto(before: unknown[] | undefined): unknown[] | undefined {
    let errors = before;
    if (this.closing) return errors;
    this.closing = true;
    // Still open to them: a dependent may need this object for its release.
    // A dependent that closes takes itself, and maybe others, out of the list; those still lead to the ones before.
    for (let each = this.newestDependent; each !== undefined; each = each.before) {
      errors = each.dependent.closeInto(errors);
    }
    this.isClosed = true;
    try {
      this.release();
    } catch (error) {
      errors ??= [];
      errors.push(error);
    }
    for (let each = this.dependences; each !== undefined; each = each.next) each.parent.forget(each);
    this.dependences = undefined;
    return errors;
  }

  private forget({ before, after }: Dependence): void {
    if (before !== undefined) before.after = after;
    if (after !== undefined) after.before = before;
    else this.newestDependent = before;
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

const forgotten = new FinalizationRegistry<Lease>((lease) => {
  if (lease.closed) return;
  const { site } = lease;
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

/**
 * Made in this turn of the microtask queue and still open. Registering costs several times what a mapping costs, and the
 * registry calls back in a later task anyhow, so what is closed before the turn ends never gets there.
 */
const fresh: Resource[] = [];
let isWatchDue = false;

/** Base of every object that holds something of the kernel's. Works with `using`; closing twice is fine. */
export abstract class Resource implements Disposable {
  /** Not part of the public API: how this object's lifetime is tied to others. */
  readonly lease: Lease;
  /** Objects that must not be collected before this one: their leases end with them. */
  private kept: Set<object> | undefined = undefined;
  /** Place in {@link fresh}, -1 outside of it. */
  private freshAt: number;

  /** @param site where the object was made, for the warning when it is forgotten (costs a stack trace) */
  protected constructor(lease: Lease, site?: string) {
    this.lease = lease;
    lease.site = site;
    this.freshAt = fresh.length;
    fresh.push(this);
    if (!isWatchDue) {
      isWatchDue = true;
      queueMicrotask(Resource.watchFresh);
    }
  }

  get closed(): boolean {
    return this.lease.closed;
  }

  /** Releases this and all that depends on it. @throws BusyError while something is in flight */
  close(): void {
    this.lease.close();
    this.unwatch();
    this.kept?.clear();
  }

  /** Not part of the public API: keeps `parent` from being collected before this object. */
  keep(parent: object): void {
    this.kept ??= new Set();
    this.kept.add(parent);
  }

  /** Hands the duty to close over to whoever asks: no warning any more when this object is collected. */
  entrust(): Lease {
    this.unwatch();
    return this.lease;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  private unwatch(): void {
    if (this.freshAt < 0) {
      forgotten.unregister(this.lease);
      return;
    }
    const last = fresh.pop();
    if (last !== undefined && last !== this) {
      fresh[this.freshAt] = last;
      last.freshAt = this.freshAt;
    }
    this.freshAt = -1;
  }

  private static readonly watchFresh = (): void => {
    isWatchDue = false;
    for (const resource of fresh) {
      resource.freshAt = -1;
      if (!resource.closed) forgotten.register(resource, resource.lease, resource.lease);
    }
    fresh.length = 0;
  };
}

/**
 * Lifetimes of kernel resources.
 *
 * A {@link Lease} is the obligation to give something back; it knows who depends on it and never refers to the
 * object the user holds. A {@link Resource} is that object. The split lets the garbage collector take a
 * forgotten Resource while its Lease, still held by the parent's, releases in the right order.
 */
import { Errno } from "./errno.js";
import { BusyError, ClosedError, SysError } from "./errors.js";

/** How a {@link Lease} gives its resource back. None of these may refer to the Resource. */
export interface Release {
  /** On this thread. */
  now(): void;
  /** The same without holding up the JavaScript thread, where the kernel may take long. */
  later?(): Promise<void>;
  /** Whether nothing has changed when the kernel refuses with EBUSY: close() may then be tried again. */
  readonly retryable?: boolean;
}

/** A place in the list of a lease's dependents, oldest first. */
interface Link {
  before: Link | undefined;
  after: Link | undefined;
  readonly dependent: Lease;
}

/** That a lease depends on one more than its first parent. */
class Dependence implements Link {
  before: Link | undefined = undefined;
  after: Link | undefined = undefined;

  constructor(
    readonly dependent: Lease,
    readonly parent: Lease,
    /** What else the dependent depends on. */
    readonly next: Dependence | undefined,
  ) {}
}

/** Holders beyond this thread: they may come and go at any moment, so asking and locking them out is one step. */
export interface ForeignHolders {
  /** How many there are at this moment. */
  count(): number;
  /** Lets no new holder in. @returns how many there are; where any, nothing was locked */
  lock(): number;
  /** Undoes lock(). */
  unlock(): void;
}

export class Lease implements Link {
  // Lists and not Sets: buffers come and go by the million, and a Set makes itself anew every few changes. A lease is itself
  // its place in the list of its first parent: most have one or two.
  before: Link | undefined = undefined;
  after: Link | undefined = undefined;
  private parent: Lease | undefined = undefined;
  private otherParents: Dependence | undefined = undefined;
  private newestDependent: Link | undefined = undefined;
  private holdCount = 0;
  private lastHolder = "";
  /** Whether close() has begun. Written here only. */
  closing = false;
  private foreign: ForeignHolders | undefined = undefined;
  private isClosed = false;
  /** The closeAsync() under way. */
  private pending: Promise<void> | undefined = undefined;
  /** Where its Resource was made, for the warning when that is forgotten. */
  site: string | undefined = undefined;

  /**
   * @param name names the resource in errors and warnings, e.g. `ioas 3 of /dev/iommu`
   * @param giveBack gives the resource back, after all dependents; must not refer to the Resource
   */
  constructor(
    private readonly name: string,
    private readonly giveBack: (() => void) | Release | undefined,
    ...parents: Lease[]
  ) {
    for (const parent of parents) this.dependOn(parent);
  }

  /** What depends on this, newest first. */
  *dependents(): Generator<Lease> {
    for (let each = this.newestDependent; each !== undefined; each = each.before) yield each.dependent;
  }

  /** As a place in a list: see {@link Link}. */
  get dependent(): Lease {
    return this;
  }

  get label(): string {
    return this.name;
  }

  /** Runs after all dependents. A subclass may hold what it needs itself, where a closure costs too much. */
  protected release(): void {
    if (typeof this.giveBack === "function") this.giveBack();
    else this.giveBack?.now();
  }

  private async releaseAsync(): Promise<void> {
    const { giveBack } = this;
    if (typeof giveBack === "object" && giveBack.later !== undefined) await giveBack.later();
    else this.release();
  }

  get closed(): boolean {
    return this.isClosed;
  }

  /** From now on closing `parent` closes this first. @throws ClosedError where the parent is closed */
  dependOn(parent: Lease): void {
    if (parent.closing) throw new ClosedError(parent.label);
    if (this.parent === undefined) {
      this.parent = parent;
      parent.append(this);
    } else {
      this.otherParents = new Dependence(this, parent, this.otherParents);
      parent.append(this.otherParents);
    }
  }

  private append(link: Link): void {
    const { newestDependent } = this;
    link.before = newestDependent;
    if (newestDependent !== undefined) newestDependent.after = link;
    this.newestDependent = link;
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

  /** Refuses close() under a call on another thread: the descriptor's number could be given to another file. */
  async during<T>(holder: string, call: () => Promise<T>): Promise<T> {
    this.hold(holder);
    try {
      return await call();
    } finally {
      this.drop();
    }
  }

  /** @throws BusyError naming the latest holder found here or below, before anything is closed */
  assertIdle(): void {
    if (this.holdCount > 0) throw this.busy();
    if (this.foreign !== undefined) this.refuseForeign(this.foreign.count());
    for (let each = this.newestDependent; each !== undefined; each = each.before) each.dependent.assertIdle();
  }

  /**
   * As {@link assertIdle}, and no other thread can begin to hold anything here or below from now on: for who closes in
   * several steps. close() has to follow.
   * @throws BusyError with nothing locked
   */
  lockIdle(): void {
    // What nothing depends on is quick to close.
    if (this.newestDependent === undefined && this.foreign === undefined && this.holdCount === 0) return;
    this.assertIdle();
    this.lockForeign();
  }

  private busy(): BusyError {
    return new BusyError(
      `${this.label} can't be closed: ${this.lastHolder} uses it (${this.holdCount} in flight)`,
    );
  }

  private refuseForeign(holders: number): void {
    if (holders > 0) {
      throw new BusyError(`${this.label} can't be closed: other threads use it (${holders} holds)`);
    }
  }

  /** @throws BusyError with nothing locked */
  private lockForeign(): void {
    if (this.foreign !== undefined) this.refuseForeign(this.foreign.lock());
    for (let each = this.newestDependent; each !== undefined; each = each.before) {
      try {
        if (!each.dependent.closing) each.dependent.lockForeign();
      } catch (error) {
        for (let other = each.after; other !== undefined; other = other.after)
          other.dependent.unlockForeign();
        this.foreign?.unlock();
        throw error;
      }
    }
  }

  private unlockForeign(): void {
    if (this.closing) return;
    this.foreign?.unlock();
    for (let each = this.newestDependent; each !== undefined; each = each.before)
      each.dependent.unlockForeign();
  }

  /**
   * Closes all dependents, newest first, then this. Safe to repeat; what a closeAsync() is closing is left to it.
   * Whatever fails, everything is attempted. What the kernel refused to give up is open again, with all that it is
   * part of that was refused as well.
   * @throws BusyError with nothing done, or what the releases threw
   */
  close(): void {
    if (this.closing) return;
    this.lockIdle();
    const errors = this.closeInto(undefined);
    if (errors !== undefined) throwCollected(errors, `closing ${this.label}`);
  }

  /** The same, with whatever may take long off the JavaScript thread. */
  async closeAsync(): Promise<void> {
    if (this.closing) return this.pending;
    this.lockIdle();
    const errors: unknown[] = [];
    this.pending = this.closeIntoAsync(errors).then(() => {
      this.pending = undefined;
      throwCollected(errors, `closing ${this.label}`);
    });
    return this.pending;
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
      if (this.isRefusal(error)) {
        this.reopen();
        return errors;
      }
    }
    this.leaveTree();
    return errors;
  }

  private async closeIntoAsync(errors: unknown[]): Promise<void> {
    if (this.closing) return this.pending?.catch(() => {});
    this.closing = true;
    for (let each = this.newestDependent; each !== undefined; each = each.before) {
      await each.dependent.closeIntoAsync(errors);
    }
    this.isClosed = true;
    try {
      await this.releaseAsync();
    } catch (error) {
      errors.push(error);
      if (this.isRefusal(error)) {
        this.reopen();
        return;
      }
    }
    this.leaveTree();
  }

  private isRefusal(error: unknown): boolean {
    const { giveBack } = this;
    const isRetryable = typeof giveBack === "object" && giveBack.retryable === true;
    return isRetryable && error instanceof SysError && error.errno === Errno.EBUSY;
  }

  private reopen(): void {
    this.closing = false;
    this.isClosed = false;
  }

  private leaveTree(): void {
    // What was refused before, the kernel has now taken along.
    for (let each = this.newestDependent; each !== undefined; each = each.before) each.dependent.vanish();
    this.parent?.forget(this);
    this.parent = undefined;
    for (let each = this.otherParents; each !== undefined; each = each.next) each.parent.forget(each);
    this.otherParents = undefined;
  }

  private forget(link: Link): void {
    const { before, after } = link;
    if (before !== undefined) before.after = after;
    if (after !== undefined) after.before = before;
    else this.newestDependent = before;
    // While all dependents are closed one after the other, they have to lead on to the ones before. Otherwise one that is
    // closed must not keep others in memory.
    if (this.closing) return;
    link.before = undefined;
    link.after = undefined;
  }

  private vanish(): void {
    this.closing = true;
    this.isClosed = true;
    this.leaveTree();
  }
}

/** Closes these in order, off the JavaScript thread; whatever fails, all are attempted. @throws as {@link closeAll} */
export async function closeAllAsync(
  closeables: readonly { closeAsync(): Promise<void> }[],
  what: string,
): Promise<void> {
  const errors: unknown[] = [];
  for (const closeable of closeables) {
    try {
      await closeable.closeAsync();
    } catch (error) {
      errors.push(error);
    }
  }
  throwCollected(errors, what);
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
export abstract class Resource implements Disposable, AsyncDisposable {
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

  /**
   * The same without holding up the JavaScript thread where the kernel takes long: to destroy an object it may wait a
   * minute for short-term users, and to close a device it resets it.
   * @throws as close()
   */
  async closeAsync(): Promise<void> {
    await this.lease.closeAsync();
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closeAsync();
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

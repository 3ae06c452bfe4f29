/**
 * A lease is the obligation to release something. It knows its dependents and never refers to the object that users hold (see
 * resource.ts), so the garbage collector can take a forgotten object while its lease, which the parent's lease holds, still
 * releases everything in the right order.
 */
import { checkFunction, checkMembers, checkString, show } from "../check.js";
import { Errno } from "../errno.js";
import { ArgumentError, BusyError, ClosedError, StateError, SysError } from "../errors.js";
import { throwCollected } from "./close-all.js";

/** How a {@link Lease} releases its resource. No function here may refer to the Resource: it would never be collected. */
export interface Release {
  /** On this thread. */
  now(): void;
  /** The same off the JavaScript thread, for releases that may take the kernel long. */
  later?(): Promise<void>;
  /** An EBUSY from the kernel means that nothing has changed: close() can be tried again. */
  readonly retryable?: boolean;
}

/** A place in the list of a lease's dependents, oldest first. */
interface Link {
  before: Link | undefined;
  after: Link | undefined;
  readonly dependent: Lease;
}

/** A dependence on a parent other than the first. */
class Dependence implements Link {
  before: Link | undefined = undefined;
  after: Link | undefined = undefined;

  constructor(
    readonly dependent: Lease,
    readonly parent: Lease,
    /** The dependent's next further parent. */
    readonly next: Dependence | undefined,
  ) {}
}

/** Holders on other threads. They come and go at any moment, so asking for them and locking them out is one step. */
export interface ForeignHolders {
  /** How many there are now. */
  count(): number;
  /** Admits no new holder. @returns how many there are; if any, nothing was locked */
  lock(): number;
  /** Undoes lock(). */
  unlock(): void;
}

/** What few leases have. A program may have 100,000 leases at once, and each word of one is memory to collect. */
class Extras {
  /** Calls of hold() without a drop() yet. */
  holdCount = 0;
  foreign: ForeignHolders | undefined = undefined;
  owned: readonly Lease[] = [];
  /** Whose `owned` this is in. */
  owners: readonly Lease[] = [];
  /** The closeAsync() in progress. */
  pending: Promise<void> | undefined = undefined;
}

/** A step of a lease's life. */
type LeaseState = typeof OPEN | typeof CLOSING | typeof CLOSED;
const OPEN = 0;
/** close() has begun; dependents may still need it. */
const CLOSING = 1;
/** Released, or about to be. */
const CLOSED = 2;

/** Not by class: there may be two copies of this library. @throws ArgumentError */
export function checkParent(label: string, parent: Lease): void {
  if (!isLease(parent))
    throw new ArgumentError(`${show(label)} can't depend on ${show(parent)}: that is no lease`);
}

/** Not by a method that a Resource has, too. */
function isLease(value: unknown): boolean {
  return typeof (value as Lease | undefined | null)?.lockIdle === "function";
}

/**
 * An object with a lease, and with these members.
 * @param what names such an object, e.g. `a VfioDevice`
 * @throws ArgumentError
 * @internal
 */
export function checkLeased(
  name: string,
  value: { readonly lease: Lease },
  what: string,
  members: Parameters<typeof checkMembers>[3] = {},
): void {
  checkMembers(name, value, what, members);
  if (!isLease(value.lease)) throw new ArgumentError(`${name} must be ${what}, got ${show(value)}`);
}

/**
 * The obligation to release something after everything that depends on it. A DmaMapper or DeviceIo of your own makes one and
 * offers it as `lease`; objects that use the mapper or device then close before it.
 */
export class Lease {
  // Linked lists instead of Sets: programs map and unmap millions of buffers, and a Set rehashes every few changes. A lease
  // is itself the Link in the list of its first parent: most leases have one or two parents.
  /** @internal */
  before: Link | undefined = undefined;
  /** @internal */
  after: Link | undefined = undefined;
  private parent: Lease | undefined = undefined;
  private otherParents: Dependence | undefined = undefined;
  private newestDependent: Link | undefined = undefined;
  private pinCount = 0;
  private lastHolder = "";
  private state: LeaseState = OPEN;
  private extras: Extras | undefined = undefined;
  /**
   * Where its Resource was created, for the warning when that is forgotten.
   * @internal
   */
  site: string | undefined = undefined;

  /**
   * @param name names the resource in errors and warnings, e.g. `ioas 3 of /dev/iommu`
   * @param giveBack releases the resource, after all dependents; must not refer to the Resource
   * @throws ArgumentError, ClosedError if a parent is closed or closing: the resource is released then
   */
  constructor(
    private readonly name: string,
    private readonly giveBack: (() => void) | Release | undefined,
    ...parents: Lease[]
  ) {
    checkString("name", name);
    if (giveBack !== undefined && typeof giveBack !== "function")
      checkFunction("giveBack.now", giveBack?.now);
    this.dependOnAll(parents);
  }

  /**
   * {@link dependOn} for a new lease. Its obligation is there already, so it is released if a parent takes no dependents any more: nobody
   * else would.
   * @throws as dependOn()
   * @internal
   */
  dependOnAll(parents: readonly Lease[]): void {
    try {
      for (const parent of parents) this.dependOn(parent);
    } catch (error) {
      // A subclass that releases by itself has its members only later, and cares for this case.
      if (error instanceof ClosedError && this.giveBack !== undefined) this.closeAfter(error);
      throw error;
    }
  }

  /**
   * The dependents, newest first.
   * @internal
   */
  *dependents(): Generator<Lease> {
    for (let each = this.newestDependent; each !== undefined; each = each.before) yield each.dependent;
  }

  /**
   * See Link.
   * @internal
   */
  get dependent(): Lease {
    return this;
  }

  /** Names the resource in errors and warnings. */
  get label(): string {
    return this.name;
  }

  /** Runs after all dependents. Subclasses override it if a closure per object costs too much. */
  protected release(): void {
    if (typeof this.giveBack === "function") this.giveBack();
    else this.giveBack?.now();
  }

  private async releaseAsync(): Promise<void> {
    const { giveBack } = this;
    if (typeof giveBack === "object" && giveBack.later !== undefined) await giveBack.later();
    else this.release();
  }

  /** Whether it was released. */
  get closed(): boolean {
    return this.state === CLOSED;
  }

  /**
   * Whether close() has begun.
   * @internal
   */
  get closing(): boolean {
    return this.state !== OPEN;
  }

  private get useCount(): number {
    return this.pinCount + (this.extras?.holdCount ?? 0);
  }

  /**
   * Holders on other threads, if there can be any.
   * @internal
   */
  protected get foreign(): ForeignHolders | undefined {
    return this.extras?.foreign;
  }

  private get owned(): readonly Lease[] {
    return this.extras?.owned ?? [];
  }

  /**
   * From now on closing `parent` closes this first.
   * @throws ArgumentError (no lease, or one that depends on this), ClosedError if the parent is closed
   */
  dependOn(parent: Lease): void {
    if (!isLease(parent)) checkParent(this.label, parent);
    if (parent.closing) throw new ClosedError(parent.label);
    // Only something with dependents or parts can be above its parent: a new lease costs nothing here.
    const canBeAbove = this.newestDependent !== undefined || this.owned.length > 0;
    if (parent === this || (canBeAbove && parent.isBelow(this)))
      throw new ArgumentError(`${this.name} can't depend on ${parent.label}, which depends on it`);
    if (this.parent === undefined) {
      this.parent = parent;
      parent.append(this);
    } else {
      this.otherParents = new Dependence(this, parent, this.otherParents);
      parent.append(this.otherParents);
    }
  }

  private closeAfter(error: unknown): void {
    try {
      this.close();
    } catch (second) {
      throwCollected([error, second], `making ${this.name}`);
    }
  }

  /** Whether closing the other lease closes this one first: it depends on it, or is its part, by any number of steps. */
  private isBelow(other: Lease): boolean {
    const { parent, extras } = this;
    if (parent === other || parent?.isBelow(other) === true) return true;
    for (let each = this.otherParents; each !== undefined; each = each.next)
      if (each.parent === other || each.parent.isBelow(other)) return true;
    return extras?.owners.some((owner) => owner === other || owner.isBelow(other)) === true;
  }

  private append(link: Link): void {
    const { newestDependent } = this;
    link.before = newestDependent;
    if (newestDependent !== undefined) newestDependent.after = link;
    this.newestDependent = link;
  }

  /** @throws ClosedError if it was released */
  assertOpen(): void {
    if (this.state === CLOSED) throw new ClosedError(this.label);
  }

  /**
   * Makes close() fail until {@link drop} was called as often.
   * @param holder names the user, in the error of close()
   * @throws ArgumentError, ClosedError
   */
  hold(holder: string): void {
    checkString("holder", holder);
    this.assertOpen();
    this.extras ??= new Extras();
    this.extras.holdCount++;
    this.lastHolder = holder;
  }

  /** Ends one {@link hold}. @throws StateError if there is none, with nothing changed */
  drop(): void {
    const { extras } = this;
    if (extras === undefined || extras.holdCount === 0)
      throw new StateError(`${this.label} has no hold to drop: each drop() needs a hold() before it`);
    extras.holdCount--;
  }

  /**
   * The library's own hold. It counts apart, so that a drop() too many can't end it. Two plain stores, since the I/O path
   * calls it.
   * @internal
   */
  pin(holder: string): void {
    this.assertOpen();
    this.pinCount++;
    this.lastHolder = holder;
  }

  /**
   * Ends one {@link pin}.
   * @internal
   */
  unpin(): void {
    this.pinCount--;
  }

  /**
   * Whether close() would fail because of a {@link hold} or {@link pin} of this thread.
   * @internal
   */
  get isHeld(): boolean {
    return this.useCount > 0;
  }

  /**
   * From now on close() also fails while other threads hold it.
   * @internal
   */
  setForeignHolders(foreign: ForeignHolders): void {
    this.extras ??= new Extras();
    this.extras.foreign = foreign;
  }

  /**
   * From now on close() also fails, with nothing closed, while one of these is in use. The release closes them: one that refused then
   * would stay open, and nobody would close it any more.
   * @internal
   */
  setOwned(owned: readonly Lease[]): void {
    for (const part of owned) {
      checkParent(this.label, part);
      if (part === this || this.isBelow(part))
        throw new ArgumentError(`${this.label} can't own ${part.label}, which it depends on`);
    }
    for (const part of this.owned) part.belongTo(part.owners.filter((owner) => owner !== this));
    this.extras ??= new Extras();
    this.extras.owned = owned;
    for (const part of owned) part.belongTo([...part.owners, this]);
  }

  private get owners(): readonly Lease[] {
    return this.extras?.owners ?? [];
  }

  private belongTo(owners: readonly Lease[]): void {
    this.extras ??= new Extras();
    this.extras.owners = owners;
  }

  /** Makes close() fail during a call on another thread: otherwise the descriptor's number could be reused meanwhile. */
  async during<T>(holder: string, call: () => Promise<T>): Promise<T> {
    checkFunction("call", call);
    checkString("holder", holder);
    this.pin(holder);
    try {
      return await call();
    } finally {
      this.unpin();
    }
  }

  /**
   * @throws BusyError naming the latest holder found here or below, before anything is closed
   * @internal
   */
  assertIdle(): void {
    if (this.useCount > 0) throw this.busy();
    if (this.foreign !== undefined) this.refuseForeign(this.foreign.count());
    for (let each = this.newestDependent; each !== undefined; each = each.before) each.dependent.assertIdle();
    if (!this.closing) for (const part of this.owned) part.assertIdle();
  }

  /**
   * As {@link assertIdle}, and from now on no other thread can begin to hold anything here or below. For a close in several
   * steps; close() has to follow.
   * @throws BusyError with nothing locked
   * @internal
   */
  lockIdle(): void {
    // A fast path: most leases have no dependents.
    if (this.newestDependent === undefined && this.extras === undefined && this.pinCount === 0) return;
    this.assertIdle();
    this.lockForeign();
  }

  private busy(): BusyError {
    return new BusyError(
      `${this.label} can't be closed: ${this.lastHolder} uses it (${this.useCount} in flight)`,
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
    this.lockOwned();
  }

  private lockOwned(): void {
    const locked: Lease[] = [];
    for (const part of this.owned) {
      try {
        if (!part.closing) part.lockForeign();
        locked.push(part);
      } catch (error) {
        for (const other of locked) other.unlockForeign();
        for (let each = this.newestDependent; each !== undefined; each = each.before)
          each.dependent.unlockForeign();
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
    for (const part of this.owned) part.unlockForeign();
  }

  /**
   * Closes all dependents, newest first, then this. Closing twice is allowed; a closeAsync() in progress is left alone.
   * If one release fails, the others run all the same. A resource that the kernel refused to release is open again.
   * @throws BusyError with nothing done, or the errors of the releases
   */
  close(): void {
    if (this.closing) return;
    this.lockIdle();
    const errors = this.closeInto(undefined);
    if (errors !== undefined) throwCollected(errors, `closing ${this.label}`);
  }

  /** The same, with releases that may take long off the JavaScript thread. */
  async closeAsync(): Promise<void> {
    if (this.closing) return this.extras?.pending;
    this.lockIdle();
    const errors: unknown[] = [];
    this.extras ??= new Extras();
    const { extras } = this;
    extras.pending = this.closeIntoAsync(errors).then(() => {
      extras.pending = undefined;
      throwCollected(errors, `closing ${this.label}`);
    });
    return extras.pending;
  }

  /** @returns the given errors and new ones; undefined if there are none, so the usual case allocates nothing */
  private closeInto(before: unknown[] | undefined): unknown[] | undefined {
    let errors = before;
    if (this.closing) return errors;
    this.state = CLOSING;
    // Not CLOSED yet: a dependent may need this object for its release.
    // A dependent that closes leaves the list, and others may leave with it; their links still lead to the earlier ones.
    for (let each = this.newestDependent; each !== undefined; each = each.before) {
      errors = each.dependent.closeInto(errors);
    }
    this.state = CLOSED;
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
    if (this.closing) return this.extras?.pending?.catch(() => {});
    this.state = CLOSING;
    for (let each = this.newestDependent; each !== undefined; each = each.before) {
      await each.dependent.closeIntoAsync(errors);
    }
    this.state = CLOSED;
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
    this.state = OPEN;
  }

  private leaveTree(): void {
    // The kernel has now released the dependents that it refused to release before.
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
    // close() still follows these links while it closes the dependents. At other times they would keep closed leases in
    // memory.
    if (this.closing) return;
    link.before = undefined;
    link.after = undefined;
  }

  private vanish(): void {
    this.state = CLOSED;
    this.leaveTree();
  }
}

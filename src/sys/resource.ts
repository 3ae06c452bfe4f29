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

export class Lease {
  private readonly dependents = new Set<Lease>();
  private readonly parents = new Set<Lease>();
  private holdCount = 0;
  private lastHolder = "";
  private closing = false;
  private isClosed = false;
  /** The closeAsync() under way. */
  private pending: Promise<void> | undefined;
  private readonly release: Release;

  /**
   * @param label names the resource in errors and warnings, e.g. `ioas 3 of /dev/iommu`
   * @param release gives the resource back, after all dependents; must not refer to the Resource
   */
  constructor(
    readonly label: string,
    release: (() => void) | Release,
    ...parents: Lease[]
  ) {
    this.release = typeof release === "function" ? { now: release } : release;
    for (const parent of parents) this.dependOn(parent);
  }

  get closed(): boolean {
    return this.isClosed;
  }

  /** From now on closing `parent` closes this first. @throws ClosedError where the parent is closed */
  dependOn(parent: Lease): void {
    if (parent.closing) throw new ClosedError(parent.label);
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
    if (this.holdCount > 0) {
      throw new BusyError(
        `${this.label} can't be closed: ${this.lastHolder} uses it (${this.holdCount} in flight)`,
      );
    }
    for (const dependent of this.dependents) dependent.assertIdle();
  }

  /**
   * Closes all dependents, newest first, then this. Safe to repeat; what a closeAsync() is closing is left to it.
   * Whatever fails, everything is attempted. What the kernel refused to give up is open again, with all that it is
   * part of that was refused as well.
   * @throws BusyError with nothing done, or what the releases threw
   */
  close(): void {
    if (this.closing) return;
    this.assertIdle();
    const errors: unknown[] = [];
    this.closeInto(errors);
    throwCollected(errors, `closing ${this.label}`);
  }

  /** The same, with whatever may take long off the JavaScript thread. */
  async closeAsync(): Promise<void> {
    if (this.closing) return this.pending;
    this.assertIdle();
    const errors: unknown[] = [];
    this.pending = this.closeIntoAsync(errors).then(() => {
      this.pending = undefined;
      throwCollected(errors, `closing ${this.label}`);
    });
    return this.pending;
  }

  private closeInto(errors: unknown[]): void {
    if (this.closing) return;
    this.closing = true;
    // Still open to them: a dependent may need this object for its release.
    for (const dependent of [...this.dependents].reverse()) dependent.closeInto(errors);
    this.isClosed = true;
    try {
      this.release.now();
    } catch (error) {
      errors.push(error);
      if (this.isRefusal(error)) {
        this.reopen();
        return;
      }
    }
    this.leaveTree();
  }

  private async closeIntoAsync(errors: unknown[]): Promise<void> {
    if (this.closing) return this.pending?.catch(() => {});
    this.closing = true;
    for (const dependent of [...this.dependents].reverse()) await dependent.closeIntoAsync(errors);
    this.isClosed = true;
    try {
      if (this.release.later === undefined) this.release.now();
      else await this.release.later();
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
    return this.release.retryable === true && error instanceof SysError && error.errno === Errno.EBUSY;
  }

  private reopen(): void {
    this.closing = false;
    this.isClosed = false;
  }

  private leaveTree(): void {
    // What was refused before, the kernel has now taken along.
    for (const dependent of this.dependents) dependent.vanish();
    for (const parent of this.parents) parent.dependents.delete(this);
    this.parents.clear();
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
export abstract class Resource implements Disposable, AsyncDisposable {
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

  /**
   * The same without holding up the JavaScript thread where the kernel takes long: to destroy an object it may wait a
   * minute for short-term users, and to close a device it resets it.
   * @throws as close()
   */
  async closeAsync(): Promise<void> {
    await this.lease.closeAsync();
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closeAsync();
  }
}

/** The objects that users hold: each has a lease, closes with `using`, and is released with a warning if it is forgotten. */
import { closeAll, closeAllAsync } from "./close-all.js";
import { checkParent, Lease, type Release } from "./lease.js";

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
 * Resources created in this turn of the microtask queue and still open. Registering costs several times as much as a mapping,
 * and the registry calls back in a later task anyway, so a resource that is closed before the turn ends is never registered.
 */
const fresh: Resource[] = [];
let isWatchDue = false;

/** Something with a lease: a {@link Resource}, or an object that stands for one. */
export interface Leased {
  readonly lease: Lease;
}

/** What a {@link Resource} is made of. */
export interface ResourceParts {
  /** Names the resource in errors and warnings, e.g. `ioas 3 of /dev/iommu`. */
  readonly label: string;
  /** Releases it, after all dependents. Must not refer to the Resource. */
  readonly release?: (() => void) | Release | undefined;
  /** Closing one of these closes this first, and none is collected before this. Undefined entries are skipped. */
  readonly parents?: readonly (Leased | undefined)[] | undefined;
  /** Closed after `release`, in this order. They are this object's to close, and keep it from being collected. */
  readonly owns?: readonly Resource[] | undefined;
}

/** Makes the lease of a resource: its release, then those of the parts that it owns. */
function leaseOf({ label, release, parents, owns }: ResourceParts): Lease {
  // The leases, not the parts: those refer to their owner.
  const owned = owns === undefined ? undefined : leasesOf(label, owns);
  const lease = new Lease(label, owned === undefined ? release : releasingAll(label, release, owned));
  if (owned !== undefined) lease.setOwned(owned);
  lease.dependOnAll(leasesOf(label, parents ?? []));
  return lease;
}

/** Their leases, without those of undefined ones. @throws ArgumentError */
function leasesOf(label: string, list: readonly (Leased | undefined)[]): Lease[] {
  const leases: Lease[] = [];
  for (const each of list) {
    if (each === undefined) continue;
    checkParent(label, each?.lease);
    leases.push(each.lease);
  }
  return leases;
}

function releasingAll(label: string, own: ResourceParts["release"], leases: readonly Lease[]): Release {
  const what = `closing ${label}`;
  const close = (): void => (typeof own === "function" ? own() : own?.now());
  const closeAsync = async (): Promise<void> => {
    if (typeof own === "object" && own.later !== undefined) await own.later();
    else close();
  };
  return {
    now: () => closeAll([{ close }, ...leases], what),
    later: () => closeAllAsync([{ closeAsync }, ...leases], what),
  };
}

/** Base of every object that holds a kernel resource. Works with `using`; closing twice is allowed. */
export abstract class Resource implements Disposable, AsyncDisposable {
  /** What ties this object's lifetime to others: the device of a buffer, the address space of a mapping. */
  readonly lease: Lease;
  /** Objects that must not be collected before this one: their leases end with them. */
  private retained: Set<object> | undefined = undefined;
  /** Place in {@link fresh}, -1 outside of it. */
  private freshAt: number;

  /**
   * @param of what it is made of, or the lease where one exists already
   * @param site where the object was created, for the warning when it is forgotten (costs a stack trace)
   * @internal
   */
  protected constructor(of: Lease | ResourceParts, site?: string) {
    this.lease = of instanceof Lease ? of : leaseOf(of);
    this.lease.site = site;
    this.freshAt = fresh.length;
    fresh.push(this);
    if (!isWatchDue) {
      isWatchDue = true;
      queueMicrotask(Resource.watchFresh);
    }
    if (!(of instanceof Lease)) this.tie(of);
  }

  private tie({ parents, owns }: ResourceParts): void {
    for (const parent of parents ?? []) if (parent !== undefined) this.retain(parent);
    for (const part of owns ?? []) {
      part.relinquish();
      this.retain(part);
      part.retain(this);
    }
  }

  /** Whether it has been closed. */
  get closed(): boolean {
    return this.lease.closed;
  }

  /**
   * Releases everything that depends on this, newest first, then this.
   * @throws BusyError while an operation is in flight, with nothing closed
   */
  close(): void {
    this.lease.close();
    this.unwatch();
    this.retained?.clear();
  }

  /**
   * The same without blocking the JavaScript thread. The kernel may wait up to a minute before it destroys an object, and it
   * resets a device before it closes it.
   * @throws BusyError as close()
   */
  async closeAsync(): Promise<void> {
    await this.lease.closeAsync();
    this.unwatch();
    this.retained?.clear();
  }

  /**
   * Keeps `parent` from being collected before this object.
   * @internal
   */
  retain(parent: object): void {
    this.retained ??= new Set();
    this.retained.add(parent);
  }

  /**
   * From now on closing `owner` closes this first, and it isn't collected before this.
   * @internal
   */
  dependOn(owner: Leased): void {
    this.lease.dependOn(owner.lease);
    this.retain(owner);
  }

  /**
   * Hands the duty to close over to the caller: there is no warning any more when this object is collected.
   * @internal
   */
  relinquish(): Lease {
    this.unwatch();
    return this.lease;
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** closeAsync(), for `await using`. */
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

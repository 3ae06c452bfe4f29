/**
 * What the bindings of one function give back, in whatever order they end. This process may have bound it twice, as when the kernel took
 * it back in between. The state before the first is the one to restore, and only once no binding is left that wants the driver.
 */

/** What a function had before it was bound. */
export interface Restoration {
  /** Its driver_override; "" for none. */
  readonly override: string;
  /** undefined if it had none */
  readonly driver: string | undefined;
}

/** One binding's part in it. */
export class BindingClaim {
  /** The claims of each function, oldest first. */
  private static readonly all = new Map<string, BindingClaim[]>();

  /** @param restoration undefined if the binding changed nothing */
  constructor(
    private readonly bdf: string,
    private restoration: Restoration | undefined,
  ) {
    BindingClaim.all.set(bdf, [...this.others(), this]);
  }

  /** Whether its end changes the function. */
  get restores(): boolean {
    return this.restoration !== undefined && this.newer() === undefined;
  }

  /** May be called again. @returns what to restore now; undefined if nothing, or if a newer binding will */
  end(): Restoration | undefined {
    const { restoration } = this;
    const newer = this.newer();
    this.restoration = undefined;
    this.leave();
    if (newer === undefined || restoration === undefined) return restoration;
    newer.restoration = restoration;
    return undefined;
  }

  /** Counts no more for the others. end() still tells what to restore. */
  leave(): void {
    const others = this.others();
    if (others.length > 0) BindingClaim.all.set(this.bdf, others);
    else BindingClaim.all.delete(this.bdf);
  }

  private newer(): BindingClaim | undefined {
    const claims = BindingClaim.all.get(this.bdf) ?? [];
    const index = claims.indexOf(this);
    return index < 0 ? undefined : claims[index + 1];
  }

  private others(): BindingClaim[] {
    return (BindingClaim.all.get(this.bdf) ?? []).filter((each) => each !== this);
  }
}

/** The keys and values of a key value namespace, in memory. */
type Saved = [key: string, value: string];

/** What a key takes beside its value. */
const KEY_BYTES = 16;

/** Values by key, in the order of the keys' bytes. */
export class KeyValues {
  usedBytes = 0;
  /** By key in hexadecimal, whose order is that of the bytes. */
  private readonly byKey = new Map<string, Uint8Array>();
  /** The keys in order; undefined after a change. */
  private sorted: string[] | undefined;

  constructor(readonly sizeBytes: number) {}

  get(key: string): Uint8Array | undefined {
    return this.byKey.get(key);
  }

  /** @returns false if there is no room */
  set(key: string, value: Uint8Array): boolean {
    const before = this.byKey.get(key);
    const used = this.usedBytes - bytesOf(before) + bytesOf(value);
    if (used > this.sizeBytes) return false;
    this.usedBytes = used;
    this.byKey.set(key, value);
    if (before === undefined) this.sorted = undefined;
    return true;
  }

  delete(key: string): void {
    this.usedBytes -= bytesOf(this.byKey.get(key));
    if (this.byKey.delete(key)) this.sorted = undefined;
  }

  /** Keys in order, from this one on if it is there, or else from where it would be. */
  from(key: string): readonly string[] {
    this.sorted ??= [...this.byKey.keys()].sort();
    const first = this.sorted.findIndex((each) => each >= key);
    return first < 0 ? [] : this.sorted.slice(first);
  }

  save(): Saved[] {
    return [...this.byKey].map(([key, value]) => [key, Buffer.from(value).toString("base64")]);
  }

  /** Restores what fits; ignores the rest. */
  load(saved: readonly Saved[]): void {
    this.byKey.clear();
    this.usedBytes = 0;
    this.sorted = undefined;
    for (const [key, value] of saved)
      if (/^([0-9a-f]{2}){1,16}$/.test(key)) this.set(key, Buffer.from(value, "base64"));
  }
}

function bytesOf(value: Uint8Array | undefined): number {
  return value === undefined ? 0 : value.length + KEY_BYTES;
}

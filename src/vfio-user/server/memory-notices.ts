/** What a server tells its user about the memory of its clients: each notice once. */

const TRUST =
  "If you trust the clients, set trustClients (--trust-clients): the server then maps the file, and a client that truncates " +
  "it ends this process.";

/** Says once that memory is copied, and once that memory is refused. */
export class MemoryNotices {
  private readonly said = new Set<string>();

  /** @param path of the server's socket @param say takes a notice */
  constructor(
    private readonly path: string,
    private readonly say: (notice: string) => void,
  ) {}

  /** A client's memory isn't mapped, but copied. */
  copied(): void {
    this.once(
      "a client's memory is in a file that can't be sealed against truncation (F_SEAL_SHRINK). The server copies it by " +
        "system calls, which is slower than mapping it.",
    );
  }

  /** A client's memory was refused. */
  refused(): void {
    this.once(
      "refused a client's memory (DMA_MAP: EPERM): its file can't be sealed against truncation (F_SEAL_SHRINK), and is in " +
        "neither tmpfs nor hugetlbfs. A memfd works.",
    );
  }

  private once(text: string): void {
    if (this.said.has(text)) return;
    this.said.add(text);
    this.say(`vfio-user server at ${this.path}: ${text} ${TRUST}`);
  }
}

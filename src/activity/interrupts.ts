/** Interrupts that the kernel has taken of devices for user space, from /proc/interrupts. */

/**
 * Interrupts by PCI address, of all vectors that vfio-pci has enabled. The kernel counts again from 0 when it makes a vector anew.
 * Never throws.
 */
export function parseVfioInterrupts(text: string): Map<string, number> {
  const [header = "", ...lines] = text.split("\n");
  const processors = header.split(/\s+/).filter((word) => /^CPU\d+$/.test(word)).length;
  const counts = new Map<string, number>();
  for (const line of lines) {
    const [, bdf] =
      /\bvfio-(?:intx|msix?)(?:\[\d+\])?\(([0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7])\)/.exec(line) ?? [];
    if (bdf === undefined) continue;
    const cells = line
      .trim()
      .split(/\s+/)
      .slice(1, 1 + processors);
    const taken = cells
      .filter((cell) => /^\d{1,15}$/.test(cell))
      .reduce((sum, cell) => sum + Number(cell), 0);
    counts.set(bdf, (counts.get(bdf) ?? 0) + taken);
  }
  return counts;
}

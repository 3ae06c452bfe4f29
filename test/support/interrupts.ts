/** The kernel's own counts of interrupts, from /proc/interrupts. */
import { readFileSync } from "node:fs";

/**
 * How often each of a function's VFIO vectors has fired, by vector number, as the kernel counts. Empty if interrupts are
 * off.
 */
export function vfioInterrupts(bdf: string): number[] {
  const counts: number[] = [];
  const [head = "", ...lines] = readFileSync("/proc/interrupts", "utf8").split("\n");
  const cpus = head.trim().split(/\s+/).length;
  for (const line of lines) {
    const [, vector, owner] = /vfio-msix\[(\d+)\]\(([0-9a-f:.]+)\)\s*$/.exec(line) ?? [];
    if (vector === undefined || owner !== bdf) continue;
    const perCpu = line
      .trim()
      .split(/\s+/)
      .slice(1, 1 + cpus);
    counts[Number(vector)] = perCpu.reduce((sum, count) => sum + Number(count), 0);
  }
  return counts;
}

/** How often a function's interrupt pin has fired since it was enabled. */
export function pinInterrupts(bdf: string): number {
  const [head = "", ...lines] = readFileSync("/proc/interrupts", "utf8").split("\n");
  const cpus = head.trim().split(/\s+/).length;
  const line = lines.find((text) => text.includes(`vfio-intx(${bdf})`));
  if (line === undefined) throw new Error(`the pin of ${bdf} is off`);
  const perCpu = line
    .trim()
    .split(/\s+/)
    .slice(1, 1 + cpus);
  return perCpu.reduce((sum, count) => sum + Number(count), 0);
}

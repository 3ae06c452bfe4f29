/** How much memory a process can have at most on this machine. */
import { totalmem } from "node:os";
import { kernelText } from "../../../sys/kernel-files.js";

/** Memory and swap in bytes, or less if a control group limits this process's memory. */
export function memoryLimitBytes(): number {
  const [, kib = "0"] = /^SwapTotal: +(\d+) kB$/m.exec(kernelText("/proc/meminfo") ?? "") ?? [];
  // 0 or a huge number: no limit is known.
  const constrained = process.constrainedMemory?.() ?? 0;
  const memory = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  return memory + Number(kib) * 1024;
}

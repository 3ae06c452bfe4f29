/** Runs `iova nvme` and nvme-cli's `nvme`, to compare them in the guest. */
import { vi } from "vitest";
import { findProgram } from "../../guest/paths.js";
import { runNvme } from "../../src/cli/nvme/main.js";
import { runWithInput } from "./run.js";

/** Debian's nvme-cli. test/machines.ts has it installed on the host, whose programs the guest sees. */
const nvmeProgram = findProgram("nvme", "/usr/sbin:/sbin:/usr/bin:/bin") ?? "nvme";

/** A JSON object, or the elements of an array by number. */
export type Fields = Readonly<Record<string, unknown>>;

export function fieldsOf(value: unknown): Fields {
  if (typeof value !== "object" || value === null) throw new Error(`${JSON.stringify(value)} is no object`);
  return Object.fromEntries(Object.entries(value));
}

export async function nvmeCli(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await runWithInput(nvmeProgram, args);
  if (status !== 0) throw new Error(`nvme ${args.join(" ")} ended with ${status}: ${stderr}`);
  return stdout;
}

export async function nvmeCliJson(...args: readonly string[]): Promise<Fields> {
  return fieldsOf(JSON.parse(await nvmeCli(...args, "-o", "json")));
}

/** nvme-cli's show-regs, which exits with status 1 in some versions although it succeeded. */
export async function registersOf(controller: string): Promise<Fields> {
  const { stdout } = await runWithInput(nvmeProgram, ["show-regs", controller, "-o", "json"]);
  return fieldsOf(JSON.parse(stdout));
}

/**
 * `iova nvme` in this process: without KVM another Node takes half a minute to start. test/unit/cli runs the same commands
 * as processes.
 */
export async function iova(...args: readonly string[]): Promise<string> {
  let said = "";
  const spy = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    said += String(text);
    return true;
  });
  try {
    await runNvme(args);
  } finally {
    spy.mockRestore();
  }
  return said;
}

export async function iovaJson(...args: readonly string[]): Promise<Fields> {
  return fieldsOf(JSON.parse(await iova(...args, "--json")));
}

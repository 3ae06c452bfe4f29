/** `iova nvme` and nvme-cli's `nvme`, as tests in the guest run them beside each other. */
import { vi } from "vitest";
import { findProgram } from "../../guest/paths.js";
import { runNvme } from "../../src/cli/nvme/main.js";
import { runWithInput } from "./run.js";

/** Debian's nvme-cli: test/machines.ts has it installed on the host, whose programs the guest sees. */
const nvmeProgram = findProgram("nvme", "/usr/sbin:/sbin:/usr/bin:/bin") ?? "nvme";

/** A JSON object; of an array, its elements by number. */
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

/** nvme-cli's show-regs, which ends with a status of 1 in some versions although it has shown them. */
export async function registersOf(controller: string): Promise<Fields> {
  const { stdout } = await runWithInput(nvmeProgram, ["show-regs", controller, "-o", "json"]);
  return fieldsOf(JSON.parse(stdout));
}

/**
 * Our own, in this process: without KVM and on a busy machine one more Node takes half a minute to start. As processes, the
 * same commands run in test/unit/cli.
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

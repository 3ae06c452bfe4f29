/** An NVMe controller as the kernel's own driver has it, by its serial number. */
import { readdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { vi } from "vitest";
import { run } from "./run.js";

const CLASS = "/sys/class/nvme";
/** A busy machine emulates slowly; what hangs is found by the driver's own time limit of 30 s. */
const LIMIT_MS = 55_000;

/** Runs a program that has to succeed. @returns what it said */
export async function succeed(program: string, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await run(program, args);
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} ended with status ${status}: ${stderr}`);
  return stdout;
}

export class KernelNvme {
  private constructor(private readonly name: string) {}

  /** The controller with this serial number, once its driver is done with it. */
  static async find(serial: string): Promise<KernelNvme> {
    const found = await vi.waitFor(
      () => {
        const name = readdirSync(CLASS).find((one) => attribute(join(CLASS, one), "serial") === serial);
        if (name === undefined) throw new Error(`no controller ${serial}`);
        return new KernelNvme(name);
      },
      { timeout: LIMIT_MS, interval: 50 },
    );
    await found.live();
    return found;
  }

  get(name: string): string {
    return attribute(join(CLASS, this.name), name);
  }

  /** The PCI function's folder. */
  get pci(): string {
    return realpathSync(join(CLASS, this.name, "device"));
  }

  /** Names of its disks in the order of their namespaces, which the kernel need not number in that order. */
  get disks(): string[] {
    const names = readdirSync(join(CLASS, this.name)).filter((name) => /^nvme\d+n\d+$/.test(name));
    return names.sort((a, b) => Number(this.disk(a, "nsid")) - Number(this.disk(b, "nsid")));
  }

  /** Waits until it has come back from whatever was done to it, with this many disks. */
  async live(disks = 1): Promise<void> {
    await vi.waitFor(
      () => {
        const state = this.get("state");
        if (state !== "live") throw new Error(`${this.name} is ${state}`);
        if (this.disks.length < disks) throw new Error(`${this.name} has ${this.disks.length} disks`);
      },
      { timeout: LIMIT_MS, interval: 50 },
    );
  }

  /** A controller reset, as the driver does it. Returns when it is over. */
  resetController(): void {
    writeFileSync(join(CLASS, this.name, "reset_controller"), "1");
  }

  /** A reset of the PCI function, by whatever the kernel finds first. @returns the ways it has */
  resetFunction(): string {
    const { pci } = this;
    const ways = readFileSync(join(pci, "reset_method"), "utf8").trim();
    writeFileSync(join(pci, "reset"), "1");
    return ways;
  }

  /** Takes the driver off the function. @returns what gives it back */
  unbind(): () => void {
    const driver = realpathSync(join(this.pci, "driver"));
    const address = basename(this.pci);
    writeFileSync(join(driver, "unbind"), address);
    return () => writeFileSync(join(driver, "bind"), address);
  }

  /** An attribute of one of its disks, such as "queue/logical_block_size". */
  disk(name: string, path: string): string {
    return attribute(join("/sys/class/block", name), path);
  }
}

function attribute(folder: string, name: string): string {
  return readFileSync(join(folder, name), "utf8").trim();
}

/**
 * Runs a shell script that has to succeed; one process for many steps, since starting one takes long in an emulated machine.
 * @param args its $1 and following
 */
export async function script(text: string, ...args: string[]): Promise<string> {
  return await succeed("sh", "-euc", text, "sh", ...args);
}

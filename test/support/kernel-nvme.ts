/** An NVMe controller with the kernel's own driver, found by its serial number. */
import { readdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { vi } from "vitest";
import { run } from "./run.js";

const CLASS = "/sys/class/nvme";
/** Ends only what never comes: the kernel driver has a limit of 30 s, which finds a controller that hangs. */
const LIMIT_MS = 540_000;

/** Runs a program that must succeed. @returns its output */
export async function succeed(program: string, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await run(program, args);
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} ended with status ${status}: ${stderr}`);
  return stdout;
}

export class KernelNvme {
  private constructor(private readonly name: string) {}

  /** The controller with this serial number, as soon as its driver is ready. */
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

  /** The sysfs folder of the PCI function. */
  get pci(): string {
    return realpathSync(join(CLASS, this.name, "device"));
  }

  /** Names of its disks in the order of their namespaces. The kernel may number them in another order. */
  get disks(): string[] {
    const names = readdirSync(join(CLASS, this.name)).filter((name) => /^nvme\d+n\d+$/.test(name));
    return names.sort((a, b) => Number(this.disk(a, "nsid")) - Number(this.disk(b, "nsid")));
  }

  /** Waits until it is ready again, with this many disks. */
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

  /** A controller reset by the kernel's driver. Returns when it is complete. */
  resetController(): void {
    writeFileSync(join(CLASS, this.name, "reset_controller"), "1");
  }

  /** A reset of the PCI function, by the first method that the kernel has. @returns all methods */
  resetFunction(): string {
    const { pci } = this;
    const ways = readFileSync(join(pci, "reset_method"), "utf8").trim();
    writeFileSync(join(pci, "reset"), "1");
    return ways;
  }

  /** Unbinds the driver. @returns a function that binds it again */
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
 * Runs a shell script that must succeed. One process does many steps, because starting one takes long in an emulated
 * machine.
 * @param args its $1 and following
 */
export async function script(text: string, ...args: string[]): Promise<string> {
  return await succeed("sh", "-euc", text, "sh", ...args);
}

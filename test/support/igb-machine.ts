/** The network controllers of the machine "igb" (test/machines.ts): two that are joined, and two to be taken out. */
import { existsSync } from "node:fs";
import { afterAll, beforeAll } from "vitest";
import { Igb, type IgbOptions } from "../../examples/drivers/igb/igb.js";
import { bindToVfio, PciDevice, type VfioBinding } from "../../src/index.js";
import type { BackendName } from "../../src/pci/open.js";
import { listPciFunctions } from "../../src/pci/sysfs.js";

/** The 82576 behind the root port in a slot of bus 0. */
export function igbBehind(slot: string): { port: string; bdf: string } {
  const port = `0000:00:${slot}`;
  const found = listPciFunctions().find(
    ({ bdf, deviceId }) => deviceId === 0x10c9 && existsSync(`/sys/bus/pci/devices/${port}/${bdf}`),
  );
  if (found === undefined) throw new Error(`this machine has no 82576 behind ${port}`);
  return { port, bdf: found.bdf };
}

export const leftIgbBdf = (): string => igbBehind("10.0").bdf;
export const rightIgbBdf = (): string => igbBehind("11.0").bdf;

/** Binds functions for the tests of a file. */
export function bindForFile(bdfs: readonly (() => string)[]): void {
  const bindings: VfioBinding[] = [];
  beforeAll(() => {
    for (const bdf of bdfs) bindings.push(bindToVfio(bdf()));
  });
  afterAll(() => {
    for (const binding of bindings) binding.close();
  });
}

/** Only ends what would never end. */
export const LINK_LIMIT = { timeoutMs: 120_000 };

/** Both ends of a cable. */
export class IgbPair implements AsyncDisposable {
  private constructor(
    readonly leftDevice: PciDevice,
    readonly rightDevice: PciDevice,
    readonly left: Igb,
    readonly right: Igb,
  ) {}

  /** Starts both, and waits for the link. */
  static async start(
    backend: BackendName,
    options: IgbOptions = {},
    rightOptions: IgbOptions = options,
  ): Promise<IgbPair> {
    const leftDevice = PciDevice.open(leftIgbBdf(), { backend });
    const rightDevice = PciDevice.open(rightIgbBdf(), { backend });
    const [left, right] = await Promise.all([
      Igb.start(leftDevice, options),
      Igb.start(rightDevice, rightOptions),
    ]);
    await Promise.all([left.linkUp(LINK_LIMIT), right.linkUp(LINK_LIMIT)]);
    return new IgbPair(leftDevice, rightDevice, left, right);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.left.close(), this.right.close()]);
    this.leftDevice.close();
    this.rightDevice.close();
  }
}

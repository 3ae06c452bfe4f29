/** Creates mediated devices of the kernel's sample drivers. */
import { randomUUID } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";

/** The kernel's sample drivers of mediated devices, with their types. */
export type MdevType =
  | "mtty-1"
  | "mtty-2"
  | "mdpy-vga"
  | "mdpy-xga"
  | "mdpy-hd"
  | "mbochs-small"
  | "mbochs-medium"
  | "mbochs-large";

/** A mediated device, created and removed through sysfs. Close everything that has it open first. */
export class MediatedDevice implements Disposable {
  readonly uuid = randomUUID();

  constructor(type: MdevType) {
    const [driver] = type.split("-");
    const create = `/sys/devices/virtual/${driver}/${driver}/mdev_supported_types/${type}/create`;
    writeFileSync(create, this.uuid);
  }

  /** Its folder in sysfs. */
  get path(): string {
    return `/sys/bus/mdev/devices/${this.uuid}`;
  }

  close(): void {
    if (existsSync(this.path)) writeFileSync(`${this.path}/remove`, "1");
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

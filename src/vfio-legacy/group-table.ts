/** The open groups of a container. */
import type { VfioDevice } from "../vfio/device.js";
import type { VfioContainer } from "./container.js";
import { groupOf, VfioGroup } from "./group.js";

/**
 * The groups of a container, each open once: several devices of one group share its descriptor, and the kernel gives out
 * no second one.
 */
export class GroupTable {
  private readonly groups = new Map<number, { readonly group: VfioGroup; users: number }>();

  constructor(private readonly container: VfioContainer) {}

  /** A group that is in the container already. */
  add(group: VfioGroup): void {
    this.groups.set(group.number, { group, users: 1 });
  }

  /**
   * Opens a device, after its group was put into the container where it isn't there yet.
   * @param token as VfioGroup.openDevice()
   * @returns the device, and what to call once it is closed
   * @throws as VfioGroup.openFor, setContainer and openDevice, with nothing left open
   */
  open(bdf: string, token?: string): { readonly device: VfioDevice; readonly leave: () => void } {
    const number = groupOf(bdf);
    let entry = this.groups.get(number);
    if (entry === undefined || entry.group.closed) {
      const group = VfioGroup.open(number);
      try {
        group.setContainer(this.container);
      } catch (error) {
        group.close();
        throw error;
      }
      // Closed with its last device.
      group.relinquish();
      entry = { group, users: 0 };
      this.groups.set(number, entry);
    }
    const { groups } = this;
    const shared = entry;
    shared.users++;
    const leave = (): void => {
      if (--shared.users > 0) return;
      if (groups.get(number) === shared) groups.delete(number);
      shared.group.close();
    };
    try {
      return { device: shared.group.openDevice(bdf, { token }), leave };
    } catch (error) {
      leave();
      throw error;
    }
  }
}

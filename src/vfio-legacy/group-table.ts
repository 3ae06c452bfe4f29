/** The open groups of a container. */
import type { VfioDevice } from "../vfio/device.js";
import type { VfioContainer } from "./container.js";
import { groupOf, VfioGroup } from "./group.js";

/**
 * The groups of a container. The kernel opens a group only once, so all devices of a group share its descriptor.
 */
export class GroupTable {
  private readonly groups = new Map<number, { readonly group: VfioGroup; users: number }>();

  constructor(private readonly container: VfioContainer) {}

  /** Adds a group that is in the container already. */
  add(group: VfioGroup): void {
    this.groups.set(group.number, { group, users: 1 });
  }

  /** The open groups. */
  list(): VfioGroup[] {
    return [...this.groups.values()].map(({ group }) => group).filter(({ closed }) => !closed);
  }

  /**
   * Opens a device. If its group isn't in the container yet, this puts it there first.
   * @param token as VfioGroup.openDevice()
   * @returns the device, and a function to call once it is closed
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
      // leave() closes the group with its last device.
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

/** The open groups of a container. */
import { ArgumentError } from "../core/errors.js";
import { ofCopy } from "../sys/syscalls.js";
import type { VfioDevice } from "../vfio/device.js";
import type { VfioContainer } from "./container.js";
import { groupOf, VfioGroup } from "./group.js";

/** A group of the container, and how many of its devices are open. */
interface Entry {
  readonly group: VfioGroup;
  users: number;
}

/** A device, and a function to call once it is closed. */
interface OpenedInGroup {
  readonly device: VfioDevice;
  readonly leave: () => void;
}

/**
 * The groups of a container. The kernel opens a group only once, so all devices of a group share its descriptor.
 */
export class GroupTable {
  private readonly groups = new Map<number, Entry>();

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
  open(bdf: string, token?: string): OpenedInGroup {
    const number = groupOf(bdf);
    let entry = this.groups.get(number);
    if (entry === undefined || entry.group.closed) entry = this.join(VfioGroup.open(number));
    return this.openIn(entry, bdf, token);
  }

  /**
   * {@link open} by a group that another process opened, which must not be in a container.
   * @param fd the group's descriptor, of which a copy is used
   * @throws ArgumentError: the group is in a container already; as open()
   */
  openGiven(bdf: string, token: string | undefined, fd: number): OpenedInGroup {
    const number = groupOf(bdf);
    if (this.groups.get(number)?.group.closed === false)
      throw new ArgumentError(
        `IOMMU group ${number} is in this DMA space already, so ${bdf} joins it without descriptors`,
      );
    const group = ofCopy(fd, (copy) => VfioGroup.fromFd(copy));
    if (group.status().containerSet) {
      group.close();
      throw new ArgumentError(
        `IOMMU group ${number} is in a container already, so ${bdf} can't join another DMA space`,
      );
    }
    return this.openIn(this.join(group), bdf, token);
  }

  /** Puts a group into the container. @throws as setContainer(), with the group closed */
  private join(group: VfioGroup): Entry {
    try {
      group.setContainer(this.container);
    } catch (error) {
      group.close();
      throw error;
    }
    // leave() closes the group with its last device.
    group.relinquish();
    const entry = { group, users: 0 };
    this.groups.set(group.number, entry);
    return entry;
  }

  private openIn(shared: Entry, bdf: string, token: string | undefined): OpenedInGroup {
    const { groups } = this;
    const { number } = shared.group;
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

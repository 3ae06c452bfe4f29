/** Device nodes of VFIO and iommufd: owner, permissions, and whether a user can open them. */
import { closeSync, constants, openSync } from "node:fs";
import type { FileState, HostRoot } from "./root.js";
import type { HostNames, HostUser } from "./users.js";

/** `device`: a VFIO character device. `container`: /dev/vfio/vfio. */
export type NodeKind = "iommufd" | "container" | "group" | "device";

/** A device node. */
export interface DeviceNode {
  readonly path: string;
  readonly kind: NodeKind;
  /** Its device number, such as `10:196`; undefined if sysfs doesn't tell. */
  readonly number: string | undefined;
  /** Name of its owner. */
  readonly owner: string;
  /** Name of its group. */
  readonly group: string;
  /** The permission bits of chmod(2). */
  readonly mode: number;
  /** Whether the user can open it for reading and writing. */
  readonly canOpen: boolean;
  /** Why not, where the kernel said so: the name of an errno. */
  readonly errno: string | undefined;
}

/** Whether permission bits let a user read and write. Access control lists count as the group's bits. */
export function permits({ uid, gid, mode }: FileState, user: HostUser): boolean {
  if (user.capabilities.has("CAP_DAC_OVERRIDE")) return true;
  const shift = user.uid === uid ? 6 : user.gids.includes(gid) ? 3 : 0;
  return ((mode >> shift) & 6) === 6;
}

/** All nodes of VFIO and iommufd that exist. */
export function readNodes(root: HostRoot, names: HostNames, user: HostUser): DeviceNode[] {
  const found: DeviceNode[] = [];
  const add = (path: string, kind: NodeKind, sysfs: string): void => {
    const state = root.state(path);
    if (state === undefined) return;
    const { uid, gid, mode } = state;
    found.push({
      path,
      kind,
      number: root.text(`/sys/class/${sysfs}/dev`),
      owner: names.user(uid),
      group: names.groupName(gid),
      mode,
      ...access(root, path, kind, state, user),
    });
  };
  add("/dev/iommu", "iommufd", "misc/iommu");
  add("/dev/vfio/vfio", "container", "misc/vfio");
  for (const name of root.names("/dev/vfio")) {
    if (/^(?:noiommu-)?\d+$/.test(name)) add(`/dev/vfio/${name}`, "group", `vfio/${name}`);
  }
  for (const name of root.names("/dev/vfio/devices")) {
    add(`/dev/vfio/devices/${name}`, "device", `vfio-dev/${name}`);
  }
  return found;
}

function access(
  root: HostRoot,
  path: string,
  kind: NodeKind,
  state: FileState,
  user: HostUser,
): Pick<DeviceNode, "canOpen" | "errno"> {
  const byBits = { canOpen: permits(state, user), errno: undefined };
  if (!root.isLive || !user.isThisProcess || !state.isDevice) return byBits;
  // Another program that opens the group at the same time would fail, since only one may.
  if (kind === "group") return byBits;
  // Opening the node of a module that isn't loaded would load it.
  if (kind === "iommufd" && !root.exists("/sys/class/misc/iommu")) return byBits;
  if (kind === "container" && !root.exists("/sys/class/misc/vfio")) return byBits;
  try {
    closeSync(openSync(path, constants.O_RDWR | constants.O_NONBLOCK));
    return { canOpen: true, errno: undefined };
  } catch (error) {
    const errno = error instanceof Error && "code" in error ? String(error.code) : "an unknown error";
    return { canOpen: false, errno };
  }
}

/** `iova permissions`. */
import { json } from "./common.js";
import { describe, flag, value } from "./description.js";

export const permissionsDescription = describe({
  name: "permissions",
  operands: "BDF...",
  summary: "give devices to an ordinary user or a group, so that programs need no root",
  usage: [
    "--user NAME | --group NAME [--memlock SIZE] [--dry-run] [--json] BDF...",
    "--remove --user NAME | --group NAME [--json] [BDF...]",
  ],
  text: [
    "Writes a udev rule for each device, for its character device and its group's node, and one for /dev/iommu and /dev/vfio/vfio. A user " +
      "becomes the owner of the devices' nodes, and joins the group iova, which has /dev/iommu; a group has all of them. The memlock limit is " +
      "raised by limits.d, and for users of systemd by a drop-in. Nodes that exist change at once. Needs root.",
    "--remove takes that back, for these devices or all: the limit and the shared nodes with the last device. iova restore does it, too.",
  ],
  offers: ["function"],
  options: {
    user: value("NAME", "a user's name, also one of a directory such as alice@example.com"),
    group: value("NAME", "a group's name"),
    memlock: value("SIZE", "how much memory may be pinned, such as 512M or 4G, or unlimited (default 4G)"),
    remove: flag("take permissions back"),
    "dry-run": flag("print the files and commands, and do nothing"),
    json,
  },
  examples: [
    { command: "iova permissions --user alice --dry-run 0000:01:00.0", text: "shows the rules" },
    {
      command: "iova permissions --group vfio --memlock unlimited 0000:01:00.0",
      text: "gives a device to a group",
    },
    { command: "iova permissions --user alice --remove", text: "takes all devices of a user back" },
  ],
});

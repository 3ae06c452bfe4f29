/** `iova serve`. */
import { json } from "./common.js";
import { describe, repeated, value } from "./description.js";

export const serveDescription = describe({
  name: "serve",
  operands: "BDF... --socket PATH",
  summary: "open devices for users who may not, and pass them the descriptors",
  usage: [
    "--socket PATH --user NAME | --group NAME [--json] BDF...",
    "--socket PATH --allow WHO=BDF[,BDF...]... [--json]",
  ],
  text: [
    "Waits at a UNIX socket for programs of the named users and groups. Each gets the descriptors of one device at a time: a program " +
      "opens served:PATH@BDF, and needs no permission on /dev/vfio or /dev/iommu. The kernel tells who a program is. The device comes back " +
      "when the connection ends; while a process still has it open, it isn't lent again.",
    "The devices must be bound to vfio-pci (iova bind); others are refused at once. Run it as a user who may open them, such as root. Ctrl-C stops it; programs keep " +
      "what they have.",
  ],
  offers: ["function"],
  options: {
    socket: value("PATH", "where to listen; everybody may connect, and only the named are served", {
      offer: "file",
    }),
    user: repeated("NAME", "a user's name, or a number; repeatable"),
    group: repeated("NAME", "a group's name; repeatable"),
    allow: repeated(
      "WHO=BDF",
      "lend these devices only to this user, or with %NAME to this group: alice=0000:01:00.0,0000:02:00.0; repeatable",
    ),
    json,
  },
  examples: [
    {
      command: "iova serve --socket /run/iova.sock --user alice 0000:01:00.0",
      text: "lends a device to a user (as root)",
    },
    {
      command: "iova serve --socket /run/iova.sock --allow alice=0000:01:00.0 --allow %storage=0000:02:00.0",
      text: "lends each device to somebody else",
    },
    { command: "iova nvme list served:/run/iova.sock@0000:01:00.0", text: "uses it, as that user" },
  ],
});

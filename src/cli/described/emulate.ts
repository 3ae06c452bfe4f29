/** `iova emulate`. */
import { describe, flag, repeated, value } from "./description.js";

/** As in `emulatedDeviceNames` of the library, which a description can't load. */
const deviceNames = ["nvme", "edu"] as const;

/** Options of every device. */
export const commonEmulateOptions = {
  socket: value("PATH", "where to listen", { offer: "file" }),
  fault: repeated(
    "TEXT",
    "inject a fault, such as status,queue=io,opcode=2,nth=10,status=0x281 (nvme) or stuck,where=interruptStatus,nth=3 (others); " +
      "repeatable; docs/emulator.md and docs/testing-drivers.md list them",
  ),
  "trust-clients": flag(
    "map client memory that can't be sealed (SPDK, QEMU's memory-backend-file) instead of copying it: faster, but a client that " +
      "truncates it ends this process",
  ),
} as const;

/** Options of nvme alone. */
export const nvmeEmulateOptions = {
  size: value("SIZE", "bytes of all namespaces together, such as 512M or 4G (default 1G)"),
  file: value("FILE", "store the data in a file; without it, in memory", { offer: "file" }),
  incoming: flag("FILE belongs to a migration source; wait for its state"),
  namespaces: value("N", "how many namespaces (default 1)"),
  "block-size": value("BYTES", "512 or 4096 (default 512)", { offer: ["512", "4096"] }),
  metadata: value("BYTES", "metadata per block: 0, 8, 16 or 64 (default 0)", {
    offer: ["0", "8", "16", "64"],
  }),
  pi: value("TYPE", "end-to-end protection, type 0 to 3 (default 0)", { offer: ["0", "1", "2", "3"] }),
  zns: flag("zoned namespaces"),
  "key-value": flag("namespaces with keys and values instead of blocks, in memory"),
  cmb: value("SIZE", "controller memory buffer (default none)"),
  "host-memory": value("SIZE", "host memory that the controller asks for as a cache (default none)"),
  "ana-groups": value("N", "groups of asymmetric namespace access (default 0: none)"),
  "power-states": value("N", "power states, up to 32, the second half non-operational (default 1)"),
  "boot-partitions": value("SIZE", "size of each of two boot partitions, up to 4M (default none)"),
  rpmb: value("N", "targets of the Replay Protected Memory Block, up to 7 (default none)"),
  opal: flag("TCG Opal: ownership and locking ranges"),
  "cmb-without": value("USES", "CMB uses to disable, e.g. SQS,LISTS,CDMMMS (bits of CMBSZ and CMBLOC)"),
  "queue-pairs": value("N", "I/O queue pairs (default 64)"),
  vectors: value("N", "MSI-X vectors; 0 leaves INTx (default 65)"),
  serial: value("TEXT", "serial number, unique among the controllers of a host (default IOVA0001)"),
  peer: repeated("PATH", "serve another controller of the same NVM subsystem there; repeatable"),
  doorbells: value("WAY", "shared: clients map the doorbells (default); messages: each write is a message", {
    offer: ["shared", "messages"],
  }),
} as const;

export const emulateDescription = describe({
  name: "emulate",
  operands: "nvme|edu|FILE --socket PATH",
  summary: "serve an NVMe controller, edu, or a device of your own to vfio-user clients",
  usage: [
    "nvme --socket PATH [OPTIONS]",
    "edu --socket PATH [--fault TEXT] [--trust-clients]",
    "FILE --socket PATH [--fault TEXT] [--trust-clients]",
  ],
  text: [
    "Serves a device at a UNIX socket to any vfio-user client: this library (vfio-user:PATH), QEMU (-device vfio-user-pci), SPDK. " +
      "One client at a time; Ctrl-C stops it. Does not need root.",
    "FILE is a device of your own: an ES module such as ./timer.js whose default export is the class of the device " +
      "(docs/testing-drivers.md). It may be TypeScript, such as ./timer.ts, which Node.js 22.18 and later load.",
  ],
  statuses: { 2: "wrong usage, or FILE can't be loaded or its class throws" },
  offers: [deviceNames, "nothing"],
  options: { ...commonEmulateOptions, ...nvmeEmulateOptions },
  examples: [
    { command: "iova emulate nvme --socket /tmp/nvme.sock", text: "serves an empty disk of 1 GiB" },
    { command: "iova nvme list vfio-user:/tmp/nvme.sock", text: "shows it, from another terminal" },
    { command: "iova emulate ./timer.js --socket /tmp/timer.sock", text: "serves a device of your own" },
  ],
});

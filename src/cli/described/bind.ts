/** `iova bind`. */
import { selectionOptions } from "./binding.js";
import { describe, flag, value } from "./description.js";

export const bindDescription = describe({
  name: "bind",
  operands: "BDF...",
  summary: "bind functions to vfio-pci, for a driver in user space",
  usage: [
    "BDF... [--group] [--driver NAME] [--dry-run] [--json] [--timeout MS]",
    "--class CLASS | --id VENDOR:DEVICE [...]",
    "BDF... --persist [--driver NAME] [--dry-run] [--json]",
    "--restore [BDF...] [--json]",
  ],
  text: [
    "Binds all of them, or none: an error, Ctrl-C or SIGTERM undoes what was done before. Needs root. Fails, with nothing done, if one is " +
      "in use: a mounted disk, swap, a volume, a disk that a program has open, a network interface that is up or part of another. Loads the driver's kernel module if it is missing. " +
      "Two programs that bind a function do so one after the other.",
    "--persist also binds them at each start of the machine, through driverctl where it is installed, else by a rule of udev, and records " +
      "that. --restore, or iova restore, takes it back.",
  ],
  offers: ["function"],
  options: {
    driver: value(
      "NAME",
      "another VFIO driver, such as mlx5-vfio-pci; best: the vendor's that fits, or vfio-pci",
      {
        offer: ["best", "vfio-pci"],
      },
    ),
    persist: flag("also bind at each start of the machine; iova bind --restore takes it back"),
    restore: flag("end what --persist did, for these or all functions"),
    ...selectionOptions,
  },
  examples: [
    { command: "iova bind 0000:00:03.0", text: "takes the function from the kernel's driver" },
    { command: "iova bind 0000:00:03.0 --group --dry-run", text: "shows who would come along" },
    { command: "iova bind 0000:00:03.0 --persist", text: "takes it now and at each start" },
    { command: "iova bind --id 1b36:0010 --driver best", text: "binds every function of this model" },
  ],
});

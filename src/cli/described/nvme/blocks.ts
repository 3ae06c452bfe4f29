/** `iova nvme read`, `write`, `trim` and `format`. */
import { describe, flag, value } from "../description.js";
import { details } from "./block-commands.js";
import {
  blocksOptions,
  controllerOptions,
  forceOption,
  namespaceOption,
  TARGET,
  yesOption,
} from "./common.js";

export const readDescription = describe({
  name: "nvme read",
  operands: "TARGET [--data-file FILE]",
  summary: "read blocks, to a file or standard output",
  usage: ["TARGET [--start-block N] [--blocks N] [--data-file FILE]"],
  text: [
    "Reads logical blocks, by default one. Without --data-file, a terminal gets a hex dump, and any other standard output the bytes.",
    TARGET,
  ],
  offers: ["target", "nothing"],
  options: {
    ...blocksOptions,
    "data-file": value("FILE", "where to; - is standard output", { short: "d", offer: "file" }),
    data: value("FILE", "the same as --data-file", { offer: "file" }),
    ...details,
    "namespace-id": namespaceOption,
    ...controllerOptions,
  },
  examples: [
    { command: "iova nvme read 0000:00:03.0 --blocks 2048 | sha256sum", text: "reads the first 2048 blocks" },
  ],
});

export const writeDescription = describe({
  name: "nvme write",
  operands: "TARGET --data-file FILE",
  summary: "write blocks, from a file or standard input",
  usage: ["TARGET [--start-block N] [--blocks N] --data-file FILE"],
  text: [
    "Writes a file or standard input to logical blocks, all of it by default, and flushes. The data must be a whole number of blocks.",
    TARGET,
  ],
  offers: ["target", "nothing"],
  options: {
    ...blocksOptions,
    "data-file": value("FILE", "where from; - is standard input", { short: "d", offer: "file" }),
    data: value("FILE", "the same as --data-file", { offer: "file" }),
    ...details,
    "dir-type": value("N", "directive: 1 a stream, 2 a placement identifier", { short: "T" }),
    "dir-spec": value("N", "its number", { short: "S" }),
    "namespace-id": namespaceOption,
    force: forceOption,
    yes: yesOption,
    ...controllerOptions,
  },
  examples: [
    {
      command: "iova nvme write 0000:00:03.0 --data-file disk.img --yes",
      text: "writes the file from block 0 on",
    },
  ],
});

export const trimDescription = describe({
  name: "nvme trim",
  operands: "TARGET --blocks N | --all",
  summary: "deallocate blocks",
  usage: ["TARGET --start-block N --blocks N --yes", "TARGET --all --yes"],
  text: ["Deallocates logical blocks (Dataset Management): their data can be lost.", TARGET],
  offers: ["target", "nothing"],
  options: {
    ...blocksOptions,
    all: flag("the whole namespace"),
    "namespace-id": namespaceOption,
    force: forceOption,
    yes: yesOption,
    ...controllerOptions,
  },
  examples: [{ command: "iova nvme trim 0000:00:03.0 --all --yes", text: "deallocates the whole namespace" }],
});

export const formatDescription = describe({
  name: "nvme format",
  operands: "TARGET [--lbaf N]",
  summary: "format a namespace",
  usage: ["TARGET [--lbaf N | --block-size BYTES] [OPTIONS] --yes"],
  text: [
    "Formats a namespace: all its data is lost. Keeps the LBA format unless you choose another.",
    TARGET,
  ],
  offers: ["target", "nothing"],
  options: {
    "namespace-id": value("N", "the namespace (default: the only one); 0xffffffff is all of them", {
      short: "n",
    }),
    lbaf: value("N", "LBA format, as iova nvme id-ns lists them", { short: "l" }),
    "block-size": value("BYTES", "the first LBA format with this block size and no metadata", {
      short: "b",
      offer: ["512", "4096"],
    }),
    ses: value("N", "secure erase: 0 none, 1 user data, 2 cryptographic (default 0)", {
      short: "s",
      offer: ["0", "1", "2"],
    }),
    pi: value("N", "end-to-end protection type 0 to 3 (default 0)", {
      short: "i",
      offer: ["0", "1", "2", "3"],
    }),
    pil: value("N", "protection in the last (0) or first (1) bytes of the metadata", {
      short: "p",
      offer: ["0", "1"],
    }),
    ms: value("N", "separate metadata (0), or after each block's data (1)", {
      short: "m",
      offer: ["0", "1"],
    }),
    force: forceOption,
    yes: yesOption,
    ...controllerOptions,
    timeout: value("MS", "time limit of the format in milliseconds (default 600000)", { short: "t" }),
  },
  examples: [
    {
      command: "iova nvme format 0000:00:03.0 --block-size 4096 --yes",
      text: "erases, with blocks of 4 KiB",
    },
  ],
});

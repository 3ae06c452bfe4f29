/** `iova nvme flush`, `compare`, `copy`, `verify`, `write-zeroes`, `write-uncor` and `dsm`. */
import { flag, type OptionTable, value } from "../description.js";
import { blocksOptions, destroys, namespaceOption, reads } from "./common.js";

const namespace = { "namespace-id": namespaceOption } as const;

/** Protection information field. */
export const prinfo = value(
  "N",
  "protection: 8 the controller generates it, 4 checks the guard, 2 the application tag, 1 the reference tag",
);

/** End-to-end protection, for namespaces that have it. */
export const protection = {
  prinfo: { ...prinfo, short: "p" },
  "ref-tag": value("N", "reference tag of the first block", { short: "r" }),
  "app-tag": value("N", "application tag", { short: "a" }),
  "app-tag-mask": value("N", "bits of the application tag that are checked", { short: "m" }),
  "storage-tag": value("N", "storage tag", { short: "g" }),
} as const;

/** What read, write and compare have beside blocks and data. */
export const details = {
  metadata: value("FILE", "metadata of the blocks, where it isn't part of their data", {
    short: "M",
    offer: "file",
  }),
  "metadata-size": value("BYTES", "its length, which is checked", { short: "y" }),
  "limited-retry": flag("the controller should limit its retries", "l"),
  "force-unit-access": flag("from or to the medium, not only the cache", "f"),
  ...protection,
  "storage-tag-check": flag("check the storage tag", "C"),
} as const;

const slbs = value("LIST", "first block of each range, with commas", { short: "s" });

const onBlocks = <const O extends OptionTable>(more: O) => ({ ...namespace, ...blocksOptions, ...more });

export const blockDescriptions = {
  flush: reads("flush", "commit written blocks to the medium", {
    options: {
      "namespace-id": value("N", "the namespace (default: the only one); 0xffffffff is all of them", {
        short: "n",
      }),
    },
    example: ["", "flushes the only namespace"],
  }),
  compare: reads("compare", "compare blocks with a file", {
    needs: "-d FILE",
    text: "The controller compares. Status 1 if a block differs.",
    options: onBlocks({
      data: value("FILE", "what to compare with; - is standard input", { short: "d", offer: "file" }),
      ...details,
    }),
    example: ["-s 8 -d disk.img", "compares the file with the blocks from 8 on"],
  }),
  verify: reads("verify", "check that blocks can be read, without a transfer", {
    needs: "--blocks N",
    options: onBlocks(protection),
    example: ["--blocks 2048", "checks the first 2048 blocks"],
  }),
  writeZeroes: destroys("write-zeroes", "set blocks to zero, without a transfer", {
    needs: "--blocks N",
    options: onBlocks({
      deac: flag("the controller may deallocate them", "d"),
      "force-unit-access": flag("write to the medium, not only to the cache", "f"),
      ...protection,
    }),
    example: ["-s 8 --blocks 16", "sets 16 blocks to zero"],
  }),
  writeUncorrectable: destroys("write-uncor", "make blocks unreadable until they are written again", {
    needs: "--blocks N",
    options: onBlocks({}),
    example: ["-s 8 --blocks 1", "makes reads of block 8 fail"],
  }),
  copy: destroys("copy", "copy blocks within a namespace or to it, without a transfer", {
    needs: "-d N -s LIST -b LIST",
    options: {
      ...namespace,
      sdlba: value("N", "first block to write", { short: "d" }),
      slbs,
      blocks: value("LIST", "blocks of each range, zero-based as in nvme-cli: 0 is one block", {
        short: "b",
      }),
      "force-unit-access": flag("write to the medium, not only to the cache", "f"),
      "limited-retry": flag("the controller should limit its retries", "l"),
      snsids: value("LIST", "namespace of each range (default: the one that is written)", { short: "N" }),
      format: value("N", "format of the ranges: 0 or 1, with --snsids 2 or 3", { short: "F" }),
    },
    example: ["-d 64 -s 0,32 -b 7,7", "copies two times 8 blocks to 64 and after"],
  }),
  dsm: destroys("dsm", "Dataset Management: deallocate ranges, or give hints", {
    needs: "-s LIST -b LIST",
    options: {
      ...namespace,
      slbs,
      blocks: value("LIST", "blocks of each range", { short: "b" }),
      "ctx-attrs": value("LIST", "context attributes of each range", { short: "a" }),
      ad: flag("deallocate", "d"),
      idw: flag("each range is written as one", "w"),
      idr: flag("each range is read as one", "r"),
    },
    example: ["-s 0,64 -b 8,8 -d", "deallocates two ranges"],
  }),
};

/** `iova nvme kv`. */
import { flag, value } from "../description.js";
import { changes, namespaceOption } from "./common.js";

const verbs = ["store", "retrieve", "delete", "exist", "list"] as const;

export const kvDescriptions = {
  kv: {
    ...changes("kv", "keys and values: store, retrieve, delete, exist, list", {
      text: "Of a namespace of the Key Value Command Set. exist ends with status 1 if there is no such key. store and delete ask, or need --yes.",
      options: {
        "namespace-id": namespaceOption,
        key: value("TEXT", "the key, up to 16 bytes; list: the first one to print", { short: "k" }),
        "key-hex": value("DIGITS", "the key as hexadecimal digits"),
        data: value("FILE", 'the value to store, or where it goes; "-" is standard input or output', {
          short: "d",
          offer: "file",
        }),
        new: flag("store: only if there is no such key"),
        existing: flag("store: only if there is one"),
        limit: value("N", "list: at most so many keys"),
      },
      example: ["", ""],
    }),
    operands: "store|... TARGET",
    usage: [
      "store TARGET -k KEY -d FILE [--new | --existing] --yes",
      "retrieve TARGET -k KEY [-d FILE]",
      "delete TARGET -k KEY --yes",
      "exist TARGET -k KEY",
      "list TARGET [-k KEY] [--limit N]",
    ],
    statuses: { 1: "exist: there is no such key" },
    offers: [verbs, "target", "nothing"],
    examples: [
      { command: "iova nvme kv store 0000:00:03.0 -k name -d value.bin --yes", text: "stores a value" },
      { command: "iova nvme kv list 0000:00:03.0", text: "prints all keys" },
    ],
  },
} as const;

/** `iova vfs`. */
import { json } from "./common.js";
import { describe } from "./description.js";

export const vfsDescription = describe({
  name: "vfs",
  operands: "BDF",
  summary: "list the virtual functions of a function (SR-IOV)",
  usage: ["BDF [--json]"],
  text: [
    "Prints the virtual functions of a function, or those beside a virtual one, and what has them open. iova sriov creates and removes them.",
  ],
  offers: ["function"],
  options: { json },
  examples: [{ command: "iova vfs 0000:01:00.0", text: "lists them" }],
});

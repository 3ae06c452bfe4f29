/** `iova help`. */
import { describe } from "./description.js";

export const helpDescription = describe({
  name: "help",
  operands: "[COMMAND]",
  summary: "the commands, or one of them",
  usage: ["[COMMAND]"],
  text: ["Prints what iova COMMAND --help prints; without a command, the list of commands."],
  offers: ["command", "nothing"],
  options: {},
  examples: [{ command: "iova help bind", text: "explains iova bind" }],
});

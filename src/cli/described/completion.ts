/** `iova completion`. */
import { describe } from "./description.js";

export const shells = ["bash", "zsh", "fish"] as const;

export const completionDescription = describe({
  name: "completion",
  operands: shells.join("|"),
  summary: "print the program that lets a shell complete iova's commands, options and devices",
  usage: [shells.join("|")],
  text: [
    "Put what it prints where the shell loads it at its start. It reads addresses of functions from /sys itself, without starting Node.js.",
  ],
  offers: [shells, "nothing"],
  options: {},
  examples: [
    { command: "iova completion bash > ~/.local/share/bash-completion/completions/iova", text: "for bash" },
    { command: "iova completion zsh > ~/.zfunc/_iova", text: "for zsh, with ~/.zfunc in fpath" },
    { command: "iova completion fish > ~/.config/fish/completions/iova.fish", text: "for fish" },
  ],
});

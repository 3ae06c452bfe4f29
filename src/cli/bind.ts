/** `iova bind` and `iova unbind`. */
import { bindToVfio, unbindFromVfio, VFIO_PCI } from "../pci/bind.js";
import { onlyOperand, parseCommandLine, stepTimeoutOf } from "./command-line.js";
import { bindDescription } from "./described/bind.js";
import { unbindDescription } from "./described/unbind.js";
import { print } from "./terminal.js";

/** @throws ConfigError, and as bindToVfio() */
export function runBind(argv: readonly string[]): void {
  const { values, positionals } = parseCommandLine(bindDescription, argv);
  const timeoutMs = stepTimeoutOf(bindDescription, values.timeout);
  const binding = bindToVfio(onlyOperand(bindDescription, positionals, "BDF"), { timeoutMs });
  // The binding outlives this process.
  binding.relinquish();
  print(`${binding.bdf} is bound to ${VFIO_PCI} (before: ${binding.previousDriver ?? "no driver"})`);
}

/** @throws ConfigError, and as unbindFromVfio() */
export function runUnbind(argv: readonly string[]): void {
  const { values, positionals } = parseCommandLine(unbindDescription, argv);
  const timeoutMs = stepTimeoutOf(unbindDescription, values.timeout);
  const bdf = onlyOperand(unbindDescription, positionals, "BDF");
  print(`${bdf} is bound to ${unbindFromVfio(bdf, { timeoutMs }) ?? "no driver"}`);
}

/** `iova unbind`: several functions, of which all are given back or none. */
import { listPersistentBindings } from "../../host/persistent-binding.js";
import { parseBdf } from "../../pci/bdf.js";
import { bindToVfio, unbindFromVfio } from "../../pci/bind.js";
import { driverOf } from "../../pci/sysfs.js";
import { isVfioBound } from "../../pci/vfio-driver.js";
import { parseCommandLine, stepTimeoutOf } from "../command-line.js";
import { unbindDescription } from "../described/unbind.js";
import { print } from "../terminal.js";
import { allOrNone } from "./all-or-none.js";
import { selectFunctions } from "./selection.js";

/** @throws ConfigError, and as unbindFromVfio() */
export async function runUnbind(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(unbindDescription, argv);
  const { class: classes = [], id: ids = [], group = false } = values;
  const timeoutMs = stepTimeoutOf(unbindDescription, values.timeout);
  const wanted = { addresses: positionals, classes, ids, group };
  const named = new Set(positionals.map(parseBdf));
  const functions = selectFunctions(unbindDescription, wanted).filter(
    // Only an address means a function whatever its driver: unbinding it clears driver_override.
    ({ bdf }) => isVfioBound(bdf) || named.has(bdf),
  );
  if (values["dry-run"] === true) {
    for (const { bdf, driver } of functions) print(`${bdf} would be unbound from ${driver ?? "no driver"}`);
    return;
  }
  const said: string[] = [];
  await allOrNone(functions, ({ bdf }) => {
    const before = isVfioBound(bdf) ? driverOf(bdf) : undefined;
    said.push(`${bdf} is bound to ${unbindFromVfio(bdf, { timeoutMs }) ?? "no driver"}`);
    const undo = (): void => {
      if (before !== undefined) bindToVfio(bdf, { driver: before, timeoutMs }).relinquish();
    };
    return { name: bdf, undo };
  });
  print(said.length === 0 ? "no function is bound to a VFIO driver" : said.join("\n"));
  const lasting = new Set(listPersistentBindings().map(({ about }) => about[1]));
  const again = functions.filter(({ bdf }) => lasting.has(bdf)).map(({ bdf }) => bdf);
  if (again.length > 0)
    print(
      `bound again at the next start: ${again.join(", ")}. To end that: iova bind --restore ${again.join(" ")}`,
    );
}

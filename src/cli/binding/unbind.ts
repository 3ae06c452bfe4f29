/** `iova unbind`: several functions, of which all are given back or none. */
import { listPersistentBindings } from "../../host/persistent-binding.js";
import { parseBdf } from "../../pci/address/bdf.js";
import { bindToVfio, unbindFromVfio } from "../../pci/bind.js";
import { driverOf } from "../../pci/sysfs.js";
import { isVfioBound } from "../../pci/vfio-driver.js";
import { parseCommandLine, stepTimeoutOf } from "../command-line.js";
import { unbindDescription } from "../described/unbind.js";
import { print, printJson } from "../terminal.js";
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
  const lasting = new Set(listPersistentBindings().map(({ about }) => about[1]));
  const isDone = values["dry-run"] !== true;
  const results: Unbound[] = functions.map(({ bdf, driver: before }) => ({
    bdf,
    before,
    unbound: isDone,
    boundAtStart: lasting.has(bdf),
  }));
  if (isDone)
    await allOrNone(results, (result) => {
      const { bdf } = result;
      const before = isVfioBound(bdf) ? driverOf(bdf) : undefined;
      result.driver = unbindFromVfio(bdf, { timeoutMs });
      const undo = (): void => {
        if (before !== undefined) bindToVfio(bdf, { driver: before, timeoutMs }).relinquish();
      };
      return { name: bdf, undo };
    });
  if (values.json === true) printJson(results);
  else printResults(results, isDone);
}

/** What became of a function; what `--json` prints. */
interface Unbound {
  readonly bdf: string;
  /** Its driver before; undefined if it had none. */
  readonly before: string | undefined;
  /** Its driver now; undefined if it has none, or nothing was done. */
  driver?: string | undefined;
  /** false: it would be unbound. */
  readonly unbound: boolean;
  /** `iova bind --persist` binds it again at the next start. */
  readonly boundAtStart: boolean;
}

function printResults(results: readonly Unbound[], isDone: boolean): void {
  if (!isDone) {
    for (const { bdf, before } of results) print(`${bdf} would be unbound from ${before ?? "no driver"}`);
    return;
  }
  const said = results.map(({ bdf, driver }) => `${bdf} is bound to ${driver ?? "no driver"}`);
  print(said.length === 0 ? "no function is bound to a VFIO driver" : said.join("\n"));
  const again = results.flatMap(({ bdf, boundAtStart }) => (boundAtStart ? [bdf] : []));
  if (again.length > 0)
    print(
      `bound again at the next start: ${again.join(", ")}. To end that: iova bind --restore ${again.join(" ")}`,
    );
}

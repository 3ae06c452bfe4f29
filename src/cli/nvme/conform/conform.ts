/** `iova nvme conform`: checks a controller against the specification. */
import { writeFileSync } from "node:fs";
import { assertNvme } from "../../../nvme/class-code.js";
import { PciDevice } from "../../../pci/device.js";
import { parseCommandLine } from "../../command-line.js";
import { conformDescription } from "../../described/nvme/conform.js";
import { print } from "../../terminal.js";
import { controllerOptions, namespaceOption, targetOperand, wantsJson } from "../arguments.js";
import { assertCanConfirm, confirm } from "../confirm.js";
import { assertBound, withController } from "../open.js";
import { printJson } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { assertUnused } from "../unused.js";
import { reportHtml, reportJson, resultLine, summary } from "./report.js";
import { conform as runChecks } from "./run.js";

const TIMEOUT_MS = 10_000;

async function run(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(conformDescription, argv);
  const target = targetOperand("conform", positionals);
  const json = wantsJson("conform", values);
  const nsid = namespaceOption("conform", values["namespace-id"]);
  const { timeoutMs = TIMEOUT_MS, ...open } = controllerOptions("conform", values);
  const destroyData = values["destroy-data"] === true;
  if (destroyData) {
    const [yes, force] = [values.yes === true, values.force === true];
    assertCanConfirm("conform --destroy-data", yes);
    // With both, a controller is checked that the driver can't start.
    if (!yes || !force)
      await withController(target, open, async (nvme) => {
        await assertUnused(nvme, nsid ?? "all", force);
        await confirm(
          nvme,
          "This overwrites, formats and sanitizes: all data of the NVM subsystem is lost",
          yes,
        );
      });
  }
  assertBound(target);
  using device = PciDevice.open(target, {
    backend: open.backend,
    vfioUser: open.vfioUser,
    vfToken: open.vfToken,
  });
  // A wrong class code is a result, so only what isn't a storage controller is refused.
  assertNvme(device, device.function.classCode >>> 16 === 1);
  const options = { timeoutMs, destroyData, nsid, only: values.only };
  const results = await runChecks(device, options, (result) => json || print(resultLine(result)));
  const report = { target, results };
  if (values.html !== undefined) writeFileSync(values.html, reportHtml(report));
  if (json) printJson(reportJson(report));
  else print(`\n${summary(report)}`);
  if (results.some(({ result }) => result === "fail")) process.exitCode = 1;
}

export const conform: NvmeSubcommand = { description: conformDescription, run };

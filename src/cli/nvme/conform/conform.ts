/** `iova nvme conform`: checks a controller against the specification. */
import { assertNvme } from "../../../nvme/class-code.js";
import { PciDevice } from "../../../pci/device.js";
import { parseCommandLine } from "../../command-line.js";
import { conformDescription } from "../../described/nvme/conform.js";
import { checkWritable, writeNamed } from "../../page.js";
import { print } from "../../terminal.js";
import { controllerOptions, namespaceOption, targetOperand, wantsJson } from "../arguments.js";
import { Arguments } from "../command.js";
import { assertCanConfirm, confirm } from "../confirm.js";
import { assertBound, withController } from "../open.js";
import { printJson } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { assertUnused } from "../unused.js";
import { reportHtml, reportJson, resultLine, summary } from "./report.js";
import { conform as runChecks } from "./run.js";

const TIMEOUT_MS = 10_000;

/** The bytes of --firmware. @throws ConfigError, IovaError */
async function imageOf(values: Readonly<Record<string, unknown>>): Promise<Uint8Array | undefined> {
  const args = new Arguments<"firmware">("conform", "", values, conformDescription.options);
  const image = await args.file("firmware");
  if (image === undefined) return undefined;
  if (values["destroy-data"] !== true) throw args.wrong("--firmware needs --destroy-data");
  if (image.length % 4 === 0) return image;
  throw args.wrong(`--firmware: the image has ${image.length} bytes, no multiple of 4`);
}

async function run(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(conformDescription, argv);
  const target = targetOperand("conform", positionals);
  const json = wantsJson("conform", values);
  const nsid = namespaceOption("conform", values["namespace-id"]);
  const { timeoutMs = TIMEOUT_MS, ...open } = controllerOptions("conform", values);
  const destroyData = values["destroy-data"] === true;
  const firmware = await imageOf(values);
  if (values.html !== undefined) checkWritable(values.html);
  if (destroyData) {
    const [yes, force] = [values.yes === true, values.force === true];
    assertCanConfirm("conform --destroy-data", yes);
    // With both, a controller is checked that the driver can't start.
    if (!yes || !force)
      await withController(target, open, async (nvme) => {
        await assertUnused(nvme, nsid ?? "all", force);
        await confirm(
          nvme,
          "This overwrites, formats, sanitizes and makes namespaces: all data of the NVM subsystem is lost",
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
  const options = { timeoutMs, destroyData, nsid, firmware, only: values.only };
  const results = await runChecks(device, options, (result) => json || print(resultLine(result)));
  const report = { target, results };
  if (json) printJson(reportJson(report));
  else print(`\n${summary(report)}`);
  if (values.html !== undefined) writeNamed("--html", values.html, reportHtml(report));
  if (results.some(({ result }) => result === "fail")) process.exitCode = 1;
}

export const conform: NvmeSubcommand = { description: conformDescription, run };

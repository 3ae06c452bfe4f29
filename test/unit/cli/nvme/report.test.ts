/** `iova nvme report` on emulated controllers. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { FeatureId } from "../../../../src/nvme/spec/opcodes.js";
import { startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { iova, iovaJson } from "../../../support/nvme-cli.js";
import { checkWellFormed } from "../../../support/well-formed.js";

useEmulatedNvme();

const folder = mkdtempSync(join(tmpdir(), "iova-report-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("report has registers, structures, every namespace, logs and features, and says what is refused", async () => {
  const { address } = await startController({ namespaces: 2, serial: 'S"1<b>' });
  const json = await iovaJson("report", address);
  expect(json).toMatchObject({
    registers: { csts: 1 },
    "id-ctrl": { mn: expect.stringContaining("iova") },
    namespaces: [
      { nsid: 1, "id-ns": { nsze: 16384 } },
      { nsid: 2, "id-ns": { nsze: 16384 } },
    ],
    "smart-log": { temperature: expect.any(Number) },
    "list-ctrl": { num_ctrl: expect.any(Number) },
    features: { numberOfQueues: { fid: FeatureId.numberOfQueues } },
    refused: { "ana-log": expect.any(String), "zns-id-ns of namespace 1": expect.any(String) },
  });
});

test("report prints text, and writes a page with what the controller calls itself escaped", async () => {
  const { address } = await startController({ serial: 'S"1<b>' });
  const file = join(folder, "report.html");
  const text = await iova("report", address, "--html", file);
  for (const head of [
    "Registers",
    "Identify Controller",
    "SMART / Health Information",
    "Features",
    "Not reported",
  ])
    expect(text).toContain(`=== ${head}\n`);
  const html = readFileSync(file, "utf8");
  expect(checkWellFormed(html)).toBeGreaterThan(50);
  expect(html).toContain("serial S&#34;1&#60;b&#62;");
});

test("report goes on when the controller fails every Get Log Page and Get Features", async () => {
  const faults = [0x02, 0x0a].map(
    (opcode) => ({ kind: "status", queue: "admin", opcode, nth: 1, every: 1, status: 0x06 }) as const,
  );
  const { address } = await startController({ faults });
  const json = await iovaJson("report", address);
  expect(json).toMatchObject({
    "id-ctrl": expect.any(Object),
    features: {},
    refused: { "smart-log": expect.stringContaining("Internal Error") },
  });
});

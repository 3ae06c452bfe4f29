/** `iova nvme conform` and the examples of examples/nvme-testing on QEMU's NVMe controller. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { type CheckResult, conform } from "../../../src/cli/nvme/conform/run.js";
import { bindToVfio, PciDevice } from "../../../src/index.js";
import { nvmeBdf } from "../../support/functions.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { provoke } from "../../support/provoke.js";
import { run } from "../../support/run.js";

/** Without KVM, and on a busy machine. */
const LIMIT_MS = 3_000_000;
/** What the checks do wrong on purpose, as QEMU says it. */
const errors = [
  "pci_nvme_err_invalid_admin_opc",
  "pci_nvme_err_invalid_create_cq_addr",
  "pci_nvme_err_invalid_create_cq_cqid",
  "pci_nvme_err_invalid_create_cq_qflags",
  "pci_nvme_err_invalid_create_cq_size",
  "pci_nvme_err_invalid_create_cq_vector",
  "pci_nvme_err_invalid_create_sq_addr",
  "pci_nvme_err_invalid_create_sq_cqid",
  "pci_nvme_err_invalid_create_sq_qflags",
  "pci_nvme_err_invalid_create_sq_size",
  "pci_nvme_err_invalid_create_sq_sqid",
  "pci_nvme_err_invalid_del_cq_cqid",
  "pci_nvme_err_invalid_del_cq_notempty",
  "pci_nvme_err_invalid_del_sq",
  "pci_nvme_err_invalid_identify_cns",
  "pci_nvme_err_invalid_lba_range",
  "pci_nvme_err_invalid_log_page",
  "pci_nvme_err_invalid_opc",
  "pci_nvme_err_invalid_prp2_align",
  "pci_nvme_err_invalid_prplist_ent",
  "pci_nvme_err_mdts",
  "pci_nvme_err_req_status",
  "pci_nvme_ub_db_wr_invalid_cqhead",
  "pci_nvme_ub_db_wr_invalid_sqtail",
  "pci_nvme_ub_mmiowr_invalid",
  "pci_nvme_ub_mmiowr_ro_csts",
];

/** Checks that QEMU 7.2 fails, and what it does. docs/nvme-testing.md says why each is QEMU's fault. */
const known: Readonly<Record<string, RegExp>> = {
  "a completion queue that there isn't can't be deleted: Invalid Queue Identifier":
    /expected Invalid Queue Identifier .*, got Completion Queue Invalid/,
  "a reset takes back what Set Features didn't save": /it stayed/,
  "the feature 04h keeps what was set, if it is changeable, and loses it by a reset": /it stayed/,
  "Identify 12h (controllersOfNamespace) is whole and the same twice, or not there": /status 002h/,
  "Identify 13h (controllers) is whole and the same twice, or not there": /status 002h/,
  "this controller is among the controllers of the subsystem and of the namespace": /Invalid Field/,
  "the Firmware Slot log has the revision of Identify Controller in the active slot": /slot 1 has 1\.0/,
  "a cryptographic erase erases, or is refused if FNA lacks it": /got success/,
  "a format with a reserved secure erase setting is refused": /got success/,
};

describe("iova nvme conform on QEMU's controller", () => {
  expectNothingLeftSoon();
  let results: readonly CheckResult[];
  beforeAll(async () => {
    provoke(...errors);
    using _binding = bindToVfio(nvmeBdf());
    using device = PciDevice.open(nvmeBdf(), { backend: "iommufd" });
    results = await conform(device, { timeoutMs: 120_000, destroyData: true });
    for (const { result, name, found = "" } of results)
      if (result !== "pass") process.stdout.write(`${result}: ${name}: ${found}\n`);
  }, LIMIT_MS);

  test("passes every check but those that QEMU is known to fail", () => {
    const failed = results.filter(({ result }) => result === "fail");
    expect(failed.map(({ name }) => name).sort()).toEqual(Object.keys(known).sort());
    for (const { name, found } of failed) expect(found).toMatch(known[name] ?? "");
  });

  test("three of four checks apply", () => {
    const applied = results.filter(({ result }) => result !== "not applicable");
    expect(applied.length).toBeGreaterThan(results.length * 0.75);
  });
});

const folder = join(packageRoot(), "dist", "examples", "nvme-testing");
/** What QEMU 7.2 breaks of what the examples claim. */
const broken: Readonly<Record<string, string>> = {
  "04-submission-queue-entry.js": "an odd PRP1 is refused, or its low bits are ignored",
};
/** It has faults ordered, which only the embedded controller takes. */
const FAULTS = "12-faults.js";

describe("the example", () => {
  const examples = readdirSync(folder).filter((name) => /^\d\d-.*\.js$/.test(name));
  test.each(examples.sort())(
    "%s finds what it claims on QEMU's controller",
    async (name) => {
      provoke(...errors);
      using _binding = bindToVfio(nvmeBdf());
      const target = name === FAULTS ? [] : [nvmeBdf()];
      const { status, stdout, stderr } = await run(process.execPath, [join(folder, name), ...target]);
      expect(stderr).toBe("");
      expect(stdout).toContain("  holds ");
      const found = [...stdout.matchAll(/^ {2}BROKEN (.*?) (?:\(.*\))?$/gm)].map(([, claim]) =>
        claim?.trim(),
      );
      expect(found.join("\n")).toBe(broken[name] ?? "");
      expect(status).toBe(found.length > 0 ? 1 : 0);
    },
    LIMIT_MS,
  );
});

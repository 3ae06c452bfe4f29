/** Secondary controllers of QEMU's controller with virtual functions. */
import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { bindToVfio, NvmeController, type VfioBinding } from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { sriovNvmeBdf } from "../../support/functions.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { provoke } from "../../support/provoke.js";

describe("a controller with virtual functions", () => {
  const ENABLE_SRIOV = "/sys/module/vfio_pci/parameters/enable_sriov";
  const setVfs = (count: number): void =>
    writeFileSync(`/sys/bus/pci/devices/${sriovNvmeBdf()}/sriov_numvfs`, String(count));
  let enabled = "";
  let binding: VfioBinding;
  beforeAll(() => {
    enabled = readFileSync(ENABLE_SRIOV, "utf8").trim();
    writeFileSync(ENABLE_SRIOV, "Y");
    binding = bindToVfio(sriovNvmeBdf());
  });
  afterEach(() => setVfs(0));
  afterAll(() => {
    binding.close();
    writeFileSync(ENABLE_SRIOV, enabled);
  });
  expectNothingLeftSoon();

  test("assigns queues and vectors to its secondary controllers, and brings them online", async () => {
    await using nvme = await NvmeController.open(sriovNvmeBdf());
    // Opening resets the function, which takes its virtual functions away.
    setVfs(2);
    const { virtualization } = nvme;
    const all = await virtualization.capabilities();
    // As the machine has it: 4 flexible queue pairs and 2 flexible vectors for 2 functions.
    expect(all).toMatchObject({ cntlid: nvme.identify.cntlid, crt: 3, vqfrt: 4, vifrt: 2, vqrfa: 0 });
    const secondaries = await virtualization.secondaryControllers();
    expect(secondaries.map(({ vfn, scs, nvq }) => ({ vfn, scs, nvq }))).toEqual([
      { vfn: 1, scs: 0, nvq: 0 },
      { vfn: 2, scs: 0, nvq: 0 },
    ]);
    const one = await virtualization.ofVirtualFunction(1);
    if (one === undefined) throw new Error("no secondary controller");
    expect(one.pcid).toBe(nvme.identify.cntlid);
    // Without resources it can't work.
    provoke("pci_nvme_err_req_status");
    expect(await caught(virtualization.online(one.scid))).toMatchObject({
      status: "Invalid Secondary Controller State",
    });
    const given = await virtualization.assignMost(one.scid);
    expect(given).toEqual({ queues: all.vqfrsm, interrupts: all.vifrsm });
    await virtualization.online(one.scid);
    expect(await virtualization.ofVirtualFunction(1)).toMatchObject({
      scs: 1,
      nvq: given.queues,
      nvi: given.interrupts,
    });
    expect(await virtualization.capabilities()).toMatchObject({
      vqrfa: given.queues,
      virfa: given.interrupts,
    });
    expect(
      await caught(virtualization.manage("secondaryAssign", one.scid, { type: "queues", count: 1 })),
    ).toMatchObject({
      status: "Invalid Secondary Controller State",
    });
    expect(await caught(virtualization.online(0x7777))).toMatchObject({
      status: "Invalid Controller Identifier",
    });
    await virtualization.offline(one.scid);
    // What was assigned goes back when the controller goes offline.
    await virtualization.assign(one.scid, { queues: 0, interrupts: 0 });
    expect(await virtualization.capabilities()).toMatchObject({ vqrfa: 0, virfa: 0 });
  });
});

/** Whatever lists functions while functions come and go: what has gone is left out, and nothing throws. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { expect, test } from "vitest";
import { runList } from "../../../src/cli/list.js";
import { runNvme } from "../../../src/cli/nvme/main.js";
import { runVfs } from "../../../src/cli/vfs.js";
import { doctor, listDeviceProcesses } from "../../../src/doors/host.js";
import { listMediatedDevices, listMediatedParents, listPciFunctions } from "../../../src/doors/pci.js";
import { sriovNvmeBdf } from "../../support/functions.js";
import { said } from "../../support/said.js";

/** Makes two virtual functions and takes them away, again and again. At the end they are there. */
const COME_AND_GO =
  "for i in $(seq 10); do echo 2 > sriov_numvfs; sleep 0.1; echo 0 > sriov_numvfs; done; echo 2 > sriov_numvfs";

test("lists of functions leave out what has gone, and never throw", async () => {
  const pf = sriovNvmeBdf();
  const folder = `/sys/bus/pci/devices/${pf}`;
  const autoprobe = `${folder}/sriov_drivers_autoprobe`;
  const before = readFileSync(autoprobe, "utf8");
  writeFileSync(autoprobe, "0");
  const child = spawn("sh", ["-e", "-c", COME_AND_GO], { cwd: folder, stdio: "inherit" });
  const end = once(child, "exit");
  const virtual = (): string[] =>
    listPciFunctions().flatMap(({ bdf, physicalFunction }) => (physicalFunction === pf ? bdf : []));
  try {
    while (child.exitCode === null && child.signalCode === null) {
      virtual();
      for (const args of [[], ["--tree"], ["--json"]]) await said(() => runList(args));
      await said(() => runVfs([pf]));
      await said(() => runNvme(["list"]));
      doctor();
      listDeviceProcesses();
      listMediatedDevices();
      listMediatedParents();
      // The child's end is an event.
      await turn();
    }
    expect(await end).toEqual([0, null]);
    expect(virtual()).toHaveLength(2);
  } finally {
    child.kill();
    await end;
    writeFileSync(`${folder}/sriov_numvfs`, "0");
    writeFileSync(autoprobe, before);
  }
});

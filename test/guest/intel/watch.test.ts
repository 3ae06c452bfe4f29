/** `iova watch` beside programs of this library and others, with devices of the kernel. */
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { type DeviceProcess, listDeviceProcesses } from "../../../src/doors/host.js";
import { vfioNodes } from "../../../src/pci/usage/holders.js";
import { Child, runChild } from "../../support/child.js";
import { eventually } from "../../support/eventually.js";
import { nvmeBdf } from "../../support/functions.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { bindForFile } from "../../support/igb-machine.js";

const cli = join(packageRoot(), "dist", "lib", "cli.js");
const MIB = 2 ** 20;

bindForFile([nvmeBdf]);
expectNothingLeftSoon();

let child: Child | undefined;
afterEach(async () => {
  child?.kill();
  await child?.ended;
});

/** What a program has open, once it is as wanted. @throws Error if it ends before */
async function seen(program: Child, isWanted: (found: DeviceProcess) => boolean): Promise<DeviceProcess> {
  let hasEnded = false;
  void program.ended.then(() => {
    hasEnded = true;
  });
  return await eventually(() => {
    const found = listDeviceProcesses().find((each) => each.pid === program.pid && isWanted(each));
    if (found === undefined && hasEnded) throw new Error(`it ended: ${program.stdout}${program.stderr}`);
    return found;
  });
}

test.each([
  ["iommufd", "pinnedBytes"],
  ["type1", "lockedBytes"],
] as const)("a program's interrupts and memory are seen through %s", async (backend, account) => {
  const bdf = nvmeBdf();
  child = new Child(cli, "nvme", "perf", bdf, "--backend", backend, "--interrupts", "--time", "500");
  const { devices, threads, ...found } = await seen(child, (each) => (each.devices[0]?.interrupts ?? 0) > 10);
  expect(devices.map(({ address, backend: name }) => ({ address, name }))).toEqual([
    { address: bdf, name: backend },
  ]);
  const mapped = threads.reduce((sum, { mappedBytes }) => sum + mappedBytes, 0);
  expect(mapped).toBeGreaterThan(0);
  // The kernel pins what is mapped; registers aren't pinned.
  expect(Math.abs(found[account] - mapped)).toBeLessThan(MIB);
  const { stdout } = await runChild(cli, "watch", "--count", "1");
  expect(stdout).toMatch(
    new RegExp(`^${child.pid} +root +node cli\\.js nvme perf .* ${bdf} +${backend} `, "m"),
  );
});

test("another program that has a node open is seen, too", async () => {
  const bdf = nvmeBdf();
  const node = [...vfioNodes(bdf)].find((path) => path.includes("/devices/")) ?? "";
  child = new Child("-e", `fs.openSync(${JSON.stringify(node)}, "r+"); setInterval(() => {}, 1000);`);
  const found = await seen(child, () => true);
  expect(found).toMatchObject({
    uid: 0,
    devices: [{ address: bdf, backend: undefined, interrupts: undefined }],
    threads: [],
  });
});

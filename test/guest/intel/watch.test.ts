/** `iova watch` beside programs of this library and others, with devices of the kernel. */
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { type DeviceProcess, listDeviceProcesses } from "../../../src/doors/host.js";
import { vfioNodes } from "../../../src/pci/usage.js";
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

/** What the child has open, once it is as wanted. */
async function seen(isWanted: (found: DeviceProcess) => boolean): Promise<DeviceProcess> {
  return await eventually(() =>
    listDeviceProcesses().find((each) => each.pid === child?.pid && isWanted(each)),
  );
}

test.each([
  ["iommufd", "pinnedBytes"],
  ["type1", "lockedBytes"],
] as const)("a program's interrupts and memory are seen through %s", async (backend, account) => {
  const bdf = nvmeBdf();
  const time = ["--time", "500", "--completion", "interrupt"];
  child = new Child(cli, "nvme", "perf", bdf, "--backend", backend, ...time);
  const { devices, threads, ...found } = await seen(
    (each) => (each.devices[0]?.interrupts ?? 0) > 10 && each.threads[0]?.interrupts !== 0,
  );
  expect(devices.map(({ address, backend: name }) => ({ address, name }))).toEqual([
    { address: bdf, name: backend },
  ]);
  expect(threads).toHaveLength(1);
  const mapped = threads[0]?.mappedBytes ?? 0;
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
  const found = await seen(() => true);
  expect(found).toMatchObject({
    uid: 0,
    devices: [{ address: bdf, backend: undefined, interrupts: undefined }],
    threads: [],
  });
});

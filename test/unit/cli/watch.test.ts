/** `iova watch`: its table, and the command as a process. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Activity } from "../../../src/activity/read.js";
import { type Look, lookText } from "../../../src/cli/host/watch.js";
import type { DeviceProcess } from "../../../src/host/processes.js";
import { Child } from "../../support/child.js";
import { startController, useEmulatedNvme } from "../../support/emulated-nvme.js";
import { compileCli, type IovaCli } from "../../support/iova-cli.js";

const names = { user: (uid: number) => (uid === 0 ? "root" : "alice") };

const thread: Activity = {
  thread: 0,
  startedAtMs: 0,
  mappings: 12,
  mappedBytes: 3 << 20,
  timesMapped: 12,
  timesUnmapped: 0,
  interrupts: 0,
  errors: 1,
  lastErrors: [{ atMs: 1000, text: "0000:01:00.0: \u001b[31mred" }],
  devices: [],
};
const ours: DeviceProcess = {
  pid: 42,
  uid: 1000,
  command: ["/usr/bin/node", "/home/alice/app/main.js", "--fast"],
  devices: [
    { address: "0000:01:00.0", backend: "iommufd", interrupts: 50 },
    { address: "0000:02:00.0", backend: "iommufd", interrupts: 5 },
  ],
  pinnedBytes: 3 << 20,
  lockedBytes: 0,
  threads: [thread, { ...thread, thread: 1, lastErrors: [] }],
};
const foreign: DeviceProcess = {
  pid: 43,
  uid: 0,
  command: ["qemu-system-x86_64", "-device", "vfio-pci,host=0000:03:00.0", "-m", "8G"],
  devices: [{ address: "0000:03:00.0", backend: undefined, interrupts: undefined }],
  pinnedBytes: 0,
  lockedBytes: 8 * 2 ** 30,
  threads: [],
};
const at = (atMs: number, ...processes: DeviceProcess[]): Look => ({ atMs, processes });

test("the table has a row for each device, and the sums of a process's threads", () => {
  expect(lookText(at(0, ours, foreign), undefined, names).split("\n")).toEqual([
    "pid  user   command                           device        backend  mappings  mapped  pinned  locked  interrupts  per s  errors",
    "---  -----  --------------------------------  ------------  -------  --------  ------  ------  ------  ----------  -----  ------",
    "42   alice  node main.js --fast               0000:01:00.0  iommufd        24   6 MiB   3 MiB   0 KiB          55              2",
    "                                              0000:02:00.0  iommufd",
    "43   root   qemu-system-x86_64 -device vfio…  0000:03:00.0                              0 KiB   8 GiB           0",
    "1970-01-01T00:00:01.000Z 42: 0000:01:00.0: \u001b[31mred",
  ]);
});

test("a rate comes from two looks", () => {
  const first = at(1000, { ...ours, devices: [{ address: "a", backend: "iommufd", interrupts: 100 }] });
  const second = at(3000, { ...ours, devices: [{ address: "a", backend: "iommufd", interrupts: 700 }] });
  expect(lookText(second, first, names)).toMatch(/ 700 +300 +2\n/);
});

test("a counter that began again has no rate", () => {
  const first = at(1000, { ...ours, devices: [{ address: "a", backend: "iommufd", interrupts: 700 }] });
  const second = at(2000, { ...ours, devices: [{ address: "a", backend: "iommufd", interrupts: 5 }] });
  expect(lookText(second, first, names)).toMatch(/ 5 +2\n/);
});

test("a host without such processes gets a sentence", () => {
  expect(lookText(at(0), undefined, names)).toBe(
    "no process that this user may see uses a device from user space",
  );
});

describe("as a process", () => {
  useEmulatedNvme();
  let cli: IovaCli;
  beforeAll(() => {
    cli = compileCli();
  });
  afterAll(() => cli[Symbol.dispose]());

  test("it prints a line of JSON for each look, and ends after --count", async () => {
    const { address } = await startController();
    const { status, stdout } = await cli.run(["watch", "--count", "2", "--interval", "0.1", "--json"]);
    expect(status).toBe(0);
    const looks: Look[] = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(looks).toHaveLength(2);
    for (const { processes } of looks) {
      const here = processes.find(({ pid }) => pid === process.pid);
      expect(here?.devices.map((each) => each.address)).toContain(address);
    }
  });

  test("Ctrl-C ends it with status 0", async () => {
    const child = new Child(cli.path, "watch", "--interval", "3600");
    await child.says("\n");
    process.kill(child.pid, "SIGINT");
    expect(await child.ended).toBe(0);
    expect(child.stderr).toBe("");
  });

  test.each([
    [["--interval", "0"], '--interval "0": expected seconds from 0.1 to 3600'],
    [["--interval", "3601"], '--interval "3601": expected seconds from 0.1 to 3600'],
    [["--count", "0"], '--count "0": expected a number from 1'],
    [["0000:00:01.0"], "watch takes no operands"],
  ])("it refuses %j", async (args, message) => {
    const { status, stderr } = await cli.run(["watch", ...args]);
    expect(status).toBe(2);
    expect(stderr).toBe(`iova: ${message}; see iova watch --help\n`);
  });
});

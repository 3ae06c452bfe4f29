/** What a thread tells of itself in its page, and how others read it. */
import { threadId } from "node:worker_threads";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  At,
  devices,
  errors,
  LAYOUT_VERSION,
  MAGIC,
  PAGE_BYTES,
  PAGE_NAME,
} from "../../../src/activity/layout.js";
import { countInterrupts, DeviceUse, noteError, publishActivity } from "../../../src/activity/page.js";
import { type Activity, parseActivity, readActivity } from "../../../src/activity/read.js";
import { ArgumentError, StateError } from "../../../src/core/errors.js";
import { listDeviceProcesses } from "../../../src/doors/host.js";
import { close, memfd, write } from "../../../src/sys/syscalls.js";
import { Child } from "../../support/child.js";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { startController, useEmulatedNvme } from "../../support/emulated-nvme.js";

const DOUBLE = Float64Array.BYTES_PER_ELEMENT;

/** This thread's own page. */
function own(): Activity {
  const found = readActivity(process.pid).filter(({ thread }) => thread === threadId);
  const [activity] = found;
  if (activity === undefined || found.length > 1) throw new Error(`${found.length} pages of this thread`);
  return activity;
}

describe("this thread's page", () => {
  beforeAll(() => publishActivity());

  test("is one, however often it is published", () => {
    publishActivity();
    const { startedAtMs } = own();
    publishActivity();
    expect(own().startedAtMs).toBe(startedAtMs);
  });

  test("adds interrupts", () => {
    const before = own().interrupts;
    countInterrupts(3);
    expect(own().interrupts).toBe(before + 3);
  });

  test("has the newest errors, oldest first, and counts all", () => {
    const before = own().errors;
    for (let i = 0; i < errors.count + 4; i++) noteError("a device", new StateError(`failure ${i}`));
    const { errors: count, lastErrors } = own();
    expect(count).toBe(before + errors.count + 4);
    expect(lastErrors.map(({ text }) => text)).toEqual(
      Array.from({ length: errors.count }, (_, i) => `a device: failure ${i + 4}`),
    );
    for (const { atMs } of lastErrors) expect(atMs).toBeLessThanOrEqual(Date.now());
  });

  test("doesn't count a wrong call as a device's error", () => {
    const before = own().errors;
    noteError("a device", new ArgumentError("the caller's mistake"));
    expect(own().errors).toBe(before);
  });

  test("cuts a text that is too long for its place, between two characters", () => {
    noteError("a device", new StateError("ü".repeat(1000)));
    const text = own().lastErrors.at(-1)?.text ?? "";
    expect(text).toMatch(/^a device: ü+$/);
    expect(Buffer.byteLength(text)).toBeLessThan(errors.textBytes);
    expect(Buffer.byteLength(text)).toBeGreaterThan(errors.textBytes - 4);
  });

  test("lists a device from begin to close, and gives its place to another", () => {
    const all = Array.from({ length: devices.count + 5 }, () => new DeviceUse());
    for (const [i, use] of all.entries()) use.begin(`0000:00:00.${i}`, "iommufd");
    expect(own().devices).toHaveLength(devices.count);
    expect(own().devices[7]).toEqual({ address: "0000:00:00.7", backend: "iommufd" });
    all[7]?.close();
    all[7]?.close();
    expect(own().devices.map(({ address }) => address)).not.toContain("0000:00:00.7");
    const other = new DeviceUse();
    other.begin("vfio-user:/run/a socket", "server");
    expect(own().devices[7]).toEqual({ address: "vfio-user:/run/a socket", backend: "server" });
    for (const use of [...all, other]) use.close();
    expect(own().devices).toEqual([]);
  });
});

describe("a page that another program made", () => {
  /** A page with a few numbers. */
  function page(numbers: Partial<Record<keyof typeof At, number>>): Uint8Array {
    const bytes = new Uint8Array(PAGE_BYTES);
    const view = new DataView(bytes.buffer);
    const all = { magic: MAGIC, version: LAYOUT_VERSION, ...numbers };
    for (const [name, value] of Object.entries(all))
      view.setFloat64(At[name as keyof typeof At] * DOUBLE, value, true);
    return bytes;
  }

  test("is read if it has the layout, and its impossible numbers are 0", () => {
    const odd = page({ mappings: -5, mappedBytes: Number.NaN, timesMapped: 1e300, interrupts: 7 });
    expect(parseActivity(odd)).toMatchObject({
      mappings: 0,
      mappedBytes: 0,
      timesMapped: 0,
      interrupts: 7,
      devices: [],
      lastErrors: [],
    });
  });

  test("has at most 16 errors, whatever number it tells", () => {
    expect(parseActivity(page({ errors: 2 ** 50 }))?.lastErrors).toHaveLength(errors.count);
  });

  test.each([
    ["of another layout", page({ version: 2 })],
    ["of another program", page({ magic: 1 })],
    ["that is too short", page({}).subarray(1)],
    ["that is empty", new Uint8Array()],
  ])("is left out: one %s", (_what, bytes) => {
    expect(parseActivity(bytes)).toBeUndefined();
  });

  test("has times that a Date can have", () => {
    const bytes = page({ errors: 1 });
    new DataView(bytes.buffer).setFloat64(errors.offset, Number.MAX_SAFE_INTEGER, true);
    const [error] = parseActivity(bytes)?.lastErrors ?? [];
    expect(new Date(error?.atMs ?? Number.NaN).toISOString()).toBe("+275760-09-13T00:00:00.000Z");
  });

  test("never makes the reader throw", () => {
    const junk = fc.uint8Array({ minLength: PAGE_BYTES, maxLength: PAGE_BYTES });
    fc.assert(
      fc.property(junk, (bytes) => {
        bytes.set(page({}).subarray(0, 16));
        const activity = parseActivity(bytes);
        expect(activity?.lastErrors.length).toBeLessThanOrEqual(errors.count);
      }),
    );
  });

  test("may be shorter than it should be, and no page at all", () => {
    const before = readActivity(process.pid).length;
    const fds = [memfd(PAGE_NAME, 100), memfd(PAGE_NAME, PAGE_BYTES), memfd(PAGE_NAME, 0)];
    for (const fd of fds) write(fd, Uint8Array.of(1, 2, 3));
    expect(readActivity(process.pid)).toHaveLength(before);
    for (const fd of fds) close(fd);
  });

  test("is nothing for a process that has ended", () => {
    expect(readActivity(2 ** 22 + 1)).toEqual([]);
  });
});

describe("another process", () => {
  useEmulatedNvme();
  let tree: CompiledTree;
  beforeAll(() => {
    tree = compileTree("test/unit/fixtures/activity-main.ts");
  });
  afterAll(() => tree[Symbol.dispose]());

  test("tells its devices, mappings, interrupts and errors, also while it hangs", async () => {
    const { address } = await startController();
    const child = new Child(tree.file("test/unit/fixtures/activity-main.ts"), address);
    await child.says("ready");
    const find = () => listDeviceProcesses().find(({ pid }) => pid === child.pid);
    const process = find();
    expect(process).toMatchObject({
      uid: globalThis.process.getuid?.(),
      devices: [{ address, backend: "vfio-user", interrupts: undefined }],
    });
    expect(process?.command.at(-1)).toBe(address);
    const [thread, ...others] = process?.threads ?? [];
    expect(others).toEqual([]);
    expect(thread?.thread).toBe(0);
    expect(thread?.mappedBytes).toBeGreaterThanOrEqual((1 << 20) + 4096);
    expect(thread?.mappings).toBeGreaterThanOrEqual(2);
    expect(thread?.timesMapped).toBe((thread?.mappings ?? 0) + (thread?.timesUnmapped ?? 0));
    expect(thread?.interrupts).toBeGreaterThan(0);
    expect(thread?.lastErrors.at(-1)?.text).toBe(
      `${address}: command 0x7f: Invalid Command Opcode (Generic Command Status 0x01)`,
    );
    child.tell("hang\n");
    await child.says("hangs");
    expect(find()?.threads).toEqual(process?.threads);
    child.kill();
    await child.ended;
    expect(find()).toBeUndefined();
  });

  test("is listed with the devices that it plays", async () => {
    const { address } = await startController();
    const played = listDeviceProcesses()
      .filter(({ pid }) => pid === process.pid)
      .flatMap((each) => each.devices);
    expect(played).toContainEqual({ address, backend: "server", interrupts: undefined });
  });
});

/**
 * `iova nvme zns` beside nvme-cli on one zoned namespace at the same time: the kernel's driver has one controller of the
 * subsystem, and this project's the other.
 */
import { randomFillSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { blockDevices } from "../../../src/doors/pci.js";
import { listPciFunctions } from "../../../src/index.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { iova, iovaJson, nvmeCli, nvmeCliJson } from "../../support/nvme-cli.js";
import { bindGroup } from "../../support/nvme-machine.js";
import { provoke } from "../../support/provoke.js";

/** Each run of nvme-cli starts a process, and opening a controller takes a while in a guest without KVM. */

/** As test/machines.ts has it: 32 zones of 256 blocks, 128 of which can be written. */
const NSID = "10";
const ZONE_BLOCKS = 256;
const BLOCK_BYTES = 4096;

function at(slot: string): string {
  const found = listPciFunctions().find(({ bdf }) => bdf.endsWith(`:${slot}`));
  if (found === undefined) throw new Error(`this machine has nothing at ${slot}`);
  return found.bdf;
}
const ours = (): string => at("10.0");
const kernels = (): string => at("11.0");

let binding: { close(): void };
let folder: string;
let disk: string;
beforeAll(async () => {
  // The kernel looks for partitions on blocks of the other namespaces that were never written with protection.
  provoke("pci_nvme_err_req_status");
  binding = bindGroup(ours());
  folder = mkdtempSync(join(tmpdir(), "iova-zns-"));
  disk = await vi.waitFor(
    () => {
      // The number in a disk's name is the order in which the kernel met its namespaces.
      const nsid = (name: string): string => readFileSync(`/sys/class/block/${name}/nsid`, "utf8").trim();
      const name = blockDevices(kernels()).find((each) => nsid(each) === NSID);
      if (name === undefined) throw new Error("the kernel has no zoned disk yet");
      return `/dev/${name}`;
    },
    { timeout: 540_000, interval: 50 },
  );
});
afterAll(() => {
  binding.close();
  rmSync(folder, { recursive: true, force: true });
});
expectNothingLeftSoon();

const zone = (index: number): string => String(index * ZONE_BLOCKS);
const whole = ["-d", "100"] as const;

describe("nvme-cli's JSON of a zoned namespace", () => {
  test("agrees with ours for id-ctrl and id-ns", async () => {
    const controller = disk.replace(/n\d+$/, "");
    expect(await iovaJson("zns", "id-ctrl", ours())).toMatchObject(
      await nvmeCliJson("zns", "id-ctrl", controller),
    );
    expect(await iovaJson("zns", "id-ns", ours(), "-n", NSID)).toMatchObject(
      await nvmeCliJson("zns", "id-ns", disk),
    );
  });

  test("agrees with ours for zones in every state that a test can reach", async () => {
    const file = join(folder, "blocks");
    writeFileSync(file, randomFillSync(Buffer.alloc(2 * BLOCK_BYTES)));
    await nvmeCli("zns", "reset-zone", disk, "-a");
    await nvmeCli("zns", "finish-zone", disk, "-s", zone(2));
    await nvmeCli("zns", "open-zone", disk, "-s", zone(3));
    await nvmeCli("zns", "close-zone", disk, "-s", zone(3));
    await nvmeCli("zns", "zone-append", disk, "-s", zone(4), "-z", String(2 * BLOCK_BYTES), "-d", file);
    await nvmeCli("zns", "open-zone", disk, "-s", zone(5));
    const theirs = await nvmeCliJson("zns", "report-zones", disk, ...whole);
    const mine = await iovaJson("zns", "report-zones", ours(), "-n", NSID, ...whole);
    expect(mine).toMatchObject(theirs);
    expect(mine["nr_zones"]).toBe(32);
    expect(states(mine).slice(0, 7)).toEqual([
      "EMPTY",
      "EMPTY",
      "FULL",
      "CLOSED",
      "IMP_OPENED",
      "EXP_OPENED",
      "EMPTY",
    ]);
  });

  test("agrees with ours for a report from a start, and of a state", async () => {
    await iova("zns", "reset", ours(), "-n", NSID, "--select-all", "--yes");
    await iova("zns", "finish", ours(), "-n", NSID, "--start-lba", zone(7), "--yes");
    await iova("zns", "finish", ours(), "-n", NSID, "--start-lba", zone(9), "--yes");
    const file = join(folder, "ours");
    writeFileSync(file, randomFillSync(Buffer.alloc(BLOCK_BYTES)));
    // Closed by the shutdown of our controller.
    await iova("zns", "append", ours(), "-n", NSID, "--zslba", zone(8), "--data", file, "--yes");
    for (const selection of [
      whole,
      ["-s", zone(6), "-d", "5"],
      ["-S", "5", ...whole],
      ["-S", "4", ...whole],
    ]) {
      const theirs = await nvmeCliJson("zns", "report-zones", disk, ...selection);
      const mine = await iovaJson("zns", "report-zones", ours(), "-n", NSID, ...selection);
      expect(mine).toMatchObject(theirs);
    }
    await nvmeCli("zns", "reset-zone", disk, "-a");
  });
});

function states(report: Readonly<Record<string, unknown>>): unknown[] {
  const list = report["zone_list"];
  if (!Array.isArray(list)) throw new Error("no list of zones");
  return list.map((each: unknown) =>
    typeof each === "object" && each !== null && "state" in each ? each.state : undefined,
  );
}

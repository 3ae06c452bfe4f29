/** Get LBA Status and the LBA Status Information log, on the emulated controller and by their dwords. */
import { afterEach, expect, test } from "vitest";
import { ArgumentError, UnsupportedError } from "../../../../src/index.js";
import { NvmeLogs } from "../../../../src/nvme/admin/logs.js";
import { NvmeProtocolError } from "../../../../src/nvme/command/error.js";
import { readLbaStatus } from "../../../../src/nvme/namespace/lba-status.js";
import { caught } from "../../../support/caught.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { bytes } from "../../../support/little-endian.js";
import { RecordingController } from "../../../support/recording-controller.js";

useEmulatedNvme();

let target: RecordingController | undefined;
afterEach(() => target?.close());

test("blocks that can't be read are reported until they are written", async () => {
  const nvme = await openController();
  const ns = await nvme.namespace(1);
  expect(await ns.lbaStatus(0n)).toEqual({ count: 0, condition: 2, descriptors: [] });
  await ns.writeUncorrectable(7, 2);
  await ns.writeUncorrectable(40, 1);
  const [first, second] = [
    { lba: 7n, blocks: 2, status: 0 },
    { lba: 40n, blocks: 1, status: 0 },
  ];
  expect(await ns.lbaStatus(0)).toEqual({ count: 2, condition: 2, descriptors: [first, second] });
  expect(await ns.lbaStatus(0, { most: 1, action: "scan" })).toEqual({
    count: 1,
    condition: 1,
    descriptors: [first],
  });
  expect(await ns.lbaStatus(8, { blocks: 32 })).toMatchObject({
    descriptors: [{ lba: 8n, blocks: 1, status: 0 }],
  });
  expect(await ns.lbaStatus(8, { blocks: 4, action: "allocated" })).toMatchObject({
    descriptors: [{ lba: 8n, blocks: 4, status: 0 }],
  });
  const log = await nvme.logs.lists.lbaStatus();
  expect(log).toMatchObject({ sizeBytes: 64, count: 1, unrecoverable: 3, generation: 1 });
  expect(log.elements[0]).toEqual({
    nsid: 1,
    action: 0x11,
    count: 2,
    ranges: [
      { lba: 7n, blocks: 2 },
      { lba: 40n, blocks: 1 },
    ],
  });
  await ns.write(7, Buffer.alloc(1024));
  await ns.write(40, Buffer.alloc(512));
  expect(await ns.lbaStatus(0)).toMatchObject({ count: 0 });
  expect(await nvme.logs.lists.lbaStatus({ rae: true })).toMatchObject({ generation: 2, elements: [] });
});

test("the command's dwords are those of the specification", async () => {
  target = new RecordingController({ oacs: 1 << 9 });
  target.answer = () => ({ data: bytes(40, [0, 4, 9], [4, 1, 1], [8, 8, 5], [16, 4, 6], [21, 1, 3]) });
  const result = await readLbaStatus(target, 3, 0x1_2345_6789n, { action: "scan", blocks: 0x234, most: 2 });
  expect(target.last).toMatchObject({
    opcode: 0x86,
    words: { nsid: 3, cdw10: 0x2345_6789, cdw11: 1, cdw12: 9, cdw13: 0x1000_0234 },
  });
  expect(result).toEqual({
    count: 9,
    condition: 1,
    descriptors: [
      { lba: 5n, blocks: 6, status: 3 },
      { lba: 0n, blocks: 0, status: 0 },
    ],
  });
});

test("wrong arguments and a controller without the command are refused before anything is sent", async () => {
  const nvme = await openController();
  const ns = await nvme.namespace(1);
  for (const options of [{ blocks: 0 }, { blocks: 65_536 }, { most: 0 }, { most: 100_000 }])
    expect(await caught(ns.lbaStatus(0, options))).toBeInstanceOf(ArgumentError);
  expect(await caught(ns.lbaStatus(-1))).toBeInstanceOf(ArgumentError);
  target = new RecordingController({ oacs: 0 });
  expect(await caught(readLbaStatus(target, 1, 0, {}))).toBeInstanceOf(UnsupportedError);
  expect(target.commands).toEqual([]);
});

test("a log that claims to be longer than any is a protocol error", async () => {
  target = new RecordingController({});
  target.logPages.set(0x0e, bytes(64, [0, 4, 0xffff_fff0]));
  expect(await caught(new NvmeLogs(target).lists.lbaStatus())).toBeInstanceOf(NvmeProtocolError);
});

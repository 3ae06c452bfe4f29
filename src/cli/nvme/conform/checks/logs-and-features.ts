/** Log pages and features, as checks read and set them. */
import { AdminOpcode, BROADCAST_NSID } from "../../../../nvme/spec/opcodes.js";
import type { ConformBench } from "../bench.js";
import { expect } from "../findings.js";

const { getLogPage, getFeatures, setFeatures } = AdminOpcode;

/** Reads so many bytes of a log page. @throws Broken, also if more is written than was asked for */
export async function readLog(
  bench: ConformBench,
  id: number,
  bytes: number,
  offset = 0,
): Promise<Uint8Array> {
  const data = bench.alloc(4096);
  data.bytes.fill(0xff);
  const cdw = [((bytes / 4 - 1) << 16) | id, 0, offset];
  await bench.ok(await bench.admin(), { opcode: getLogPage, nsid: BROADCAST_NSID, data, cdw });
  expect(
    data.bytes.subarray(bytes).every((byte) => byte === 0xff),
    `it wrote more than ${bytes} bytes`,
  );
  return data.view(0, bytes);
}

/** @param select FeatureSelect */
export async function feature(bench: ConformBench, fid: number, select = 0): Promise<number> {
  return (await bench.ok(await bench.admin(), { opcode: getFeatures, cdw: [fid | (select << 8)] })).dw0;
}

export async function setFeature(bench: ConformBench, fid: number, value: number): Promise<void> {
  await bench.ok(await bench.admin(), { opcode: setFeatures, cdw: [fid, value] });
}

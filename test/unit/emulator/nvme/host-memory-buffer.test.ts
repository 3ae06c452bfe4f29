import { afterEach, describe, expect, test } from "vitest";
import type { NvmeEmulatorOptions } from "../../../../src/emulator/nvme/options.js";
import { hostMemoryAttributes, hostMemoryDescriptor } from "../../../../src/nvme/spec/features.js";
import { AdminOpcode, FeatureId } from "../../../../src/nvme/spec/opcodes.js";
import { NvmeRegister } from "../../../../src/nvme/spec/registers.js";
import { NvmeStatus } from "../../../../src/nvme/spec/status.js";
import { NvmeTestHost, SUCCESS } from "../../../support/nvme-host.js";

const PAGE = 4096;
const PAGES = 8;
const ENTRY_BYTES = hostMemoryDescriptor.sizeBytes;
const TWO_32 = 2 ** 32;
const ENABLE = 1;
const RETURN = 2;

interface Piece {
  readonly at: number;
  readonly pages: number;
}

/** Sets the feature, with a list of these pieces. @returns a status */
function give(
  host: NvmeTestHost,
  list: number,
  pieces: readonly Piece[],
  flags = ENABLE,
  pages = pieces.reduce((sum, piece) => sum + piece.pages, 0),
): number {
  pieces.forEach(({ at, pages: bsize }, i) => {
    host
      .bytes(list + i * ENTRY_BYTES, ENTRY_BYTES)
      .set(hostMemoryDescriptor.encode({ badd: BigInt(at), bsize }));
  });
  return set(host, host.iova(list), pieces.length, pages, flags);
}

function set(host: NvmeTestHost, list: number, entries: number, pages: number, flags = ENABLE): number {
  return host.admin.run({
    opcode: AdminOpcode.setFeatures,
    cdw10: FeatureId.hostMemoryBuffer,
    cdw11: flags,
    cdw12: pages,
    cdw13: list % TWO_32,
    cdw14: Math.floor(list / TWO_32),
    cdw15: entries,
  }).status;
}

function takeBack(host: NvmeTestHost): number {
  return set(host, 0, 0, 0, 0);
}

function get(host: NvmeTestHost): { enabled: number; hsize: number; hmdlec: number } {
  const at = host.alloc(PAGE);
  const { dw0, status } = host.admin.run({
    opcode: AdminOpcode.getFeatures,
    cdw10: FeatureId.hostMemoryBuffer,
    prp1: host.iova(at),
  });
  expect(status).toBe(SUCCESS);
  const { hsize, hmdlec } = hostMemoryAttributes.decode(host.bytes(at, PAGE));
  return { enabled: dw0, hsize, hmdlec };
}

const hosts: NvmeTestHost[] = [];
afterEach(() => {
  for (const host of hosts.splice(0)) host.close();
});

function started(options: NvmeEmulatorOptions): NvmeTestHost {
  const host = new NvmeTestHost(options);
  hosts.push(host);
  host.enable();
  return host;
}

describe("a host memory buffer", () => {
  const start = (): { host: NvmeTestHost; list: number; memory: number; pieces: Piece[] } => {
    const host = started({ hostMemoryBytes: PAGES * PAGE });
    const list = host.alloc(PAGE);
    const memory = host.alloc(PAGES * PAGE);
    const at = host.iova(memory);
    return {
      host,
      list,
      memory,
      pieces: [
        { at, pages: 3 },
        { at: at + 3 * PAGE, pages: 5 },
      ],
    };
  };

  test("is taken, given back, and taken again", () => {
    const { host, list, pieces } = start();
    expect(get(host)).toEqual({ enabled: 0, hsize: 0, hmdlec: 0 });
    expect(give(host, list, pieces)).toBe(SUCCESS);
    expect(get(host)).toEqual({ enabled: 1, hsize: PAGES, hmdlec: 2 });
    // There is one of them.
    expect(give(host, list, pieces)).toBe(NvmeStatus.commandSequenceError);
    expect(takeBack(host)).toBe(SUCCESS);
    expect(get(host)).toEqual({ enabled: 0, hsize: 0, hmdlec: 0 });
    // What was given back is not the controller's any more.
    expect(give(host, list, pieces, ENABLE | RETURN)).toBe(NvmeStatus.invalidField);
    expect(give(host, list, pieces.slice(1))).toBe(SUCCESS);
  });

  test("is known after a reset by where it is and what is in it", () => {
    const { host, list, memory, pieces } = start();
    expect(give(host, list, pieces)).toBe(SUCCESS);
    host.write32(NvmeRegister.CC, 0);
    host.enable();
    expect(get(host).enabled).toBe(0);
    expect(give(host, list, pieces.slice(1), ENABLE | RETURN)).toBe(NvmeStatus.invalidField);
    const stamp = host.bytes(memory + 3 * PAGE, 1);
    stamp[0] = (stamp[0] ?? 0) ^ 1;
    expect(give(host, list, pieces, ENABLE | RETURN)).toBe(NvmeStatus.invalidField);
    stamp[0] = (stamp[0] ?? 0) ^ 1;
    expect(give(host, list, pieces, ENABLE | RETURN)).toBe(SUCCESS);
    expect(get(host)).toEqual({ enabled: 1, hsize: PAGES, hmdlec: 2 });
  });

  test("of which something is wrong is refused", () => {
    const { host, list, pieces } = start();
    const [first = { at: 0, pages: 0 }] = pieces;
    const nowhere = 2 ** 50;
    const wrong: readonly (readonly [number, number])[] = [
      [give(host, list, []), NvmeStatus.invalidField],
      // Less than it makes do with.
      [give(host, list, [{ at: first.at, pages: 1 }]), NvmeStatus.invalidField],
      [give(host, list, pieces, ENABLE, PAGES + 1), NvmeStatus.invalidField],
      [give(host, list, [{ at: first.at + 512, pages: PAGES }]), NvmeStatus.invalidField],
      [give(host, list, [first, { at: first.at, pages: 0 }]), NvmeStatus.invalidField],
      [give(host, list, [first, { at: nowhere, pages: 5 }]), NvmeStatus.dataTransferError],
      [set(host, host.iova(list) + 8, 1, PAGES), NvmeStatus.invalidField],
      [set(host, nowhere, 1, PAGES), NvmeStatus.dataTransferError],
      [set(host, host.iova(list), 0xffff_ffff, 0xffff_ffff), NvmeStatus.invalidField],
    ];
    for (const [status, expected] of wrong) expect(status).toBe(expected);
    expect(get(host).enabled).toBe(0);
  });

  test("is a feature of those controllers only that want one", () => {
    const host = started({});
    const command = { opcode: AdminOpcode.getFeatures, cdw10: FeatureId.hostMemoryBuffer };
    expect(host.admin.run(command).status).toBe(NvmeStatus.invalidField);
    expect(takeBack(host)).toBe(NvmeStatus.invalidField);
  });
});

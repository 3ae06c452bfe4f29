/** Tests that the controller memory buffer is used only as CMBSZ and CMBLOC say. */
import { describe, expect, test } from "vitest";
import type { CmbUse } from "../../../../../src/emulator/nvme/host/cmb-rules.js";
import type { NvmeEmulatorOptions } from "../../../../../src/emulator/nvme/options.js";
import { decodeCmb } from "../../../../../src/nvme/memory/cmb.js";
import { AdminOpcode, IdentifyCns, IoOpcode } from "../../../../../src/nvme/spec/opcodes.js";
import { CmbControl, ControllerStatus, NvmeRegister } from "../../../../../src/nvme/spec/registers.js";
import { NvmeStatus } from "../../../../../src/nvme/spec/status.js";
import { NvmeTestHost, SUCCESS, startedHost, type TestCommand } from "../../../../support/nvme-host.js";

const PAGE = 4096;
const CMB_BYTES = 1 << 20;
const CMB_AT = 0x40_0000_0000;
const MISUSE = NvmeStatus.invalidUseOfControllerMemoryBuffer;
const PSDT_SGL = 1 << 14;
const LAST_SEGMENT = 3;

/** A page of the buffer. */
const cmb = (page: number): number => CMB_AT + page * PAGE;

function placeCmb(host: NvmeTestHost): void {
  host.write32(NvmeRegister.CMBMSC, CmbControl.CRE);
  host.write32(NvmeRegister.CMBMSC + 4, CMB_AT / 2 ** 32);
  host.write32(NvmeRegister.CMBMSC, CmbControl.CRE | CmbControl.CMSE);
}

function started(without: readonly CmbUse[], options: NvmeEmulatorOptions = {}) {
  const result = startedHost({ cmbBytes: CMB_BYTES, cmbWithout: without, ...options });
  placeCmb(result.host);
  return result;
}

function words(...addresses: readonly number[]): number[] {
  return addresses.flatMap((address) => [address % 2 ** 32, Math.floor(address / 2 ** 32)]);
}

/** Into the buffer, at a page's beginning. */
function fillCmb(host: NvmeTestHost, page: number, content: readonly number[]): void {
  host.device.bars[2]?.write(page * PAGE, new Uint8Array(Uint32Array.from(content).buffer));
}

/** A command for each use; `other` is one that does without it. */
type Case = readonly [
  use: CmbUse,
  what: string,
  options: NvmeEmulatorOptions,
  command: (host: NvmeTestHost) => TestCommand,
];
const read = { opcode: IoOpcode.read, nsid: 1 };
const write = { opcode: IoOpcode.write, nsid: 1 };
const ram = (host: NvmeTestHost, pages = 1): number => host.iova(host.alloc(pages * PAGE));
const withMetadata: NvmeEmulatorOptions = { metadataBytes: 8 };

const cases: readonly Case[] = [
  ["RDS", "a read of one block", {}, () => ({ ...read, prp1: cmb(1) })],
  ["RDS", "a read of two pages", {}, () => ({ ...read, prp1: cmb(1), prp2: cmb(2), cdw12: 15 })],
  ["RDS", "metadata of a read", withMetadata, () => ({ ...read, prp1: cmb(1), mptr: cmb(2) })],
  ["WDS", "a write of one block", {}, () => ({ ...write, prp1: cmb(1) })],
  ["WDS", "a write of two pages", {}, () => ({ ...write, prp1: cmb(1), prp2: cmb(2), cdw12: 15 })],
  ["WDS", "metadata of a write", withMetadata, () => ({ ...write, prp1: cmb(1), mptr: cmb(2) })],
  [
    "WDS",
    "ranges to deallocate",
    {},
    () => ({ opcode: IoOpcode.datasetManagement, nsid: 1, prp1: cmb(1), cdw11: 4 }),
  ],
  [
    "LISTS",
    "a PRP list",
    {},
    (host) => {
      fillCmb(host, 3, words(ram(host), ram(host)));
      return { ...read, prp1: ram(host), prp2: cmb(3), cdw12: 23 };
    },
  ],
  [
    "LISTS",
    "an SGL segment",
    {},
    (host) => {
      fillCmb(host, 3, [...words(ram(host)), 512, 0]);
      return { ...read, flags: PSDT_SGL, dptr: [...words(cmb(3)), 16, (LAST_SEGMENT << 28) >>> 0] };
    },
  ],
  [
    "CDPCILS",
    "a PRP list of a command elsewhere",
    {},
    (host) => {
      fillCmb(host, 3, words(ram(host), ram(host)));
      return { ...write, prp1: ram(host), prp2: cmb(3), cdw12: 23 };
    },
  ],
  [
    "CDPMLS",
    "a PRP list that goes on elsewhere",
    {},
    (host) => {
      fillCmb(host, 3, words(ram(host), ram(host)));
      const list = host.alloc(PAGE);
      // One page of data, and the link.
      host.ram.words.set(words(ram(host), cmb(3)), (list + PAGE - 16) / 4);
      return { ...read, prp1: ram(host), prp2: host.iova(list + PAGE - 16), cdw12: 31 };
    },
  ],
  ["CDMMMS", "data partly elsewhere", {}, (host) => ({ ...read, prp1: cmb(1), prp2: ram(host), cdw12: 15 })],
  ["CDMMMS", "metadata elsewhere", withMetadata, (host) => ({ ...read, prp1: cmb(1), mptr: ram(host) })],
  ["CDMMMS", "data elsewhere", withMetadata, (host) => ({ ...write, prp1: ram(host), mptr: cmb(1) })],
];

describe("without a use of the buffer", () => {
  test.each(cases)("%s: %s", (use, _, options, command) => {
    {
      using allowed = started([], options);
      expect(allowed.io.run(command(allowed.host)).status).toBe(SUCCESS);
    }
    using refusing = started([use], options);
    const { host, io } = refusing;
    expect(io.run(command(host)).status).toBe(MISUSE);
    // What lies elsewhere is nobody's business.
    expect(io.run({ ...read, prp1: ram(host), mptr: ram(host) }).status).toBe(SUCCESS);
  });

  test("CDMMMS allows data and metadata that are both in the buffer", () => {
    using both = started(["CDMMMS"], withMetadata);
    expect(both.io.run({ ...read, prp1: cmb(1), mptr: cmb(2) }).status).toBe(SUCCESS);
    // The metadata of the last command is none of the next one's.
    const identify = { opcode: AdminOpcode.identify, cdw10: IdentifyCns.controller };
    expect(both.host.admin.run({ ...identify, prp1: ram(both.host) }).status).toBe(SUCCESS);
  });

  test("admin commands are refused, too", () => {
    using refusing = started(["RDS"]);
    const identify = { opcode: AdminOpcode.identify, cdw10: IdentifyCns.controller };
    expect(refusing.host.admin.run({ ...identify, prp1: cmb(1) }).status).toBe(MISUSE);
  });

  test("a refused command transfers nothing to the host", () => {
    using refusing = started(["CDMMMS"]);
    const { host, io } = refusing;
    const [source, target] = [host.alloc(2 * PAGE), host.alloc(PAGE)];
    host.bytes(source, 2 * PAGE).fill(0xa5);
    const prps = { prp1: host.iova(source), prp2: host.iova(source + PAGE), cdw12: 15 };
    expect(io.run({ ...write, ...prps }).status).toBe(SUCCESS);
    expect(io.run({ ...read, prp1: host.iova(target), prp2: cmb(1), cdw12: 15 }).status).toBe(MISUSE);
    expect(host.bytes(target, PAGE).every((byte) => byte === 0)).toBe(true);
  });
});

describe("queues in the buffer", () => {
  const create = {
    CQS: (address: number) => ({
      opcode: AdminOpcode.createIoCompletionQueue,
      prp1: address,
      cdw10: (63 << 16) | 2,
      cdw11: 1,
    }),
    SQS: (address: number) => ({
      opcode: AdminOpcode.createIoSubmissionQueue,
      prp1: address,
      cdw10: (127 << 16) | 2,
      cdw11: (1 << 16) | 1,
    }),
  } as const;

  test.each(["CQS", "SQS"] as const)("%s", (use) => {
    {
      using allowed = started([]);
      expect(allowed.host.admin.run(create[use](cmb(1))).status).toBe(SUCCESS);
    }
    using refusing = started([use]);
    expect(refusing.host.admin.run(create[use](cmb(1))).status).toBe(MISUSE);
    expect(refusing.host.admin.run(create[use](ram(refusing.host, 2))).status).toBe(SUCCESS);
  });

  test("are refused if they lie there only partly", () => {
    using partly = started([]);
    expect(partly.host.admin.run(create.SQS(CMB_AT + CMB_BYTES - PAGE)).status).toBe(MISUSE);
  });

  test("set a fatal status if they are admin queues that aren't allowed there", () => {
    for (const without of [[], ["SQS"]] as const) {
      using host = new NvmeTestHost({ cmbBytes: CMB_BYTES, cmbWithout: without });
      placeCmb(host);
      const offset = CMB_AT - host.iova(0);
      host.enableRegisters(offset, host.alloc(PAGE));
      expect(host.status & ControllerStatus.CFS).toBe(without.length === 0 ? 0 : ControllerStatus.CFS);
    }
  });
});

test("the registers show the allowed uses of the buffer", () => {
  using host = new NvmeTestHost({ cmbBytes: CMB_BYTES, cmbWithout: ["CQS", "WDS", "CDPCILS"] });
  placeCmb(host);
  const found = decodeCmb(host.read32(NvmeRegister.CMBLOC), host.read32(NvmeRegister.CMBSZ));
  expect(found).toEqual({
    bar: 2,
    offset: 0,
    sizeBytes: CMB_BYTES,
    submissionQueues: true,
    completionQueues: false,
    lists: true,
    reads: true,
    writes: false,
    scatteredQueues: false,
    mixedQueues: false,
    mixedLists: true,
    independentLists: false,
    mixedData: true,
  });
});

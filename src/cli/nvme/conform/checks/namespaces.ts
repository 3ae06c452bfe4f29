/** Namespace Management and Namespace Attachment, on a namespace that each check makes and deletes. */
import { randomBytes } from "node:crypto";
import { hexDigits } from "../../../../core/hex-digits.js";
import { identifyNamespace } from "../../../../nvme/spec/identify.js";
import { AdminOpcode, IdentifyCns, IoOpcode } from "../../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import { type ConformBench, type Fields, statusText } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, expectSame, needs } from "../findings.js";
import { row } from "./admin-rows.js";
import { range } from "./blocks.js";

const MANAGEMENT = "Base: Namespace Management command";
const ATTACHMENT = "Base: Namespace Attachment command";
const { namespaceManagement, namespaceAttachment } = AdminOpcode;
/** SEL of both commands. */
const CREATE = 0;
const DELETE = 1;
const ATTACH = 0;
const DETACH = 1;
const SIZE_BYTES = 4 << 20;
/** Offsets in the data of a creation. */
const NCAP = 8;
const FLBAS = 26;

const managed = (name: string, section: string, run: (bench: ConformBench) => Promise<unknown>) =>
  row("namespaceManagement", name, section, run);

/** A creation with the format of the checked namespace. @throws NotApplicable without room for it */
async function creation(
  bench: ConformBench,
  change: { readonly blocks?: bigint; readonly format?: number } = {},
): Promise<Fields & { readonly blocks: bigint }> {
  const { unvmcap } = await bench.controller();
  needs(unvmcap >= BigInt(SIZE_BYTES), `${unvmcap} bytes are free (UNVMCAP)`);
  const { nsid, blockBytes } = await bench.blocks();
  const { flbas } = identifyNamespace.decode(await bench.identify(IdentifyCns.namespace, nsid));
  const { blocks = BigInt(SIZE_BYTES / blockBytes), format = flbas } = change;
  const data = bench.alloc(4096);
  const view = new DataView(data.bytes.buffer, data.bytes.byteOffset);
  for (const at of [0, NCAP]) view.setBigUint64(at, blocks, true);
  view.setUint8(FLBAS, format);
  return { opcode: namespaceManagement, data, cdw: [CREATE], blocks };
}

/** An attachment to this controller, or its end. */
async function attachment(bench: ConformBench, nsid: number, select: number): Promise<Fields> {
  const data = bench.alloc(4096);
  const { cntlid } = await bench.controller();
  new DataView(data.bytes.buffer, data.bytes.byteOffset).setUint32(0, 1 | (cntlid << 16), true);
  return { opcode: namespaceAttachment, nsid, data, cdw: [select] };
}

async function lists(bench: ConformBench, cns: number, nsid: number): Promise<boolean> {
  const page = await bench.identify(cns, nsid - 1);
  return new DataView(page.buffer, page.byteOffset).getUint32(0, true) === nsid;
}

/** Makes a namespace for a check, and deletes it. */
async function withNamespace(
  bench: ConformBench,
  work: (nsid: number, blocks: bigint) => Promise<void>,
): Promise<void> {
  const admin = await bench.admin();
  const { blocks, ...fields } = await creation(bench);
  const { dw0: nsid } = await bench.ok(admin, fields);
  expect(nsid !== 0, "the new namespace has the id 0");
  const end = { opcode: namespaceManagement, nsid, cdw: [DELETE] };
  try {
    await work(nsid, blocks);
  } catch (error) {
    // Also if it is attached.
    await bench.send(await bench.admin(), end).catch(() => {});
    throw error;
  }
  await bench.ok(admin, end);
  expect(!(await lists(bench, IdentifyCns.allocatedNamespaces, nsid)), "it is allocated after its deletion");
}

/** A creation that must be refused. What was made all the same is deleted. */
async function refusesCreation(
  bench: ConformBench,
  change: Parameters<typeof creation>[1],
  expected: number,
): Promise<void> {
  const { blocks: _, ...fields } = await creation(bench, change);
  const admin = await bench.admin();
  const { status, dw0: nsid } = await bench.send(admin, fields);
  if (status === 0 && nsid !== 0) await bench.send(admin, { ...fields, nsid, cdw: [DELETE] });
  expect(
    status === expected,
    `expected ${statusText(expected)}, got ${status === 0 ? "success" : statusText(status)}`,
  );
}

/** Looks whether a namespace is active. */
async function expectActive(bench: ConformBench, nsid: number, wanted: boolean): Promise<void> {
  const isActive = await lists(bench, IdentifyCns.activeNamespaces, nsid);
  expect(isActive === wanted, `namespace ${nsid} is ${isActive ? "" : "not "}active`);
  const { nsze } = identifyNamespace.decode(await bench.identify(IdentifyCns.namespace, nsid));
  expect(nsze > 0n === wanted, `Identify has NSZE ${nsze} of namespace ${nsid}`);
}

export const namespaces = subjectOf(
  "namespace management",
  [],
  [
    managed(
      "a namespace that is created is allocated, and gone when it is deleted",
      MANAGEMENT,
      async (bench) =>
        withNamespace(bench, async (nsid, blocks) => {
          expect(
            await lists(bench, IdentifyCns.allocatedNamespaces, nsid),
            `namespace ${nsid} isn't allocated`,
          );
          const { nsze } = identifyNamespace.decode(
            await bench.identify(IdentifyCns.allocatedNamespace, nsid),
          );
          expect(nsze >= blocks, `${blocks} blocks were asked for, and it has ${nsze}`);
          await expectActive(bench, nsid, false);
        }),
    ),
    managed(
      "a namespace holds data while it is attached, and is inactive after that",
      ATTACHMENT,
      async (bench) =>
        withNamespace(bench, async (nsid) => {
          const admin = await bench.admin();
          const { blockBytes } = await bench.blocks();
          await bench.ok(admin, await attachment(bench, nsid, ATTACH));
          await expectActive(bench, nsid, true);
          const [data, found] = [bench.alloc(blockBytes), bench.alloc(blockBytes)];
          data.bytes.set(randomBytes(blockBytes));
          const queue = await bench.io();
          await bench.ok(queue, { opcode: IoOpcode.write, nsid, data, cdw: range(1n, 1) });
          await bench.ok(queue, { opcode: IoOpcode.read, nsid, data: found, cdw: range(1n, 1) });
          expectSame(found.bytes, data.bytes);
          await bench.ok(admin, await attachment(bench, nsid, DETACH));
          await expectActive(bench, nsid, false);
          const read = { opcode: IoOpcode.read, nsid, data, cdw: range(1n, 1) };
          await bench.fails(queue, read, NvmeStatus.invalidNamespace, NvmeStatus.invalidField);
        }),
    ),
    managed(
      "a namespace can't be attached twice, and not detached when it isn't attached",
      ATTACHMENT,
      async (bench) =>
        withNamespace(bench, async (nsid) => {
          const admin = await bench.admin();
          const [attach, detach] = [
            await attachment(bench, nsid, ATTACH),
            await attachment(bench, nsid, DETACH),
          ];
          await bench.fails(admin, detach, NvmeStatus.namespaceNotAttached);
          await bench.ok(admin, attach);
          await bench.fails(admin, attach, NvmeStatus.namespaceAlreadyAttached);
          await bench.ok(admin, detach);
        }),
    ),
    managed("a namespace of more than the free capacity is refused", MANAGEMENT, async (bench) => {
      const { unvmcap } = await bench.controller();
      const blocks = unvmcap / 512n + 2n ** 24n;
      await refusesCreation(bench, { blocks }, NvmeStatus.namespaceInsufficientCapacity);
    }),
    managed("a namespace of an LBA format that there isn't is refused", MANAGEMENT, async (bench) => {
      const { nsid } = await bench.blocks();
      const { nlbaf } = identifyNamespace.decode(await bench.identify(IdentifyCns.namespace, nsid));
      needs(nlbaf < 15, "there are 16 LBA formats");
      await refusesCreation(bench, { format: 15 }, NvmeStatus.invalidFormat);
    }),
    ...[0, 0xffff_fff0].map((nsid) =>
      managed(`a deletion of namespace ${hexDigits(nsid, 8)}h is refused`, MANAGEMENT, async (bench) => {
        await creation(bench);
        const fields = { opcode: namespaceManagement, nsid, cdw: [DELETE] };
        await bench.fails(await bench.admin(), fields, NvmeStatus.invalidNamespace, NvmeStatus.invalidField);
      }),
    ),
  ],
);

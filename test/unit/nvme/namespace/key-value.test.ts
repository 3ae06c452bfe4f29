/** Key value namespaces: the library on the emulated controller, by its dwords, and against lists that are wrong. */
import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { ArgumentError, NvmeError, UnsupportedError } from "../../../../src/index.js";
import { KeyValueOpcode } from "../../../../src/nvme/spec/key-value.js";
import { CommandEffects } from "../../../../src/nvme/spec/log-pages.js";
import { CommandSet, IoOpcode } from "../../../../src/nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../src/nvme/spec/status.js";
import { caught } from "../../../support/caught.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { NvmeTestHost } from "../../../support/nvme-host.js";

useEmulatedNvme();

const MIB = 1 << 20;

async function keysOf(keys: AsyncIterable<Uint8Array>): Promise<string[]> {
  const list: string[] = [];
  for await (const key of keys) list.push(Buffer.from(key).toString());
  return list;
}

async function statusOf(refused: Promise<unknown>): Promise<number> {
  const error = await caught(refused);
  if (!(error instanceof NvmeError)) throw error;
  return (error.statusCodeType << 8) | error.statusCode;
}

test("values of any length are stored, retrieved, replaced, listed and deleted", async () => {
  const nvme = await openController({ keyValue: true });
  const ns = await nvme.keyValueNamespace(1);
  expect(ns).toMatchObject({ nsid: 1, maxKeyBytes: 16, maxValueBytes: MIB });
  expect(ns.identify).toMatchObject({ nsze: 16n * BigInt(MIB), nuse: 0n, nkvf: 0 });
  const values = new Map(
    [0, 1, 3, 511, 4096, 4097, 70_001, MIB].map((size, i) => [`key ${i}`, randomBytes(size)]),
  );
  for (const [key, value] of values) expect(await ns.store(key, value)).toBe(true);
  for (const [key, value] of values) expect((await ns.retrieve(key))?.equals(value)).toBe(true);
  expect((await ns.retrieve("key 6", { expectedBytes: 70_001 }))?.length).toBe(70_001);
  expect(await keysOf(ns.keys())).toEqual([...values.keys()]);
  expect(await keysOf(ns.keys("key 5"))).toEqual(["key 5", "key 6", "key 7"]);
  // A key that isn't there: from where it would be.
  expect(await keysOf(ns.keys("key 55"))).toEqual(["key 6", "key 7"]);
  await ns.store("key 3", Buffer.from("short"));
  expect((await ns.retrieve("key 3"))?.toString()).toBe("short");
  expect([await ns.exist("key 3"), await ns.exist("none")]).toEqual([true, false]);
  expect(await ns.retrieve("none")).toBeUndefined();
  expect(await ns.delete("key 3")).toBe(true);
  expect(await ns.exist("key 3")).toBe(false);
  await ns.flush();
});

test("keys are bytes of any value, up to 16, and each byte counts", async () => {
  const ns = await (await openController({ keyValue: true })).keyValueNamespace(1);
  const keys = [Buffer.alloc(1), Buffer.alloc(2), Buffer.alloc(16, 0xff), Buffer.from("äöü"), randomBytes(9)];
  for (const [i, key] of keys.entries()) await ns.store(key, Uint8Array.of(i));
  for (const [i, key] of keys.entries()) expect(await ns.retrieve(key)).toEqual(Buffer.from([i]));
  for (const changed of Array.from({ length: 16 }, (_, at) => {
    const key = Buffer.alloc(16, 0xff);
    key[at] = 0xfe;
    return key;
  }))
    expect(await ns.exist(changed)).toBe(false);
});

test("a store can depend on whether there is the key", async () => {
  const ns = await (await openController({ keyValue: true })).keyValueNamespace(1);
  const [one, two] = [Buffer.from("one"), Buffer.from("two")];
  expect(await ns.store("k", one, { when: "existing" })).toBe(false);
  expect(await ns.store("k", one, { when: "new" })).toBe(true);
  expect(await ns.store("k", two, { when: "new" })).toBe(false);
  expect((await ns.retrieve("k"))?.toString()).toBe("one");
  expect(await ns.store("k", two, { when: "existing", uncompressed: true })).toBe(true);
  expect((await ns.retrieve("k", { raw: true }))?.toString()).toBe("two");
});

test("more keys than one list holds are listed", async () => {
  const ns = await (await openController({ keyValue: true })).keyValueNamespace(1);
  const keys = Array.from({ length: 2000 }, (_, i) => `${i}`.padStart(16, "0"));
  await Promise.all(keys.map((key) => ns.store(key, new Uint8Array(0))));
  expect(await keysOf(ns.keys())).toEqual(keys);
  expect(await keysOf(ns.keys(keys[1990]))).toEqual(keys.slice(1990));
});

test("a full namespace refuses a value, and takes it when there is room", async () => {
  const ns = await (await openController({ keyValue: true, sizeBytes: 2 * MIB })).keyValueNamespace(1);
  await ns.store("a", new Uint8Array(MIB));
  expect(await statusOf(ns.store("b", new Uint8Array(MIB)))).toBe(NvmeStatus.capacityExceeded);
  await ns.delete("a");
  await ns.store("b", new Uint8Array(MIB));
});

test("wrong keys and values are refused before a command is sent", async () => {
  const nvme = await openController({ keyValue: true, maxTransferBytes: 8192 });
  const ns = await nvme.keyValueNamespace(1);
  const statistics = nvme.queues[0]?.collectStatistics();
  for (const wrong of [
    () => ns.store("", Buffer.alloc(1)),
    () => ns.store("seventeen bytes..", Buffer.alloc(1)),
    () => ns.store("k", Buffer.alloc(8193)),
    () => ns.store("k", Buffer.alloc(1), { when: "never" as "new" }),
    () => ns.retrieve(new Uint8Array(17)),
    () => ns.retrieve("k", { expectedBytes: 0 }),
    () => ns.exist(5 as unknown as string),
    () => keysOf(ns.keys("")),
    () => nvme.keyValueNamespace(0),
  ]) {
    expect(await caught(wrong())).toBeInstanceOf(ArgumentError);
  }
  expect(statistics?.commands).toBe(0);
});

test("namespaces of blocks aren't opened as key value namespaces, nor the other way round", async () => {
  const plain = await openController();
  expect(await caught(plain.keyValueNamespace(1))).toBeInstanceOf(UnsupportedError);
  const nvme = await openController({ keyValue: true });
  expect(await caught(nvme.namespace(1))).toBeInstanceOf(NvmeError);
  const effects = await nvme.logs.commandEffects(CommandSet.keyValue);
  const { store, retrieve } = KeyValueOpcode;
  const { CSUPP, LBCC } = CommandEffects;
  expect([effects.io[store], effects.io[retrieve], effects.io[IoOpcode.copy]]).toEqual([
    CSUPP | LBCC,
    CSUPP,
    0,
  ]);
  const reservations = (await nvme.keyValueNamespace(1)).reservations;
  await reservations.register(5n);
  expect((await reservations.report()).registrants).toHaveLength(1);
});

test("a format erases keys and values", async () => {
  const nvme = await openController({ keyValue: true });
  const ns = await nvme.keyValueNamespace(1);
  await ns.store("k", Buffer.from("v"));
  await nvme.maintenance.format(1);
  expect(await ns.exist("k")).toBe(false);
});

test("keys and values move with the emulated controller", () => {
  const options = { keyValue: true };
  using source = new NvmeTestHost(options);
  using target = new NvmeTestHost(options);
  const config = 6 << 4; // CC.CSS: all I/O command sets
  source.enable(config);
  const io = source.createIo();
  const at = source.alloc(4096);
  source.bytes(at, 5).set(Buffer.from("value"));
  const key = { nsid: 1, cdw2: 0x0079_656b, cdw11: 3, cdw10: 5 };
  expect(io.run({ ...key, opcode: KeyValueOpcode.store, prp1: source.iova(at) }).status).toBe(0);
  target.takeOver(source);
  target.device.migration.start();
  target.device.reset();
  target.freeAll();
  target.enable(config);
  const queue = target.createIo();
  const to = target.alloc(4096);
  const completion = queue.run({ ...key, opcode: KeyValueOpcode.retrieve, prp1: target.iova(to) });
  expect(completion).toMatchObject({ status: 0, dw0: 5 });
  expect(Buffer.from(target.bytes(to, 5)).toString()).toBe("value");
  // What a host must not ask for.
  const refused = (command: object): number => queue.run({ ...key, opcode: 0x14, ...command }).status;
  expect(refused({ cdw11: 17 })).toBe(NvmeStatus.invalidKeySize);
  expect(refused({ cdw11: 0 })).toBe(NvmeStatus.invalidKeySize);
  expect(refused({ opcode: IoOpcode.writeZeroes })).toBe(NvmeStatus.invalidOpcode);
  expect(refused({ opcode: KeyValueOpcode.list, cdw10: 3 })).toBe(NvmeStatus.invalidField);
  expect(refused({ opcode: KeyValueOpcode.store, cdw10: 2 * MIB })).toBe(NvmeStatus.invalidValueSize);
});

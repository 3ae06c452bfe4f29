/** The Replay Protected Memory Block: the library against the emulated controller's targets, and against forged answers. */
import { createHmac, randomBytes } from "node:crypto";
import { afterEach, describe, expect, test } from "vitest";
import { ArgumentError, NvmeError, UnsupportedError } from "../../../../src/index.js";
import { NvmeRpmb, NvmeRpmbError } from "../../../../src/nvme/admin/rpmb.js";
import type { SecurityChannel } from "../../../../src/nvme/command/security-channel.js";
import { RpmbRequest, RpmbResult, rpmbFrame } from "../../../../src/nvme/spec/rpmb.js";
import { NvmeStatus } from "../../../../src/nvme/spec/status.js";
import { caught } from "../../../support/caught.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { NvmeTestHost, startedHost } from "../../../support/nvme-host.js";
import { RecordingController } from "../../../support/recording-controller.js";

useEmulatedNvme();

const recorded: RecordingController[] = [];
afterEach(() => {
  for (const each of recorded.splice(0)) each.close();
});
function recording(...identify: ConstructorParameters<typeof RecordingController>): RecordingController {
  const controller = new RecordingController(...identify);
  recorded.push(controller);
  return controller;
}

const KEY = Uint8Array.from({ length: 32 }, (_, i) => i + 1);
const OTHER_KEY = new Uint8Array(32).fill(9);

async function resultOf(refused: Promise<unknown>): Promise<number | undefined> {
  const error = await caught(refused);
  if (!(error instanceof NvmeRpmbError)) throw error;
  return error.result;
}

test("a key is programmed once; data is written and read with it, in several commands; the counter counts them", async () => {
  const { security } = await openController({ rpmbTargets: 2 });
  expect(await security.protocols()).toEqual([0, 0xea]);
  const rpmb = security.rpmb(1);
  expect(rpmb.properties).toEqual({ targets: 2, authentication: 0, sizeBytes: 128 << 10, accessBytes: 8192 });
  expect(await resultOf(rpmb.readCounter())).toBe(RpmbResult.keyNotProgrammed);
  await rpmb.programKey(KEY);
  expect(await resultOf(rpmb.programKey(OTHER_KEY))).toBe(RpmbResult.writeFailure);
  expect(await rpmb.readCounter(KEY)).toBe(0);
  const data = randomBytes(40 * 512);
  await rpmb.write(216, data, KEY);
  expect(await rpmb.readCounter(KEY)).toBe(3);
  expect(Buffer.from(await rpmb.read(216, 40, KEY)).equals(data)).toBe(true);
  // Without a key, nobody checks who answers.
  expect(Buffer.from(await rpmb.read(255, 1)).equals(data.subarray(39 * 512))).toBe(true);
  expect(await resultOf(security.rpmb(0).read(0, 1))).toBe(RpmbResult.keyNotProgrammed);
});

test("a wrong key neither writes nor makes an answer authentic", async () => {
  const { security } = await openController({ rpmbTargets: 1 });
  const rpmb = security.rpmb();
  await rpmb.programKey(KEY);
  const sector = new Uint8Array(512).fill(7);
  await expect(rpmb.readCounter(OTHER_KEY)).rejects.toThrow("isn't authentic");
  expect(await resultOf(rpmb.write(0, sector, OTHER_KEY))).toBeUndefined();
  expect(await rpmb.readCounter(KEY)).toBe(0);
  expect((await rpmb.read(0, 1, KEY)).every((byte) => byte === 0)).toBe(true);
});

test("parts of a program that use a target at once don't get each other's answers", async () => {
  const { security } = await openController({ rpmbTargets: 1 });
  await security.rpmb().programKey(KEY);
  const sectors = Array.from({ length: 8 }, (_, i) => new Uint8Array(512).fill(i + 1));
  await Promise.all(sectors.map((sector, i) => security.rpmb().write(i, sector, KEY)));
  const read = await Promise.all(sectors.map((_, i) => security.rpmb().read(i, 1, KEY)));
  expect(read.map((sector) => sector[0])).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(await security.rpmb().readCounter(KEY)).toBe(8);
});

test("the configuration of target 0 is written with a counter of its own, and its protection stays", async () => {
  const { security } = await openController({ rpmbTargets: 2 });
  const rpmb = security.rpmb(0);
  await rpmb.programKey(KEY);
  await rpmb.writeConfiguration({ bootPartitionProtection: 1, bootPartition1Locked: 1 }, KEY);
  expect(await rpmb.readConfiguration(KEY)).toEqual({
    bootPartitionProtection: 1,
    bootPartition0Locked: 0,
    bootPartition1Locked: 1,
    writeProtectionControl: 0,
  });
  expect(await rpmb.readCounter(KEY)).toBe(0);
  const refused = [{ bootPartitionProtection: 0 }, { bootPartitionProtection: 1, writeProtectionControl: 3 }];
  for (const configuration of refused)
    expect(await resultOf(rpmb.writeConfiguration(configuration, KEY))).toBe(RpmbResult.invalidConfiguration);
  expect(await caught(security.rpmb(1).readConfiguration())).toBeInstanceOf(ArgumentError);
});

test("wrong arguments are refused before a command is sent", async () => {
  const { security } = await openController({ rpmbTargets: 1 });
  const rpmb = security.rpmb();
  for (const wrong of [
    () => rpmb.programKey(new Uint8Array(31)),
    () => rpmb.readCounter(new Uint8Array(33)),
    () => rpmb.read(0, 0),
    () => rpmb.read(255, 2, KEY),
    () => rpmb.read(2 ** 32, 1),
    () => rpmb.write(0, new Uint8Array(511), KEY),
    () => rpmb.write(0, new Uint8Array(0), KEY),
    () => rpmb.write(250, new Uint8Array(7 * 512), KEY),
    () => security.rpmb(1).readCounter(),
    async () => security.rpmb(7),
  ]) {
    expect(await caught(wrong())).toBeInstanceOf(ArgumentError);
  }
  const without = await openController();
  expect(without.security.rpmb().properties).toMatchObject({ targets: 0, sizeBytes: 0, accessBytes: 0 });
  expect(await caught(without.security.rpmb().readCounter())).toBeInstanceOf(UnsupportedError);
  // More than any target has: it isn't allocated first.
  expect(await caught(without.security.rpmb().read(0, 65537))).toBeInstanceOf(ArgumentError);
});

test("an answer that nobody asked for, and a frame of a wrong form, are refused by the emulated controller", async () => {
  const { security } = await openController({ rpmbTargets: 1 });
  const channel = { protocol: 0xea, specific: 1, nssf: 0 };
  const statusOf = async (refused: Promise<unknown>): Promise<number> => {
    const error = await caught(refused);
    if (!(error instanceof NvmeError)) throw error;
    return (error.statusCodeType << 8) | error.statusCode;
  };
  expect(await statusOf(security.receive(channel, 256))).toBe(NvmeStatus.commandSequenceError);
  const frame = (fields: Parameters<typeof rpmbFrame.encode>[0]) => rpmbFrame.encode({ type: 2, ...fields });
  for (const wrong of [
    new Uint8Array(255),
    frame({ target: 1 }),
    frame({ type: 8 }),
    Buffer.concat([frame({}), new Uint8Array(100)]),
  ]) {
    expect(await statusOf(security.send(channel, wrong))).toBe(NvmeStatus.invalidField);
  }
  expect(await statusOf(security.send({ ...channel, nssf: 1 }, frame({})))).toBe(NvmeStatus.invalidField);
  // A result of nothing, and a write without data for its sectors.
  await security.send(channel, frame({ type: RpmbRequest.readResult }));
  expect(rpmbFrame.decode(await security.receive(channel, 256))).toMatchObject({ type: 0x500, result: 1 });
  await security.rpmb().programKey(KEY);
  await security.send(channel, frame({ type: RpmbRequest.writeData, sectors: 2 }));
  await security.send(channel, frame({ type: RpmbRequest.readResult }));
  expect(rpmbFrame.decode(await security.receive(channel, 256))).toMatchObject({ type: 0x300, result: 1 });
});

describe("an answer that somebody changed", () => {
  const identify = { oacs: 1, rpmbs: 1 };

  /** A target whose answers are changed. */
  function forged(change: (answer: Uint8Array, request: Uint8Array) => void): NvmeRpmb {
    let request: Uint8Array = new Uint8Array(256);
    const channel: SecurityChannel = {
      async send(_protocol, data) {
        request = data.slice();
      },
      async receive(_protocol, sizeBytes) {
        const { target, nonce, type } = rpmbFrame.decode(request);
        const answer = new Uint8Array(sizeBytes);
        answer.set(rpmbFrame.encode({ target, nonce, type: type << 8, writeCounter: 5 }));
        answer.set(createHmac("sha256", KEY).update(answer.subarray(223)).digest(), 191);
        change(answer, request);
        return answer;
      },
    };
    return new NvmeRpmb(recording(identify), channel, 0);
  }

  test("is accepted only if nothing was changed", async () => {
    expect(await forged(() => {}).readCounter(KEY)).toBe(5);
    for (const at of [191, 222, 224, 240, 250]) {
      const changed = forged((answer) => {
        answer[at] = (answer[at] ?? 0) ^ 1;
      });
      expect(await resultOf(changed.readCounter(KEY))).toBeUndefined();
    }
  });

  test("is refused if it is of another request, target or result", async () => {
    for (const [at, problem] of [
      [255, /is of type/],
      [223, /target 1/],
    ] as const) {
      const changed = forged((answer) => {
        answer[at] = (answer[at] ?? 0) ^ 1;
      });
      await expect(changed.readCounter()).rejects.toThrow(problem);
    }
    const expired = forged((answer) => {
      answer[252] = 0x85;
    });
    await expect(expired.readCounter()).rejects.toThrow("write failure; its write counter has ended");
    const unknown = forged((answer) => {
      answer[252] = 0x2a;
    });
    expect(await resultOf(unknown.readCounter())).toBe(0x2a);
  });
});

test("a write whose counter doesn't advance is an error", async () => {
  // Answers to the counter and to the result are the same.
  let request: Uint8Array = new Uint8Array(256);
  const channel: SecurityChannel = {
    async send(_protocol, data) {
      const { type } = rpmbFrame.decode(data);
      if (type !== RpmbRequest.readResult) request = data.slice();
    },
    async receive(_protocol, sizeBytes) {
      const { nonce, type } = rpmbFrame.decode(request);
      const answer = new Uint8Array(sizeBytes);
      answer.set(rpmbFrame.encode({ nonce, type: type << 8, writeCounter: 5 }));
      answer.set(createHmac("sha256", KEY).update(answer.subarray(223)).digest(), 191);
      return answer;
    },
  };
  const rpmb = new NvmeRpmb(recording({ oacs: 1, rpmbs: 1 }), channel, 0);
  await expect(rpmb.write(0, new Uint8Array(512), KEY)).rejects.toThrow(
    "the write counter is 5 instead of 6",
  );
});

test("an authentication method that the library lacks is refused", async () => {
  const channel: SecurityChannel = { send: async () => {}, receive: async () => new Uint8Array(0) };
  const rpmb = new NvmeRpmb(recording({ oacs: 1, rpmbs: 1 | (1 << 3) }), channel, 0);
  expect(await caught(rpmb.readCounter())).toBeInstanceOf(UnsupportedError);
});

test("targets move with the emulated controller", () => {
  const options = { rpmbTargets: 2 };
  using source = startedHost(options);
  using target = new NvmeTestHost(options);
  const { host } = source;
  const at = host.alloc(4096);
  const program = rpmbFrame.encode({ target: 1, type: RpmbRequest.programKey, mac: KEY });
  host.bytes(at, 256).set(program);
  const command = { prp1: host.iova(at), cdw10: ((0xea << 24) | (1 << 8) | 1) >>> 0, cdw11: 256 };
  expect(host.admin.run({ opcode: 0x81, ...command }).status).toBe(0);
  target.takeOver(host);
  target.device.migration.start();
  target.device.reset();
  target.freeAll();
  target.enable();
  const to = target.alloc(4096);
  command.prp1 = target.iova(to);
  const receive = (): ReturnType<typeof rpmbFrame.decode> => {
    expect(target.admin.run({ opcode: 0x82, ...command }).status).toBe(0);
    return rpmbFrame.decode(target.bytes(to, 256));
  };
  target.bytes(to, 256).set(rpmbFrame.encode({ target: 1, type: RpmbRequest.readCounter }));
  expect(target.admin.run({ opcode: 0x81, ...command }).status).toBe(0);
  expect(receive()).toMatchObject({ type: 0x200, result: RpmbResult.success, writeCounter: 0 });
});

/** The example's driver for the 82576: queues, filters, checksums and statistics. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { Igb } from "../../../examples/drivers/igb/igb.js";
import type { ReceivedFrame } from "../../../examples/drivers/igb/received-frame.js";
import { backendNames } from "../../../src/pci/open.js";
import {
  IP_DESTINATION,
  IP_SOURCE,
  ipFrame,
  plainFrame,
  toeplitz,
  transportChecksumAt,
} from "../../support/frames.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { bindForFile, IgbPair, leftIgbBdf, rightIgbBdf } from "../../support/igb-machine.js";

bindForFile([leftIgbBdf, rightIgbBdf]);

/** Only ends what would never end. */
const LONG = { timeout: 600_000 };
const BROADCAST = "ff:ff:ff:ff:ff:ff";
const OTHER = "52:54:00:00:00:99";
const GROUP = "01:00:5e:00:00:05";
const OTHER_GROUP = "01:00:5e:00:01:77";

/** The UDP flow whose packets come from a port: the hash's input of RSS, addresses and ports. */
function hashInput(sourcePort: number): Buffer {
  const input = Buffer.from(`${IP_SOURCE[4]}${IP_DESTINATION[4]}00000007`, "hex");
  input.writeUInt16BE(sourcePort, 8);
  return input;
}

/**
 * A random key by whose hash some flows reach each of four queues. One key in forty doesn't: the hash is linear in
 * the ports, so that the flows of such a key share two queues, or one.
 */
function keyThatReachesAll(flows: number): Buffer {
  for (;;) {
    const key = randomBytes(40);
    const reached = new Set(Array.from({ length: flows }, (_, flow) => toeplitz(key, hashInput(flow)) & 3));
    if (reached.size === 4) return key;
  }
}

/** Sends a frame to each address, and at last one that always comes. @returns the addresses whose frames came */
async function passing(from: Igb, to: Igb, addresses: readonly string[], vlan?: number): Promise<string[]> {
  const received = to.receive();
  for (const [i, address] of addresses.entries())
    await from.send(plainFrame(address, from.macAddress, Buffer.alloc(50, i)), { vlan });
  await from.send(plainFrame(to.macAddress, from.macAddress, Buffer.alloc(50, 0xff)));
  const seen: string[] = [];
  for await (const { bytes } of received) {
    const which = bytes[14] ?? 0;
    if (which === 0xff) break;
    seen.push(addresses[which] ?? "");
  }
  return seen;
}

describe.each(backendNames)("an 82576 through %s", (backend) => {
  expectNothingLeft();

  test("receives what is for it, and by filters what is for others", LONG, async () => {
    await using pair = await IgbPair.start(backend);
    const { left, right } = pair;
    const { filters } = right;
    const all = [right.macAddress, BROADCAST, OTHER, GROUP, OTHER_GROUP];
    const own = [right.macAddress, BROADCAST];
    expect(await passing(left, right, all)).toEqual(own);
    filters.setPromiscuous({ unicast: true });
    expect(await passing(left, right, all)).toEqual([...own, OTHER]);
    filters.setPromiscuous({ multicast: true });
    expect(await passing(left, right, all)).toEqual([...own, GROUP, OTHER_GROUP]);
    filters.setPromiscuous({ unicast: true, multicast: true });
    expect(await passing(left, right, all)).toEqual(all);
    filters.setPromiscuous({});
    filters.setMulticast([GROUP]);
    expect(await passing(left, right, all)).toEqual([...own, GROUP]);
    filters.setMulticast([OTHER_GROUP]);
    expect(await passing(left, right, all)).toEqual([...own, OTHER_GROUP]);
    filters.setMulticast([]);
    expect(await passing(left, right, all)).toEqual(own);
    filters.setVlans([5, 4095]);
    expect(await passing(left, right, own, 5)).toEqual(own);
    expect(await passing(left, right, own, 6)).toEqual([]);
    expect(await passing(left, right, own, 0xefff)).toEqual(own);
    filters.setVlans("all");
    expect(await passing(left, right, own, 6)).toEqual(own);
  });

  test("counts frames and bytes as they were sent", LONG, async () => {
    await using pair = await IgbPair.start(backend);
    const { left, right } = pair;
    right.filters.setMulticast([GROUP]);
    const sizes = [60, 61, 500, 1514];
    const to = [right.macAddress, right.macAddress, BROADCAST, GROUP];
    const frames = sizes.map((size, i) =>
      plainFrame(to[i] ?? "", left.macAddress, Buffer.alloc(size - 14, i)),
    );
    const received = right.receive();
    await left.sendAll(frames);
    for (const frame of frames) expect((await received.next()).value?.bytes).toEqual(Uint8Array.from(frame));
    await received.return();
    const bytes = sizes.reduce((sum, size) => sum + size + 4, 0);
    const count = frames.length;
    expect(left.statistics()).toMatchObject({
      ...{ sent: count, sentGood: count, sentBytes: bytes, sentGoodBytes: bytes },
      ...{ sentBroadcasts: 1, sentMulticasts: 1, received: 0, receivedGood: 0 },
    });
    expect(right.statistics()).toMatchObject({
      ...{ received: count, receivedGood: count, receivedBytes: bytes, receivedGoodBytes: bytes },
      ...{ receivedBroadcasts: 1, receivedMulticasts: 1, sent: 0, missed: 0, crcErrors: 0 },
    });
    await left.send(frames[0] ?? Buffer.alloc(0));
    await left.flush();
    expect(left.statistics()).toMatchObject({ sentGood: count + 1, sentGoodBytes: bytes + 64 });
  });

  test("computes the checksums of TCP and UDP, and says whether received ones are right", LONG, async () => {
    await using pair = await IgbPair.start(backend);
    const { left, right } = pair;
    const received = right.receive();
    const next = async (): Promise<ReceivedFrame> => {
      const { value } = await received.next();
      if (value === undefined) throw new Error("the iteration has ended");
      return value;
    };
    for (const version of [4, 6] as const)
      for (const transport of ["tcp", "udp"] as const)
        for (const length of [20, 21, 1001]) {
          const what = {
            version,
            transport,
            sourcePort: 1000,
            destinationPort: 2000,
            data: randomBytes(length),
          };
          const right4 = ipFrame(right.macAddress, left.macAddress, what);
          const blank = Buffer.from(right4);
          blank.writeUInt16BE(0xdead, transportChecksumAt(what));
          if (version === 4) blank.writeUInt16BE(0xbeef, 24);
          await left.send(blank, { checksum: true });
          await left.send(blank, { checksum: true, vlan: 9 });
          await left.send(blank);
          const computed = await next();
          const label = `${transport} in IPv${version}, ${length} bytes`;
          expect(Buffer.from(computed.bytes).toString("hex"), label).toBe(right4.toString("hex"));
          const good = { ipChecksum: version === 4 ? "good" : "unchecked", transportChecksum: "good" };
          expect(computed, label).toMatchObject(good);
          const tagged = await next();
          expect(Buffer.from(tagged.bytes).toString("hex"), label).toBe(right4.toString("hex"));
          expect(tagged, label).toMatchObject({ ...good, vlan: 9 });
          const bad = { ipChecksum: version === 4 ? "bad" : "unchecked", transportChecksum: "bad" };
          expect(await next(), label).toMatchObject(bad);
        }
    await left.send(plainFrame(right.macAddress, left.macAddress, Buffer.alloc(50)));
    expect(await next()).toMatchObject({ ipChecksum: "unchecked", transportChecksum: "unchecked" });
    await received.return();
  });

  test("distributes flows to queues by their hash, each queue with its own vector", LONG, async () => {
    const queues = 4;
    const flows = 128;
    const hashKey = keyThatReachesAll(flows);
    await using pair = await IgbPair.start(backend, { queues, hashKey });
    const { left, right } = pair;
    const each = 4;
    const seen: { queue: number; flow: number; turn: number; hash: number }[] = [];
    let all = (): void => {};
    const done = new Promise<void>((resolve) => {
      all = resolve;
    });
    const end = new AbortController();
    const receivers = Array.from({ length: queues }, async (_, queue) => {
      try {
        for await (const batch of right.receiveBatches({ queue, signal: end.signal })) {
          for (const { bytes, hash, queue: of } of batch) {
            const frame = Buffer.from(bytes);
            seen.push({ queue: of, flow: frame.readUInt16BE(34), turn: frame[42] ?? 0, hash });
          }
          if (seen.length === flows * each) all();
        }
      } catch (error) {
        if (!end.signal.aborted) throw error;
      }
    });
    const base = { version: 4, transport: "udp", destinationPort: 7 } as const;
    for (let turn = 0; turn < each; turn++)
      for (let flow = 0; flow < flows; flow++) {
        const frame = ipFrame(right.macAddress, left.macAddress, {
          ...base,
          sourcePort: flow,
          data: Buffer.alloc(30, turn),
        });
        await left.send(frame, { queue: flow % queues });
      }
    await done;
    end.abort();
    await Promise.all(receivers);
    const wrong = seen.filter(({ queue, flow, hash }) => {
      const expected = toeplitz(hashKey, hashInput(flow));
      return hash !== expected || queue !== (expected & 127) % queues;
    });
    expect(wrong).toEqual([]);
    expect(new Set(seen.map(({ queue }) => queue))).toEqual(new Set([0, 1, 2, 3]));
    for (let flow = 0; flow < flows; flow++)
      expect(seen.filter((one) => one.flow === flow).map(({ turn }) => turn)).toEqual([0, 1, 2, 3]);
  });
});

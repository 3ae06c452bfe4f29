/** Tests of the migration state of an emulated controller. */
import { expect, test } from "vitest";
import { IovaError } from "../../../../src/core/errors.js";
import { decodeState } from "../../../../src/emulator/nvme/migration-state.js";
import type { NvmeEmulatorOptions } from "../../../../src/emulator/nvme/options.js";
import { AdminOpcode, FeatureId, IoOpcode } from "../../../../src/nvme/spec/opcodes.js";
import { NvmeTestHost, SUCCESS } from "../../../support/nvme-host.js";

const ZONED = 6 << 4;
const options: NvmeEmulatorOptions = {
  sizeBytes: 4 << 20,
  zoned: { zoneSizeBytes: 1 << 20 },
  cmbBytes: 65536,
  queuePairs: 4,
  placementHandles: 2,
  faults: [{ kind: "latency", queue: "io", opcode: IoOpcode.flush, latencyMs: 600_000 }],
};

/** A controller that has something of everything to remember. */
function busy(): NvmeTestHost {
  const host = new NvmeTestHost(options);
  host.enable(ZONED);
  const io = host.createIo(2, 16, { vector: 1 });
  const data = host.alloc(4096);
  host.bytes(data, 4096).fill(0x5a);
  const prp1 = host.iova(data);
  const done = (command: Parameters<typeof io.run>[0], queue = io): void => {
    expect(queue.run(command).status).toBe(SUCCESS);
  };
  done({ opcode: AdminOpcode.setFeatures, cdw10: FeatureId.interruptCoalescing, cdw11: 0x0503 }, host.admin);
  done({ opcode: AdminOpcode.setFeatures, cdw10: FeatureId.asyncEventConfiguration, cdw11: 2 }, host.admin);
  done({ opcode: AdminOpcode.setFeatures, cdw10: FeatureId.temperatureThreshold, cdw11: 400 }, host.admin);
  done({ opcode: AdminOpcode.setFeatures, cdw10: FeatureId.timestamp, prp1 }, host.admin);
  host.admin.post({ opcode: AdminOpcode.asyncEventRequest });
  host.admin.post({ opcode: AdminOpcode.asyncEventRequest });
  done({ opcode: IoOpcode.write, nsid: 1, prp1, cdw12: 7 });
  done({ opcode: IoOpcode.reservationRegister, nsid: 1, prp1 });
  // Open zone 2 explicitly, spoil a block of zone 0.
  done({ opcode: IoOpcode.zoneManagementSend, nsid: 1, cdw10: 4096, cdw13: 3 });
  io.run({ opcode: IoOpcode.writeUncorrectable, nsid: 1, cdw10: 3 });
  expect(io.run({ opcode: 0x7f, nsid: 1 }).status).not.toBe(SUCCESS);
  io.post({ opcode: IoOpcode.flush, nsid: 1, cid: 77 });
  host.device.pump();
  host.device.bars[2]?.write(4096, Uint8Array.of(1, 2, 3, 4));
  host.device.migration.stop();
  return host;
}

/** A state without what goes on with the clock. */
function still(bytes: Uint8Array): unknown {
  const { state, data } = decodeState(bytes);
  const { features, logs, delayed, ...rest } = state;
  return {
    ...rest,
    features: { ...features, timestamp: 0 },
    logs: { ...logs, poweredMs: 0 },
    delayed: delayed.map(({ sqid, sqe }) => ({ sqid, sqe })),
    data: Buffer.from(data).toString("hex"),
  };
}

test("a controller that loads the state of another saves the same state", () => {
  using source = busy();
  const saved = source.device.migration.save();
  const { state } = decodeState(saved);
  expect(state.events.requests).toHaveLength(2);
  expect(state.delayed).toMatchObject([{ sqid: 2 }]);
  expect(state.logs.errorCount).toBeGreaterThan(0);
  expect(state.namespaces[0]?.open).toHaveLength(2);
  expect(state.nvm.reservations).toHaveLength(1);
  expect(state.cmb).toEqual([[0, 65536]]);
  using target = new NvmeTestHost(options);
  target.device.migration.stop();
  target.device.migration.load(saved);
  expect(still(target.device.migration.save())).toEqual(still(saved));
  // Nothing is done before it is started; then it goes on with the queues where they are.
  target.ram.bytes.set(source.ram.bytes);
  expect(target.device.pump()).toBe(0);
  target.device.migration.start();
  expect(target.read32(0x1c)).toBe(1);
  target.device.pump();
  expect(target.read32(0x1c)).toBe(1);
  expect(source.device.pump()).toBe(0);
});

/** The same numbers every time. */
function generator(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

test("a state that a client has changed is refused, or the controller goes on", () => {
  using source = busy();
  const saved = Buffer.from(source.device.migration.save());
  const at = saved.indexOf("{");
  const { state } = decodeState(saved);
  const text = JSON.stringify(state);
  const data = saved.subarray(at + Buffer.byteLength(text));
  const random = generator(7);
  const numbers = [...text.matchAll(/-?\d+(\.\d+)?/g)];
  const edges = [
    0,
    1,
    -1,
    2,
    15,
    16,
    255,
    65535,
    65536,
    4096,
    2 ** 31,
    2 ** 32 - 1,
    2 ** 32,
    2 ** 40,
    2 ** 53 - 1,
    1e300,
  ];
  let refused = 0;
  let taken = 0;
  for (let round = 0; round < 120; round++) {
    let changed = text;
    for (let i = 0; i <= random(3); i++) {
      const match = numbers[random(numbers.length)];
      if (match === undefined) continue;
      const value = edges[random(edges.length)] ?? 0;
      changed = `${changed.slice(0, match.index)}${value}${changed.slice(match.index + match[0].length)}`;
      if (changed.length !== text.length) break;
    }
    const encoded = Buffer.from(changed);
    const prefix = Buffer.from(saved.subarray(0, at));
    prefix.writeUInt32LE(encoded.length, at - 4);
    const whole = Buffer.concat([prefix, encoded, data]);
    if (round % 10 === 0) whole[random(whole.length)] = random(256);
    using target = new NvmeTestHost(options);
    target.ram.bytes.set(source.ram.bytes);
    const { migration } = target.device;
    migration.stop();
    try {
      migration.load(round % 25 === 0 ? whole.subarray(0, random(whole.length)) : whole);
      taken++;
    } catch (error) {
      expect(error).toBeInstanceOf(IovaError);
      refused++;
    }
    migration.start();
    for (let i = 0; i < 3; i++) target.device.pump();
    // A reset makes it a controller again, whatever that was.
    target.device.reset();
    target.freeAll();
    target.enable(ZONED);
    expect(target.createIo().run({ opcode: IoOpcode.read, nsid: 9 }).status).not.toBe(SUCCESS);
  }
  expect(refused).toBeGreaterThan(20);
  expect(taken).toBeGreaterThan(20);
});

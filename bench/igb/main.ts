/**
 * Sends frames from one 82576 to another, in turns: a C program with the example's ring code, the example's queues, and its driver
 * with a promise for each batch. All poll, and each has a queue of its own in the same two devices. All ring one doorbell for a batch of
 * frames to be sent, and one for the buffers of what they received at once.
 *
 *   npm run bench -- igb [ROUNDS [FRAMES]]
 */

import { Igb } from "../../examples/drivers/igb/igb.js";
import { ReceiveQueue } from "../../examples/drivers/igb/receive-queue.js";
import { type IgbRegisters, igbRegisters } from "../../examples/drivers/igb/registers.js";
import { SendQueue } from "../../examples/drivers/igb/send-queue.js";
import { VfioDevice } from "../../src/doors/vfio.js";
import { bindToVfio, listPciFunctions, MappedMemory, PciDevice } from "../../src/index.js";
import { CProgram, compileC } from "../c-program.js";
import { measureInTurns, type Way } from "../rounds.js";
import {
  BATCH,
  BUFFER_BYTES,
  C_BYTES,
  C_FRAME_AT,
  DESCRIPTOR_BYTES,
  frameOf,
  Queue,
  runRings,
  SIZES,
  SLOTS,
  timed,
  wholeBatches,
} from "./loop.js";

const LINK_MS = 60_000;
/** For the JIT compilers of V8 and QEMU. */
const WARM_UP_FRAMES = 200_000;
const HASHED_QUEUES = 2;

const rounds = Number(process.argv[2] ?? 21);
const frames = wholeBatches(Number(process.argv[3] ?? 2048));

/** All hashes lead to one queue. */
function receiveThrough(regs: IgbRegisters, queue: number): void {
  for (const four of regs.redirection) four.write(queue * 0x0101_0101);
}

async function runDriver(left: Igb, right: Igb, frame: Uint8Array, wanted: number): Promise<void> {
  const batch = new Array<Uint8Array>(BATCH).fill(frame);
  let received = 0;
  let sent = 0;
  const more = async (): Promise<void> => {
    // The frames of the loop's turn still have their buffers.
    for (; sent < wanted && sent - received + BATCH < SLOTS / 2; sent += BATCH) await left.sendAll(batch);
  };
  await more();
  for await (const each of right.receiveBatches({ poll: true, most: SLOTS })) {
    received += each.length;
    if (received >= wanted) return;
    await more();
  }
}

function fdOf({ io, bdf }: PciDevice): number {
  if (!(io instanceof VfioDevice)) throw new Error(`${bdf} is no VFIO device`);
  return io.fd;
}

const nics = listPciFunctions().filter(
  ({ vendorId, deviceId }) => vendorId === 0x8086 && deviceId === 0x10c9,
);
const [first, second] = nics;
if (first === undefined || second === undefined)
  throw new Error("this machine has no two 82576: run it in the guest");
using _one = bindToVfio(first.bdf);
using _two = bindToVfio(second.bdf);
using leftDevice = PciDevice.open(first.bdf);
// One address space for both, so that C's memory has one address.
using rightDevice = PciDevice.open(second.bdf, { dma: leftDevice.dma });
using compiled = compileC("igb/igb.c");
process.stdout.write(
  `frames from one 82576 to another, medians of ${rounds} rounds of ${frames} frames in turns; Node ${process.versions.node}\n`,
);
for (const bytes of SIZES) {
  await using left = await Igb.start(leftDevice, { slots: SLOTS });
  await using right = await Igb.start(rightDevice, { slots: SLOTS });
  await Promise.all([left.linkUp({ timeoutMs: LINK_MS }), right.linkUp({ timeoutMs: LINK_MS })]);
  const [leftRegs, rightRegs] = [igbRegisters.on(leftDevice.bar(0)), igbRegisters.on(rightDevice.bar(0))];
  rightRegs.hashControl.write({ mode: HASHED_QUEUES, ipv4: true });
  const frame = frameOf(right.macAddress, left.macAddress, bytes);

  const sending = new SendQueue(leftDevice.dma, Queue.rings, SLOTS, leftRegs.sendRings.at(Queue.rings));
  const receiving = new ReceiveQueue(
    rightDevice.dma,
    Queue.rings,
    SLOTS,
    rightRegs.receiveRings.at(Queue.rings),
  );
  await sending.start();
  await receiving.start();

  const ringBytes = SLOTS * DESCRIPTOR_BYTES;
  using memory = MappedMemory.memfd(C_BYTES);
  using mapped = leftDevice.dma.map(memory);
  memory.bytes.set(frame, C_FRAME_AT);
  const send = leftRegs.sendRings.at(Queue.c);
  send.base.write(mapped.iova);
  send.sizeBytes.write(ringBytes);
  send.control.write({ prefetch: 8, host: 1, writeBack: 1, enable: true });
  const receive = rightRegs.receiveRings.at(Queue.c);
  receive.base.write(mapped.iova + BigInt(ringBytes));
  receive.sizeBytes.write(ringBytes);
  receive.split.write({ bufferKib: BUFFER_BYTES / 1024, descriptorType: 1 });
  receive.control.write({ prefetch: 8, host: 8, writeBack: 1, enable: true });
  const c = new CProgram(
    compiled.program,
    ["3", "4", "5", String(mapped.iova), ...[SLOTS, Queue.c, bytes, BATCH].map(String)],
    [fdOf(leftDevice), fdOf(rightDevice), memory.fd],
  );
  try {
    const through = (queue: number, run: (count: number) => Promise<number>) => async (count: number) => {
      receiveThrough(rightRegs, queue);
      return await run(wholeBatches(count));
    };
    const ways: Way[] = [
      { name: "C", run: through(Queue.c, (count) => c.run(count)) },
      {
        name: "rings",
        run: through(Queue.rings, async (count) => runRings(sending, receiving, frame, count)),
      },
      {
        name: "driver",
        run: through(Queue.driver, async (count) => {
          const start = process.hrtime.bigint();
          await runDriver(left, right, frame, count);
          return timed(count, start);
        }),
      },
    ];
    for (const { name, medianNs, ratio, quietRatio } of await measureInTurns(
      ways,
      rounds,
      frames,
      WARM_UP_FRAMES,
    ))
      process.stdout.write(
        `${String(bytes).padStart(5)} bytes  ${name.padEnd(7)} ${(1e6 / medianNs).toFixed(1).padStart(8)} k frames/s  ` +
          `time ${ratio.toFixed(2)} of C's, best tenth ${quietRatio.toFixed(2)}\n`,
      );
  } finally {
    await c.end();
    await Promise.all([left.close(), right.close()]);
    sending.close();
    receiving.close();
  }
}

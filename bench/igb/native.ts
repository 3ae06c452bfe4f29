/**
 * The example's rings beside the same in C, as main.ts measures them, but on this machine's processors: the two devices and the wire are
 * a C program in shared memory. What a driver's own work costs is seen here; in the guest QEMU emulates each of its instructions.
 *
 *   npm run bench -- igb-rings [ROUNDS [MILLISECONDS]]
 */

import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { ReceiveQueue } from "../../examples/drivers/igb/receive-queue.js";
import { type IgbRegisters, igbRegisters } from "../../examples/drivers/igb/registers.js";
import { SendQueue } from "../../examples/drivers/igb/send-queue.js";
import { Lease } from "../../src/core/lifetime/lease.js";
import type { DmaBuffer } from "../../src/dma/buffer.js";
import { type Iova, iova } from "../../src/dma/iova/address.js";
import type { DmaMapper } from "../../src/dma/mapper.js";
import { DmaSpace } from "../../src/dma/space.js";
import { MappedMemory } from "../../src/index.js";
import type { RegisterAccess } from "../../src/registers/access.js";
import { CProgram, compileC } from "../c-program.js";
import { keepToOwnCpu } from "../rings/device.js";
import { measureInTurns } from "../rounds.js";
import {
  BATCH,
  C_BYTES,
  C_FRAME_AT,
  DESCRIPTOR_BYTES,
  frameOf,
  Queue,
  runRings,
  SIZES,
  SLOTS,
  wholeBatches,
} from "./loop.js";

const BAR_BYTES = 0x2_0000;
/** Where the devices reach the memory of the library and of the C program. */
const LIBRARY_IOVA = 0x1000_0000;
const C_IOVA = 0x8000_0000;
const LIBRARY_BYTES = 8 << 20;
const WARM_UP_FRAMES = 2_000_000;
const PAGE = 4096;
/** The wire looks at registers and stdin many times in this time. */
const PAUSE_MS = 100;

/** Before this program keeps to one. */
const wireCpu = availableParallelism() - 1;
const rounds = Number(process.argv[2] ?? 21);
const milliseconds = Number(process.argv[3] ?? 50);

/** How fast the wire is. The 82576 has 1 Gb/s. */
const wires = [
  { name: "1 Gb/s", psPerByte: 8000 },
  { name: "10 Gb/s", psPerByte: 800 },
  { name: "no limit", psPerByte: 0 },
] as const;
/** Of each frame besides its bytes: CRC, preamble, gap. */
const AROUND_BYTES = 24;
/** About what rings of C take without a limit. */
const LEAST_NS = 100;

/** The registers of a simulated device. */
class SharedRegisters implements RegisterAccess {
  readonly label = "registers";
  readonly sizeBytes = BAR_BYTES;
  readonly memory = MappedMemory.memfd(BAR_BYTES);
  private readonly view = new DataView(this.memory.bytes.buffer, this.memory.bytes.byteOffset, BAR_BYTES);
  readonly mapped = {
    bytes: this.memory.bytes,
    halves: new Uint16Array(this.memory.bytes.buffer, this.memory.bytes.byteOffset, BAR_BYTES / 2),
    words: this.memory.words,
    longs: new BigUint64Array(this.memory.bytes.buffer, this.memory.bytes.byteOffset, BAR_BYTES / 8),
  };
  read8 = (offset: number): number => this.view.getUint8(offset);
  read16 = (offset: number): number => this.view.getUint16(offset, true);
  read32 = (offset: number): number => this.view.getUint32(offset, true);
  readWhole64 = (offset: number): bigint => this.view.getBigUint64(offset, true);
  write8 = (offset: number, value: number): void => this.view.setUint8(offset, value);
  write16 = (offset: number, value: number): void => this.view.setUint16(offset, value, true);
  write32 = (offset: number, value: number): void => this.view.setUint32(offset, value, true);
  writeWhole64 = (offset: number, value: bigint): void => this.view.setBigUint64(offset, value, true);
}

/** Memory out of one file that the simulated devices have. */
class FileSpace extends DmaSpace {
  private next = 0;

  constructor(
    private readonly fd: number,
    private readonly at: { iova: number },
  ) {
    const mapper: DmaMapper = {
      lease: new Lease("bench", () => {}),
      name: "none",
      iovaRanges: () => [{ start: iova(0n), last: iova(2n ** 47n - 1n) }],
      alignmentBytes: () => PAGE,
      map: (): Iova => iova(BigInt(at.iova)),
      unmap: () => {},
    };
    super(mapper);
  }

  override alloc(sizeBytes: number): DmaBuffer {
    const bytes = Math.ceil(sizeBytes / PAGE) * PAGE;
    const memory = MappedMemory.ofFile(this.fd, this.next, bytes, "frames");
    this.at.iova = LIBRARY_IOVA + this.next;
    this.next += bytes;
    return this.map(memory);
  }
}

const [left, right] = [new SharedRegisters(), new SharedRegisters()];
const [leftRegs, rightRegs]: IgbRegisters[] = [igbRegisters.on(left), igbRegisters.on(right)];
if (leftRegs === undefined || rightRegs === undefined) throw new Error("no registers");
using library = MappedMemory.memfd(LIBRARY_BYTES);
using cMemory = MappedMemory.memfd(C_BYTES);
using wireProgram = compileC("igb/wire.c");
using cProgram = compileC("igb/igb.c");
keepToOwnCpu();
const wire = spawn(
  "taskset",
  [
    ...["-c", String(wireCpu), wireProgram.program, "3", "4"],
    ...["5", String(LIBRARY_IOVA), String(LIBRARY_BYTES), "6", String(C_IOVA), String(C_BYTES)],
  ],
  { stdio: ["pipe", "inherit", "inherit", left.memory.fd, right.memory.fd, library.fd, cMemory.fd] },
);
const wireEnded = new Promise((resolve) => wire.once("exit", resolve));
process.stdout.write(
  `frames through rings, the devices in C; medians of ${rounds} rounds of ${milliseconds} ms in turns; Node ${process.versions.node}\n`,
);
try {
  for (const bytes of SIZES) {
    const frame = frameOf("52:54:00:00:00:01", "52:54:00:00:00:02", bytes);
    const dma = new FileSpace(library.fd, { iova: 0 });
    const sending = new SendQueue(dma, Queue.rings, SLOTS, leftRegs.sendRings.at(Queue.rings));
    const receiving = new ReceiveQueue(dma, Queue.rings, SLOTS, rightRegs.receiveRings.at(Queue.rings));
    await sending.start();
    await receiving.start();
    cMemory.bytes.fill(0);
    cMemory.bytes.set(frame, C_FRAME_AT);
    const [send, receive] = [leftRegs.sendRings.at(Queue.c), rightRegs.receiveRings.at(Queue.c)];
    send.base.write(BigInt(C_IOVA));
    receive.base.write(BigInt(C_IOVA + SLOTS * DESCRIPTOR_BYTES));
    for (const ring of [send, receive]) {
      ring.tail.write(0);
      ring.sizeBytes.write(SLOTS * DESCRIPTOR_BYTES);
      ring.control.write({ enable: true });
    }
    const c = new CProgram(
      cProgram.program,
      ["3", "4", "5", ...[C_IOVA, SLOTS, Queue.c, bytes, BATCH].map(String)],
      [left.memory.fd, right.memory.fd, cMemory.fd],
    );
    for (const { name: speed, psPerByte } of wires) {
      wire.stdin?.write(`${psPerByte}\n`);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      const ns = Math.max(LEAST_NS, ((bytes + AROUND_BYTES) * psPerByte) / 1000);
      const measured = await measureInTurns(
        [
          { name: "C", run: (count) => c.run(wholeBatches(count)) },
          { name: "rings", run: (count) => runRings(sending, receiving, frame, wholeBatches(count)) },
        ],
        rounds,
        wholeBatches((milliseconds * 1e6) / ns),
        psPerByte === 0 ? WARM_UP_FRAMES : 0,
      );
      for (const { name, medianNs, ratio, quietRatio } of measured)
        process.stdout.write(
          `${String(bytes).padStart(5)} bytes  ${speed.padEnd(9)} ${name.padEnd(6)} ${(1e3 / medianNs).toFixed(2).padStart(7)} M frames/s  ` +
            `time ${ratio.toFixed(2)} of C's, best tenth ${quietRatio.toFixed(2)}\n`,
        );
    }
    await c.end();
    for (const ring of [
      send,
      receive,
      leftRegs.sendRings.at(Queue.rings),
      rightRegs.receiveRings.at(Queue.rings),
    ])
      ring.control.write({ enable: false });
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    sending.close();
    receiving.close();
  }
} finally {
  wire.stdin?.end();
  await wireEnded;
}

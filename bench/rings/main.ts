/**
 * A queue pair's loop of reads, in turns: a C program as a general library has it, the library's ring layer, and its
 * promise layer; with, as the floor of that, the rings and nothing but a bare promise for each read. The controller is a C program in shared memory, without limit and limited to what fast devices do: that
 * wants two processors for itself. What the host's part costs is measured besides on one, which a busy machine has, too.
 *
 *   npm run bench -- rings [ROUNDS [MILLISECONDS]]
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { compileC } from "../c-program.js";
import { median } from "../rounds.js";
import { Device, InlineController, keepToOwnCpu, SharedQueues, type Speed } from "./device.js";
import { runBarePromises, runBatches, runPromises } from "./promise-load.js";
import { measureGarbage, runRings, runRingsInline } from "./ring-load.js";

const UNLIMITED: Speed = { rate: 0, latencyNs: 0 };
const COUNTED = 10_000_000;

/** One way to do it. @returns commands per second */
interface Way {
  readonly name: string;
  /** The promised ratio to C; 0 for none. */
  readonly atLeast?: number;
  run(queues: SharedQueues): number | Promise<number>;
}

interface Load {
  readonly name: string;
  readonly depth: number;
  /** If left out, the host is its own controller on one thread, and only the host's part counts. */
  readonly speed?: Speed;
  readonly rings: number;
  readonly promises?: number;
}

const loads: readonly Load[] = [
  { name: "QD 32, one thread", depth: 32, rings: 1, promises: 0 },
  { name: "QD 128, one thread", depth: 128, rings: 1, promises: 0 },
  { name: "QD 1", depth: 1, speed: UNLIMITED, rings: 1 },
  { name: "QD 32", depth: 32, speed: UNLIMITED, rings: 1, promises: 0 },
  { name: "QD 128", depth: 128, speed: UNLIMITED, rings: 1, promises: 0 },
  {
    name: "QD 128, 10 M IOPS",
    depth: 128,
    speed: { rate: 10e6, latencyNs: 8000 },
    rings: 0.99,
    promises: 0.95,
  },
];

const rounds = Number(process.argv[2] ?? 21);
const milliseconds = Number(process.argv[3] ?? 100);

const mega = (rate: number): string => `${(rate / 1e6).toFixed(2).padStart(7)} M/s`;

function waysOf({ depth, speed, rings, promises }: Load, hostProgram: string): Way[] {
  const inline = speed === undefined ? ["inline"] : [];
  const c: Way = {
    name: "C",
    run({ file }) {
      const args = [file, String(depth), String(milliseconds), ...inline];
      const [done = 0, ns = 1] = execFileSync(hostProgram, args, { encoding: "utf8" }).split(" ").map(Number);
      return (done / ns) * 1e9;
    },
  };
  const run = speed === undefined ? runRingsInline : runRings;
  const ours: Way = {
    name: "rings",
    atLeast: rings,
    run: (queues) => run(queues, depth, milliseconds),
  };
  if (promises === undefined) return [c, ours];
  const controllerOf = (queues: SharedQueues): InlineController | undefined =>
    speed === undefined ? new InlineController(queues) : undefined;
  const promised: Way = {
    name: "promises",
    atLeast: promises,
    run: (queues) => runPromises(queues, depth, milliseconds, controllerOf(queues)),
  };
  const batched: Way = {
    name: "batches",
    atLeast: 0.9 * rings,
    run: (queues) => runBatches(queues, depth, milliseconds, controllerOf(queues)),
  };
  const bare: Way = {
    name: "promise floor",
    atLeast: 0,
    run: (queues) => runBarePromises(queues, depth, milliseconds, controllerOf(queues)),
  };
  return [c, ours, batched, promised, bare];
}

async function measure(load: Load, ways: readonly Way[], open: () => SharedQueues): Promise<void> {
  const rates = ways.map((): number[] => []);
  const once = async (way: Way): Promise<number> => {
    using queues = open();
    return await way.run(queues);
  };
  for (const way of ways) await once(way);
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < ways.length; i++) {
      const at = (i + round) % ways.length;
      const way = ways[at];
      if (way !== undefined) rates[at]?.push(await once(way));
    }
  }
  const [reference = []] = rates;
  const cells = ways.map(({ name, atLeast }, i) => {
    const own = rates[i] ?? [];
    const ratio = median(own.map((rate, round) => rate / (reference[round] ?? Number.NaN)));
    if (atLeast === undefined) return `${name} ${mega(median(own))}`;
    return `${name} ${mega(median(own))} (${ratio.toFixed(2)}${ratio >= atLeast ? "" : `, below ${atLeast}`})`;
  });
  process.stdout.write(`${load.name.padEnd(20)}${cells.join("   ")}\n`);
}

keepToOwnCpu();
const folder = mkdtempSync("/dev/shm/iova-rings-");
try {
  using device = compileC("rings/device.c");
  using host = compileC("rings/host.c");
  for (const load of loads) {
    const { speed } = load;
    const open = (): SharedQueues =>
      speed === undefined ? new SharedQueues(folder) : new Device(device.program, folder, speed);
    await measure(load, waysOf(load, host.program), open);
  }
  using queues = new SharedQueues(folder);
  const garbage = measureGarbage(queues, COUNTED);
  process.stdout.write(`ring layer: ${garbage.toFixed(4)} bytes allocated per command, over ${COUNTED}\n`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

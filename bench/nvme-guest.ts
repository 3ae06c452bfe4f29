/**
 * Measures 512-byte random reads of one NVMe controller, in turns: by `iova nvme perf`; by libvfn's perf, if its path is given;
 * and by the kernel's driver through fio with io_uring, with interrupts and polling, if fio is installed. Needs a controller
 * that is bound to vfio-pci or can be taken from the kernel's driver meanwhile. It only reads.
 *
 *   npm run bench -- libvfn --perf-binary PATH [--device BDF] [--rounds N] [--seconds S] [--warm-up S]
 *     [--depths 1,8,32,128]
 *   npm run bench -- nvme-guest [--perf-binary PATH] ...
 *
 *   sudo npm run bench -- nvme-real --device BDF ...
 */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { availableParallelism, release } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import * as z from "zod/mini";
import { packageRoot } from "../guest/paths.js";
import { bindToVfio } from "../src/pci/bind.js";
import { fioReads, type Sample } from "./fio.js";
import { median } from "./rounds.js";

const IO_BYTES = 512;
const GUEST_DEVICE = "0000:00:01.0";
/** Lets the JIT compilers of V8 and QEMU finish; each way and depth needs it again. */
const DEFAULT_WARM_UP_SECONDS = 5;

interface Way {
  readonly name: string;
  /** Which driver it needs. */
  readonly driver: "vfio" | "kernel";
  run(depth: number): Sample;
}

const { values } = parseArgs({
  options: {
    device: { type: "string" },
    "perf-binary": { type: "string" },
    fio: { type: "string" },
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "3" },
    "warm-up": { type: "string", default: String(DEFAULT_WARM_UP_SECONDS) },
    depths: { type: "string", default: "1,8,32,128" },
    backend: { type: "string" },
  },
});
const device = deviceOf(
  values.device ?? (process.env["IOVA_GUEST"] === undefined ? undefined : GUEST_DEVICE),
);
// libvfn's perf counts in whole seconds.
const seconds = Math.max(1, Math.round(Number(values.seconds)));
const warmUpSeconds = Math.max(0, Math.round(Number(values["warm-up"])));
const rounds = Number(values.rounds);
const depths = values.depths.split(",").map(Number);

/** The guest has one to use; on another machine the user has to name one. */
function deviceOf(address: string | undefined): string {
  if (address !== undefined) return address;
  process.stderr.write("nvme-real: which controller? --device BDF\n");
  process.exit(2);
}

function capture(program: string, args: readonly string[]): string {
  return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}

const perfOutput = z.object({
  iops: z.number(),
  latency_us: z.object({ "p99.9": z.number() }),
});

const ours: Way = {
  name: "iova",
  driver: "vfio",
  run(depth) {
    const program = join(packageRoot(), "dist", "src", "cli", "main.js");
    const backend = values.backend === undefined ? [] : ["--backend", values.backend];
    const numbers = ["-q", String(depth), "-o", String(IO_BYTES), "-t", String(seconds)];
    const args = [...numbers, "--warmup", String(warmUpSeconds), ...backend, "--json"];
    const output = capture(process.execPath, [program, "nvme", "perf", device, ...args]);
    const { iops, latency_us: latency } = perfOutput.parse(JSON.parse(output));
    return { iops, p999us: latency["p99.9"] };
  },
};

function libvfn(program: string): Way {
  return {
    name: "libvfn",
    driver: "vfio",
    run(depth) {
      const times = ["-t", String(seconds), "-w", String(warmUpSeconds)];
      const output = capture(program, [
        "-d",
        device,
        "-N",
        "1",
        ...times,
        "-p",
        "randread",
        "-q",
        String(depth),
      ]);
      // A line of names, and a line of values.
      const [names = "", row = ""] = output.trim().split("\n").slice(-2);
      const cells = row.trim().split(/\s+/).map(Number);
      const columns = new Map(
        names
          .trim()
          .split(/\s+/)
          .map((name, at) => [name, cells[at]]),
      );
      return { iops: columns.get("iops") ?? Number.NaN, p999us: columns.get("p99.9") };
    },
  };
}

/** The kernel's block device of the controller's first namespace. */
function blockDevice(): string {
  const folder = `/sys/bus/pci/devices/${device}/nvme`;
  for (const end = performance.now() + 10_000; performance.now() < end; ) {
    const controller = existsSync(folder) ? readdirSync(folder)[0] : undefined;
    const name =
      controller === undefined
        ? undefined
        : readdirSync(join(folder, controller)).find((entry) => /^nvme\d+(c\d+)?n\d+$/.test(entry));
    const path = name === undefined ? undefined : `/dev/${name.replace(/c\d+/, "")}`;
    if (path !== undefined && existsSync(path)) return path;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  }
  throw new Error(`the kernel's driver shows no namespace of ${device}`);
}

function fio(program: string, name: string, more: readonly string[]): Way {
  return {
    name,
    driver: "kernel",
    run: (depth) =>
      fioReads({ program, file: blockDevice(), blockBytes: IO_BYTES, depth, seconds, warmUpSeconds, more }),
  };
}

/** Each way of a list, starting with another one in each round, with the function bound as it needs. */
function runRound(ways: readonly Way[], round: number, depth: number): Map<Way, Sample> {
  const samples = new Map<Way, Sample>();
  const run = (driver: Way["driver"]): void => {
    const own = ways.filter((way) => way.driver === driver);
    for (let i = 0; i < own.length; i++) {
      const way = own[(i + round) % own.length];
      if (way !== undefined) samples.set(way, way.run(depth));
    }
  };
  const viaVfio = (): void => {
    using _ = bindToVfio(device);
    run("vfio");
  };
  if (round % 2 === 0) {
    viaVfio();
    run("kernel");
  } else {
    run("kernel");
    viaVfio();
  }
  return samples;
}

function medianOf(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : median(known);
}

const ways: Way[] = [ours];
const perfBinary = values["perf-binary"] ?? process.env["IOVA_LIBVFN_PERF"];
if (perfBinary !== undefined && existsSync(perfBinary)) ways.push(libvfn(perfBinary));
else {
  const wrong = perfBinary === undefined ? "no --perf-binary PATH" : `there is no ${perfBinary}`;
  process.stdout.write(`without libvfn's perf: ${wrong}\n`);
}
if (values.fio !== undefined) {
  ways.push(fio(values.fio, "fio io_uring", []));
  if (existsSync("/sys/module/nvme/parameters/poll_queues")) {
    ways.push(fio(values.fio, "fio, polling", ["--hipri=1"]));
  }
}

process.stdout.write(
  `${device}, ${IO_BYTES} B random reads, Linux ${release()}, Node ${process.versions.node}, ${availableParallelism()} processors, ${rounds} rounds of ${seconds} s after ${warmUpSeconds} s of warm-up\n`,
);
for (const depth of depths) {
  const seen: Map<Way, Sample>[] = [];
  for (let round = 0; round < rounds; round++) seen.push(runRound(ways, round, depth));
  const own = seen.map((samples) => samples.get(ours)?.iops ?? Number.NaN);
  const ownP999 = medianOf(seen.map((samples) => samples.get(ours)?.p999us));
  const cells = ways.map((way) => {
    const samples = seen.map((round) => round.get(way));
    const iops = samples.map((sample) => sample?.iops ?? Number.NaN);
    const p999 = medianOf(samples.map((sample) => sample?.p999us));
    const tail = p999 === undefined ? "" : `, p99.9 ${p999.toFixed(0)} us`;
    const ratio = median(iops.map((value, round) => (own[round] ?? Number.NaN) / value));
    const tails = p999 === undefined ? "" : `; p99.9 ${((ownP999 ?? Number.NaN) / p999).toFixed(2)} of its`;
    const by = way === ours ? "" : ` (iova ${ratio.toFixed(2)} of it${tails})`;
    return `${way.name} ${median(iops).toFixed(0)} IOPS${tail}${by}`;
  });
  process.stdout.write(`QD ${String(depth).padEnd(4)} ${cells.join("   ")}\n`);
}

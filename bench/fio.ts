/** Random reads of a kernel's block device by fio with io_uring. */
import { execFileSync } from "node:child_process";
import * as z from "zod/mini";

/** What a run of random reads gave. */
export interface Sample {
  readonly iops: number;
  readonly p999us: number | undefined;
}

/** How fio reads. */
export interface FioReads {
  /** Path of fio. */
  readonly program: string;
  /** Path of the block device. */
  readonly file: string;
  readonly blockBytes: number;
  readonly depth: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly more?: readonly string[];
}

const fioOutput = z.object({
  jobs: z
    .array(
      z.object({
        read: z.object({
          iops: z.number(),
          clat_ns: z.object({ percentile: z.record(z.string(), z.number()) }),
        }),
      }),
    )
    .check(z.minLength(1)),
});

/** Reads once. It never writes. */
export function fioReads(reads: FioReads): Sample {
  const { program, file, blockBytes, depth, seconds, warmUpSeconds, more = [] } = reads;
  const args = [
    ...["--name=read", `--filename=${file}`, "--readonly", "--rw=randread", `--bs=${blockBytes}`],
    ...["--ioengine=io_uring", "--direct=1", "--registerfiles=1", "--fixedbufs=1"],
    ...["--time_based", `--runtime=${seconds}`, `--ramp_time=${warmUpSeconds}`, `--iodepth=${depth}`],
    ...["--norandommap", "--randrepeat=0", "--output-format=json"],
    ...more,
  ];
  const output = execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  const [job] = fioOutput.parse(JSON.parse(output.slice(output.indexOf("{")))).jobs;
  const p999 = job?.read.clat_ns.percentile["99.900000"];
  return { iops: job?.read.iops ?? Number.NaN, p999us: p999 === undefined ? undefined : p999 / 1000 };
}

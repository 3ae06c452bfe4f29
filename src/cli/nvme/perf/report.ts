/** What `iova nvme perf` found, as text, JSON and a page. */
import { largestOf } from "../../../core/lists.js";
import { barChart, lineChart } from "../../compare/charts.js";
import { formatCount, formatTime } from "../../compare/units.js";
import { columns, factList, figure, heading, page, table } from "../../page.js";
import { table as textTable } from "../../table.js";
import { type Json, pairs } from "../output.js";
import { type HistogramData, LatencyHistogram } from "./histogram.js";
import type { SteadyState } from "./monitor.js";
import type { PerfOptions } from "./options.js";
import { type PerfPlan, type PerfQueueSetup, Shared } from "./queue.js";
import type { PerfWorkerResult } from "./worker.js";
import { allWrong, type WrongBlocks, wrongText } from "./wrong-blocks.js";

/** A controller's part of a run. */
export interface MeasuredDevice {
  readonly target: string;
  readonly backend: string;
  readonly plan: PerfPlan;
  readonly setups: readonly PerfQueueSetup[];
  readonly results: readonly PerfWorkerResult[];
}

/** The whole run. */
export interface PerfReport {
  readonly options: PerfOptions;
  readonly steady: SteadyState | undefined;
  readonly devices: readonly MeasuredDevice[];
}

const MIB = 1024 * 1024;

/** What some queues did together. */
function total(parts: readonly { readonly data: HistogramData; readonly seconds: number }[]) {
  const latencies = new LatencyHistogram();
  let iops = 0;
  for (const { data, seconds } of parts) {
    iops += new LatencyHistogram(data).count / seconds;
    latencies.add(data);
  }
  return { latencies, iops };
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits));
const micro = (ns: number): number => Math.round(ns) / 1000;

function latencyOf(latencies: LatencyHistogram) {
  return {
    min: micro(latencies.minNs),
    mean: micro(latencies.meanNs),
    p50: micro(latencies.percentileNs(0.5)),
    p99: micro(latencies.percentileNs(0.99)),
    "p99.9": micro(latencies.percentileNs(0.999)),
    max: micro(latencies.maxNs),
  };
}

/** What was wrong on a controller; undefined if data isn't verified. */
function wrongOf({ results }: MeasuredDevice): WrongBlocks | undefined {
  const parts = results.flatMap(({ wrong }) => wrong ?? []);
  return parts.length === 0 ? undefined : allWrong(parts);
}

/** Whether data that was read isn't what was written. */
export function hasWrongBlocks({ devices }: PerfReport): boolean {
  return devices.some((device) => (wrongOf(device)?.count ?? 0) > 0);
}

/** All results, under the names of the JSON. */
function summary({ devices, steady, options }: PerfReport) {
  const figures = devices.map(({ target, backend, plan, results }) => {
    const { latencies, iops } = total(results.map(({ latencies: data, seconds }) => ({ data, seconds })));
    const bytes = results.reduce(
      (sum, result) =>
        sum + (result.bytes ?? new LatencyHistogram(result.latencies).count * plan.ioBytes) / result.seconds,
      0,
    );
    return { target, backend, latencies, iops, mib: bytes / MIB };
  });
  const results = devices.flatMap((device) => device.results);
  const sum = (of: readonly number[]): number => of.reduce((a, b) => a + b, 0);
  const latencies = new LatencyHistogram();
  for (const each of figures) latencies.add(each.latencies.data);
  const ios = latencies.count;
  const kinds = ["reads", "writes"].flatMap((kind, at) => {
    const parts = results.flatMap(({ kinds: { [at]: data }, seconds }) =>
      data === undefined ? [] : [{ data, seconds }],
    );
    const { latencies: own, iops } = total(parts);
    return own.count === 0 || own.count === ios
      ? []
      : [{ kind, iops: round(iops, 1), latency_us: latencyOf(own) }];
  });
  // Each thread measured the whole process, at the same time.
  const cpu = largestOf(results.map(({ cpuMicroseconds }) => cpuMicroseconds));
  const setups = devices.flatMap((device) => device.setups);
  const { samples = 1, runMs = 0 } = devices[0]?.plan ?? {};
  const sampleSeconds = runMs / samples / 1000;
  const { seconds } = options;
  const series = Array.from({ length: samples }, (_, at) => ({
    seconds: round((at + 0.5) * sampleSeconds, 3),
    iops: round(sum(setups.map(({ shared }) => shared[Shared.samples + at] ?? 0)) / sampleSeconds, 1),
  }));
  return {
    seconds,
    ios,
    iops: sum(figures.map(({ iops }) => iops)),
    mib: sum(figures.map(({ mib }) => mib)),
    latencies,
    figures,
    kinds,
    series,
    steady,
    cpuPerIo: ios === 0 ? 0 : cpu / ios,
    gcCount: sum(results.map(({ gcCount }) => gcCount)),
    gcMs: sum(results.map(({ gcMs }) => gcMs)),
  };
}

function workloadOf({ options, devices }: PerfReport): string {
  const [device] = devices;
  const { workload, readPercent, queues, depth, interrupts, rate, rateIops } = options;
  const sizes = options.split?.map(
    ({ ioBytes, percent }) => `${ioBytes} bytes${percent < 100 ? ` (${percent} %)` : ""}`,
  );
  return [
    `${workload} of ${sizes?.join(", ") ?? `${device?.plan.ioBytes} bytes`}`,
    ...(workload.endsWith("rw") ? [`${readPercent} % reads`] : []),
    ...(options.sgl ? ["SGLs"] : []),
    ...(options.prinfo === undefined ? [] : [`PRINFO ${options.prinfo}`]),
    ...(options.verify ? ["verified"] : []),
    ...(rate === undefined ? [] : [`at most ${rate} bytes/s`]),
    ...(rateIops === undefined ? [] : [`at most ${rateIops} IOPS`]),
    queues === 1 ? "1 queue" : `${queues} queues`,
    `depth ${depth}`,
    `by ${interrupts ? "interrupt" : "poll"}`,
    `${device?.backend}`,
  ].join(", ");
}

function lines(report: PerfReport, found: ReturnType<typeof summary>): [string, string][] {
  const { iops, mib, latencies, kinds, figures, steady, cpuPerIo, gcMs, gcCount } = found;
  return [
    ["workload", workloadOf(report)],
    ...(steady === undefined
      ? []
      : [
          [
            "steady state",
            `${steady.reached ? "" : "not "}reached after ${steady.seconds.toFixed(1)} s: IOPS vary by ${steady.variation.toFixed(1)} % and drift by ${steady.drift.toFixed(1)} %`,
          ] satisfies [string, string],
        ]),
    ["IOPS", iops.toFixed(0)],
    ["MiB/s", mib.toFixed(2)],
    ...Object.entries(latencyOf(latencies)).map(([name, us]): [string, string] => [
      `latency ${name}`,
      `${us.toFixed(1)} us`,
    ]),
    ...kinds.map(({ kind, iops: own, latency_us: { mean, p99 } }): [string, string] => [
      kind,
      `${own.toFixed(0)} IOPS, latency mean ${mean.toFixed(1)} us, p99 ${p99.toFixed(1)} us`,
    ]),
    ...(figures.length < 2
      ? []
      : figures.map((each): [string, string] => [
          each.target,
          `${each.iops.toFixed(0)} IOPS, ${each.mib.toFixed(2)} MiB/s, latency p99 ${micro(each.latencies.percentileNs(0.99)).toFixed(1)} us`,
        ])),
    ...report.devices.flatMap((device) => {
      const wrong = wrongOf(device);
      if (wrong === undefined) return [];
      const where = report.devices.length < 2 ? "" : ` of ${device.target}`;
      return [
        [`wrong blocks${where}`, String(wrong.count)],
        ...wrong.first.map((each) => ["", wrongText(each)]),
      ].map(([name = "", value = ""]): [string, string] => [name, value]);
    }),
    ["CPU time per I/O", `${cpuPerIo.toFixed(3)} us`],
    ["garbage collection", `${gcMs.toFixed(1)} ms (${gcCount} times)`],
  ];
}

const BAR = 40;

export function perfText(report: PerfReport): string {
  const found = summary(report);
  const text = pairs(lines(report, found));
  if (!report.options.histogram) return text;
  const { latencies, ios } = found;
  const { powers } = latencies;
  const most = largestOf(
    powers.map(({ count }) => count),
    1,
  );
  const rows = powers.map(({ belowNs, count }) => [
    formatTime(belowNs),
    formatCount(count),
    `${((100 * count) / ios).toFixed(2)} %`,
  ]);
  const bars = ["", "", ...powers.map(({ count }) => "#".repeat(Math.ceil((BAR * count) / most)))];
  const rowsText = textTable(["below", "commands", "share"], rows, 0).split("\n");
  return [text, "", ...rowsText.map((row, at) => `${row}  ${bars[at]}`.trimEnd())].join("\n");
}

function wrongJson(device: MeasuredDevice | undefined): { readonly [key: string]: Json } {
  const wrong = device === undefined ? undefined : wrongOf(device);
  if (wrong === undefined) return {};
  return { wrong_blocks: wrong.count, wrong: wrong.first.map((each) => ({ ...each })) };
}

export function perfJson(report: PerfReport): Json {
  const { options, devices } = report;
  const { seconds, ios, iops, mib, latencies, figures, kinds, series, steady, cpuPerIo, gcCount, gcMs } =
    summary(report);
  return {
    target: options.targets.join(" "),
    backend: devices[0]?.backend,
    completion: options.interrupts ? "interrupt" : "poll",
    workload: options.workload,
    read_percent: options.readPercent,
    queues: options.queues,
    queue_depth: options.depth,
    io_size_bytes:
      options.split === undefined || options.split.length === 1 ? devices[0]?.plan.ioBytes : undefined,
    io_sizes: options.split?.map(({ ioBytes, percent }) => ({ bytes: ioBytes, percent })),
    verified: options.verify,
    seconds,
    ios,
    iops: round(iops, 1),
    mib_per_second: round(mib, 3),
    latency_us: latencyOf(latencies),
    ...Object.fromEntries(kinds.map(({ kind, ...rest }) => [kind, rest])),
    devices: figures.map((each, at) => ({
      target: each.target,
      backend: each.backend,
      iops: round(each.iops, 1),
      mib_per_second: round(each.mib, 3),
      latency_us: latencyOf(each.latencies),
      ...wrongJson(devices[at]),
    })),
    steady_state: steady === undefined ? undefined : { ...steady },
    iops_over_time: series,
    histogram: latencies.powers.map(({ belowNs, count }) => ({ below_us: micro(belowNs), ios: count })),
    cpu_us_per_io: round(cpuPerIo, 3),
    gc_count: gcCount,
    gc_ms: round(gcMs, 3),
  };
}

/** Shares for the curve of percentiles: each is one in so many. */
const TAILS = [2, 4, 10, 20, 100, 200, 1000, 2000, 1e4, 1e5, 1e6];

export function perfHtml(report: PerfReport, createdAt: string): string {
  const found = summary(report);
  const { latencies, ios, series, figures } = found;
  const title = `NVMe performance of ${report.options.targets.join(", ")}`;
  const line = (x: number, y: number, text: string) => ({ x, y, low: y, high: y, title: text });
  const percent = (tail: number): string => `${Number((100 - 100 / tail).toFixed(4))} %`;
  const tails = TAILS.filter((tail) => tail <= ios);
  const ticks = tails.filter((tail) => Number.isInteger(Math.log10(tail)) || tail === 2);
  const parts = [
    heading("Found"),
    factList(lines(report, found)),
    heading("Rates and latencies", "Commands a second while they were measured; how long commands took."),
    columns([
      figure(
        "IOPS over time",
        lineChart({
          label: "IOPS over time",
          series: [
            {
              style: "main",
              points: series.map(({ seconds, iops }) =>
                line(seconds, iops, `${seconds} s: ${formatCount(iops)} IOPS`),
              ),
            },
          ],
          xTicks: [0, 0.25, 0.5, 0.75, 1].map((part) => {
            const value = round(part * report.options.seconds, 2);
            return { value, label: `${value} s` };
          }),
          formatY: formatCount,
          linear: true,
        }),
      ),
      ...(tails.length === 0
        ? []
        : [
            figure(
              "Latency by percentile",
              lineChart({
                label: "Latency by percentile",
                series: [
                  {
                    style: "main",
                    points: tails.map((tail) => {
                      const ns = latencies.percentileNs(1 - 1 / tail);
                      return line(tail, ns, `${percent(tail)}: ${formatTime(ns)}`);
                    }),
                  },
                ],
                xTicks: ticks.map((value) => ({ value, label: percent(value) })),
                formatY: formatTime,
              }),
            ),
          ]),
      figure(
        "How latencies are spread",
        barChart(
          "How latencies are spread",
          latencies.powers.map(({ belowNs, count }) => {
            const text = formatCount(count);
            return {
              label: `below ${formatTime(belowNs)}`,
              segments: [{ value: count, style: "main", title: text }],
              text,
            };
          }),
        ),
      ),
    ]),
    figures.length < 2
      ? ""
      : heading("Controllers") +
        table(
          ["target", "IOPS", "MiB/s", "p50", "p99", "max"],
          figures.map(({ target, iops, mib, latencies: own }) => [
            target,
            formatCount(iops),
            formatCount(mib),
            ...[own.percentileNs(0.5), own.percentileNs(0.99), own.maxNs].map(formatTime),
          ]),
          1,
        ),
  ];
  return page({ title, subtitle: `Measured by iova nvme perf on ${createdAt}`, parts });
}

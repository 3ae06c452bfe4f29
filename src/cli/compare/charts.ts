/**
 * Draws charts as SVG text for the page of html.ts. Colours come from its style sheet by class, so that they follow the
 * reader's light or dark scheme.
 */
import { largestOf, smallestOf } from "../../core/lists.js";

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

const WIDTH = 520;
const fixed = (value: number): string => String(Math.round(value * 10) / 10);

interface Point {
  readonly x: number;
  readonly y: number;
  /** The middle half of the samples. */
  readonly low: number;
  readonly high: number;
  /** Shown when pointed at. */
  readonly title: string;
}

/** One line; `style` is a class of the style sheet. */
export interface Series {
  readonly style: string;
  readonly points: readonly Point[];
}

export interface LineChart {
  /** A description for screen readers. */
  readonly label: string;
  readonly series: readonly Series[];
  readonly xTicks: readonly { readonly value: number; readonly label: string }[];
  readonly formatY: (value: number) => string;
  /** Both axes are linear, the vertical one from zero. */
  readonly linear?: true;
}

const HEIGHT = 280;
const LEFT = 64;
const RIGHT = 18;
const TOP = 12;
const BOTTOM = 34;

/** By default both axes are logarithmic, and values above 0. */
export function lineChart({ label, series, xTicks, formatY, linear }: LineChart): string {
  const scale = linear ? (value: number): number => value : Math.log10;
  const points = series.flatMap((each) => each.points);
  const xs = xTicks.map(({ value }) => scale(value));
  const [xMin, xMax] = [smallestOf(xs), largestOf(xs)];
  const values = points.flatMap(({ y, low, high }) => [y, low, high]);
  const yTicks = linear ? stepsTo(largestOf(values, 0)) : decadesOf(values);
  const yMin = scale(yTicks[0] ?? 0);
  const yMax = scale(yTicks.at(-1) ?? 1);
  const x = (value: number): number =>
    LEFT + ((scale(value) - xMin) / Math.max(xMax - xMin, 1e-9)) * (WIDTH - LEFT - RIGHT);
  const y = (value: number): number =>
    TOP + ((yMax - scale(value)) / Math.max(yMax - yMin, 1e-9)) * (HEIGHT - TOP - BOTTOM);

  const grid = yTicks.map((value) => {
    const at = fixed(y(value));
    const text = escapeHtml(formatY(value));
    return (
      `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}"/>` +
      `<text class="tick" x="${LEFT - 8}" y="${at}" dy="0.35em" text-anchor="end">${text}</text>`
    );
  });
  const ticks = xTicks.map(
    ({ value, label: text }) =>
      `<text class="tick" x="${fixed(x(value))}" y="${HEIGHT - BOTTOM + 20}" text-anchor="middle">${escapeHtml(text)}</text>`,
  );
  const lines = series.map((each) => {
    const path = each.points.map((point) => `${fixed(x(point.x))},${fixed(y(point.y))}`).join(" ");
    const upper = each.points.map((point) => `${fixed(x(point.x))},${fixed(y(point.high))}`);
    const lower = each.points.map((point) => `${fixed(x(point.x))},${fixed(y(point.low))}`).reverse();
    const dots = each.points.map(
      (point) =>
        `<circle cx="${fixed(x(point.x))}" cy="${fixed(y(point.y))}" r="4"><title>${escapeHtml(point.title)}</title></circle>`,
    );
    return (
      `<g class="series ${each.style}"><polygon points="${[...upper, ...lower].join(" ")}"/>` +
      `<polyline points="${path}"/>${dots.join("")}</g>`
    );
  });
  return svg(label, HEIGHT, [...grid, ...ticks, ...lines]);
}

/** Round numbers from 0 to beyond a value. */
function stepsTo(most: number): number[] {
  const power = 10 ** Math.floor(Math.log10(most || 1));
  const step = [0.2, 0.5, 1, 2].map((part) => part * power).find((each) => most / each <= 6) ?? power;
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, at) => at * step);
}

/** Powers of ten around all values: at least two. */
function decadesOf(values: readonly number[]): number[] {
  const positive = values.filter((value) => value > 0).map(Math.log10);
  const first = Math.floor(smallestOf(positive));
  const last = Math.max(first + 1, Math.ceil(largestOf(positive)));
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}

export interface Bar {
  readonly label: string;
  /** From left to right; the first is what the bar is about. */
  readonly segments: readonly { readonly value: number; readonly style: string; readonly title: string }[];
  /** Text at the bar's end. */
  readonly text: string;
  /** The middle half of the samples. */
  readonly spread?: readonly [number, number] | undefined;
}

const ROW = 34;
const BAR = 18;
const LABEL = 172;
const VALUE = 76;

/** Bars from left to right, from zero, on one scale. */
export function barChart(label: string, bars: readonly Bar[]): string {
  const total = (bar: Bar): number => bar.segments.reduce((sum, { value }) => sum + Math.max(0, value), 0);
  const most = largestOf(
    bars.map((bar) => Math.max(total(bar), bar.spread?.[1] ?? 0)),
    Number.MIN_VALUE,
  );
  const scale = (WIDTH - LABEL - VALUE) / most;
  const rows = bars.map((bar, i) => {
    const top = i * ROW + (ROW - BAR) / 2;
    const middle = top + BAR / 2;
    let left = LABEL;
    const segments = bar.segments.map(({ value, style, title }) => {
      const width = Math.max(0, value) * scale;
      const rect = `<rect class="bar ${style}" x="${fixed(left)}" y="${top}" width="${fixed(width)}" height="${BAR}" rx="3"><title>${escapeHtml(title)}</title></rect>`;
      left += width;
      return rect;
    });
    const [low, high] = bar.spread ?? [0, 0];
    const whisker =
      bar.spread === undefined
        ? ""
        : `<path class="whisker" d="M${fixed(LABEL + low * scale)} ${middle}H${fixed(LABEL + high * scale)}m0 -4v8M${fixed(LABEL + low * scale)} ${middle - 4}v8"/>`;
    const end = Math.max(left, LABEL + high * scale);
    return (
      `<text class="name" x="${LABEL - 10}" y="${middle}" dy="0.35em" text-anchor="end">${escapeHtml(bar.label)}</text>` +
      segments.join("") +
      whisker +
      `<text class="value" x="${fixed(end + 8)}" y="${middle}" dy="0.35em">${escapeHtml(bar.text)}</text>`
    );
  });
  return svg(label, bars.length * ROW + 4, rows);
}

function svg(label: string, height: number, parts: readonly string[]): string {
  return (
    `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeHtml(label)}">` +
    `${parts.join("")}</svg>`
  );
}

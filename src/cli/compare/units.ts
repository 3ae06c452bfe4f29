/** Formats numbers for people. */

const KIB = 1024;

/** `4 KiB`, `1 GiB`, `1.5 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= KIB && unit < units.length - 1) {
    value /= KIB;
    unit++;
  }
  return `${Number(value.toFixed(value < 10 ? 1 : 0))} ${units[unit]}`;
}

/** `850 ns`, `12.3 µs`, `4.56 ms`, `1.2 s`: three significant digits. */
export function formatTime(ns: number): string {
  const sign = ns < 0 ? "-" : "";
  let value = Math.abs(ns);
  for (const unit of ["ns", "µs", "ms"]) {
    if (value < 999.5) return `${sign}${threeDigits(value)} ${unit}`;
    value /= 1000;
  }
  return `${sign}${threeDigits(value)} s`;
}

export function threeDigits(value: number): string {
  return value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0);
}

/** `12,345`. */
export function formatCount(value: number): string {
  return Math.round(value).toLocaleString("en");
}

/** `1.8 times as long`, `about as long`, `3.2 times as fast`: how long `a` takes, compared with `b`. */
export function comparison(a: number, b: number): string {
  const ratio = a / b;
  if (ratio > 0.95 && ratio < 1.05) return "takes about as long";
  return ratio > 1
    ? `takes ${threeDigits(ratio)} times as long`
    : `is ${threeDigits(1 / ratio)} times as fast`;
}

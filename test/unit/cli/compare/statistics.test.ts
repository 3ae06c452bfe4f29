/** Summaries of samples, and numbers for people. */
import { describe, expect, test } from "vitest";
import { overlap, quantile, SampleBook, summarize } from "../../../../src/cli/compare/statistics.js";
import { comparison, formatBytes, formatTime } from "../../../../src/cli/compare/units.js";

describe("a summary", () => {
  test("a summary of no samples is undefined", () => {
    expect(summarize([])).toBeUndefined();
  });

  test("a summary interpolates quantiles between the two nearest samples, in any order of samples", () => {
    expect(summarize([40, 10, 30, 20])).toEqual({
      samples: 4,
      min: 10,
      p25: 17.5,
      median: 25,
      p75: 32.5,
      p99: expect.closeTo(39.7),
      max: 40,
    });
    expect(summarize([7])).toMatchObject({ min: 7, p25: 7, median: 7, p99: 7, max: 7 });
    expect(quantile([0, 10], 0.5)).toBe(5);
  });

  test("a summary sorts samples as numbers, not as text", () => {
    expect(summarize([100, 9, 20])?.median).toBe(20);
  });

  test("two summaries overlap if their middle halves do", () => {
    const of = (...samples: number[]) => summarize(samples) ?? expect.fail("no samples");
    expect(overlap(of(1, 2, 3, 4), of(2, 3, 4, 5))).toBe(true);
    expect(overlap(of(1, 2, 3, 4), of(11, 12, 13, 14))).toBe(false);
    expect(overlap(of(11, 12, 13, 14), of(1, 2, 3, 4))).toBe(false);
  });
});

test("a sample book keeps samples by key, and keys in the order of their first sample", () => {
  const book = new SampleBook<{ readonly backend: string; readonly size: number }>();
  book.add({ backend: "b", size: 1 }, 5);
  book.add({ backend: "a", size: 1 }, 1);
  book.add({ backend: "b", size: 1 }, 7);
  expect(book.keys()).toEqual([
    { backend: "b", size: 1 },
    { backend: "a", size: 1 },
  ]);
  expect(book.get({ backend: "b", size: 1 })).toMatchObject({ samples: 2, median: 6 });
  expect(book.get({ backend: "b", size: 2 })).toBeUndefined();
});

describe("numbers for people", () => {
  test.each([
    [0.5, "0.50 ns"],
    [850, "850 ns"],
    [999.4, "999 ns"],
    [999.6, "1.00 µs"],
    [12_345, "12.3 µs"],
    [4_560_000, "4.56 ms"],
    [1.5e9, "1.50 s"],
    [-300, "-300 ns"],
  ])("%d ns is printed as %s", (ns, text) => {
    expect(formatTime(ns)).toBe(text);
  });

  test.each([
    [0, "0 B"],
    [4096, "4 KiB"],
    [1.5 * 2 ** 20, "1.5 MiB"],
    [2 ** 30, "1 GiB"],
    [2 ** 50, "1024 TiB"],
  ])("%d bytes are printed as %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test("comparison() says in words how two times differ", () => {
    expect(comparison(200, 100)).toBe("takes 2.00 times as long");
    expect(comparison(100, 400)).toBe("is 4.00 times as fast");
    expect(comparison(101, 100)).toBe("takes about as long");
  });
});

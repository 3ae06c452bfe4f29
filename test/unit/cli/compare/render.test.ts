/** The report of `iova compare` as a page, as charts, as findings and as text. */
import { describe, expect, test } from "vitest";
import { barChart, lineChart } from "../../../../src/cli/compare/charts.js";
import { findings } from "../../../../src/cli/compare/findings.js";
import { renderHtml } from "../../../../src/cli/compare/html.js";
import { renderText } from "../../../../src/cli/compare/text.js";
import { table } from "../../../../src/cli/table.js";
import { checkWellFormed } from "../../../support/well-formed.js";
import { sampleReport } from "./sample-report.js";

describe("the page of a report", () => {
  const html = renderHtml({ ...sampleReport(), findings: findings(sampleReport()) });

  test("the page is well-formed, and escapes names from outside", () => {
    expect(checkWellFormed(html)).toBeGreaterThan(200);
    expect(html).not.toContain('<b>"tricky"');
    expect(html).toContain("&#60;b&#62;&#34;tricky&#34; &#38; co");
  });

  test("the page refers to no other resource", () => {
    expect(html).not.toMatch(/https?:|\/\/|url\(|@import|<script|<link|<img|\ssrc=|\shref=/i);
  });

  test("the page defines every colour that it uses, for light and for dark", () => {
    const rules = /@media \(prefers-color-scheme: dark\) \{ :root \{[^}]*\} \}/g;
    const [light, dark] = [html.replace(rules, ""), (html.match(rules) ?? []).join("")];
    for (const [, name = ""] of html.matchAll(/var\((--[\w-]+)\)/g)) {
      expect(light).toContain(`${name}: #`);
      expect(dark).toContain(`${name}: #`);
    }
  });

  test("the page draws a line for each backend, and bars if there is one size", () => {
    expect(html.match(/<g class="series iommufd">/g)).toHaveLength(2);
    expect(html.match(/<g class="series type1">/g)).toHaveLength(2);
    expect(html).toContain("Map, pages of 2 MiB, 2 MiB");
    expect(html).not.toContain("NaN");
    expect(html).not.toContain("Infinity");
  });

  test("the page has the findings, what was not measured, and the machine", () => {
    for (const text of [
      "Dirty page tracking",
      "mapping 1 GiB pages",
      "it has an IOMMU",
      "Linux 7.3.4",
      "dmar0",
    ]) {
      expect(html).toContain(text);
    }
  });

  test("the page leaves out empty parts", () => {
    const bare = sampleReport({
      opening: [],
      mapping: [],
      manyOrOne: [],
      unmapAll: [],
      secondSpace: [],
      accounting: [],
      nvme: [],
      notMeasured: [],
    });
    const page = renderHtml(bare);
    checkWellFormed(page);
    expect(page).not.toContain("<svg");
    expect(page).not.toContain("NaN");
    expect(findings(bare)).toEqual(["This device can be reached through iommufd, type1."]);
  });
});

describe("charts", () => {
  test("a line chart has logarithmic axes", () => {
    const point = (x: number, y: number) => ({ x, y, low: y, high: y, title: "" });
    const svg = lineChart({
      label: "a chart",
      series: [{ style: "s", points: [point(1, 10), point(10, 100), point(100, 1000)] }],
      xTicks: [1, 10, 100].map((value) => ({ value, label: String(value) })),
      formatY: String,
    });
    const [, path = ""] = /<polyline points="([^"]+)"/.exec(svg) ?? [];
    const points = path.split(" ").map((pair) => pair.split(",").map(Number));
    // A power law is a straight line: the middle point lies halfway.
    const [[x1 = 0, y1 = 0] = [], [x2 = 0, y2 = 0] = [], [x3 = 0, y3 = 0] = []] = points;
    expect(x2).toBeCloseTo((x1 + x3) / 2, 0);
    expect(y2).toBeCloseTo((y1 + y3) / 2, 0);
    expect(y3).toBeLessThan(y1);
  });

  test("the bars of a bar chart are in proportion, and a negative value has none", () => {
    const bar = (...values: number[]) => ({
      label: "b",
      segments: values.map((value) => ({ value, style: "s", title: "" })),
      text: "t",
    });
    const widths = [
      ...barChart("bars", [bar(100), bar(25, -5), bar(0)]).matchAll(/<rect[^>]* width="([\d.]+)"/g),
    ].map(([, width]) => Number(width));
    const [whole = 0, quarter = 0, negative, zero] = widths;
    expect(quarter).toBeCloseTo(whole / 4, 0);
    expect([negative, zero]).toEqual([0, 0]);
  });
});

describe("the findings", () => {
  test("findings are whole sentences, and name the faster backend", () => {
    const sentences = findings(sampleReport());
    expect(sentences).toContain(
      "Mapping 4 KiB of 4 KiB pages: iommufd is 2.00 times as fast as type1 (1.00 µs and 2.00 µs); " +
        "unmapping it: is 2.00 times as fast as type1 (500 ns and 1.00 µs).",
    );
    expect(
      sentences.some((line) =>
        line.startsWith("NVMe reads show no clear difference between iommufd and type1"),
      ),
    ).toBe(true);
    expect(sentences).toContain(
      "Copying 4,096 mappings to a second address space, which only iommufd can, is 4.00 times as fast as " +
        "mapping all again (1.00 ms and 4.00 ms); it pins nothing twice.",
    );
    expect(sentences.every((line) => line.endsWith("."))).toBe(true);
    expect(sentences.join(" ")).not.toMatch(/NaN|undefined|Infinity/);
  });
});

describe("tables for a terminal", () => {
  test("a table aligns text to the left and numbers to the right", () => {
    expect(
      table(
        ["name", "value"],
        [
          ["a", "1"],
          ["long name", "1000"],
        ],
        1,
      ),
    ).toBe("name       value\n---------  -----\na              1\nlong name   1000");
  });

  test("the text has every part of the report", () => {
    const text = renderText(sampleReport());
    for (const title of [
      "Opening",
      "Map and unmap",
      "NVMe random reads",
      "Not measured",
      "What each can do here",
    ]) {
      expect(text).toContain(title);
    }
    expect(text).not.toMatch(/NaN|undefined/);
  });
});

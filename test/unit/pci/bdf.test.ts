import { describe, expect, test } from "vitest";
import { ArgumentError } from "../../../src/core/errors.js";
import { parseBdf } from "../../../src/pci/bdf.js";

describe("a PCI address", () => {
  test.each([
    ["0000:00:03.0", "0000:00:03.0"],
    // As lspci prints it where there is one domain.
    ["00:03.0", "0000:00:03.0"],
    ["0000:FF:1F.7", "0000:ff:1f.7"],
    ["10000:e1:00.0", "10000:e1:00.0"],
    ["0001:00:00.0", "0001:00:00.0"],
  ])("%s is %s", (text, bdf) => {
    expect(parseBdf(text)).toBe(bdf);
  });

  test.each([
    "",
    "nonsense",
    "0000:00:03",
    "00:03",
    "03.0",
    // A device has five bits, a function three.
    "0000:00:20.0",
    "0000:00:03.8",
    "0000:00:3.0",
    "000:00:03.0",
    "0000:0:03.0",
    "0000:00:03.0 ",
    " 0000:00:03.0",
    "0000:00:03.0\n",
    "0000:00:03.0/../0000:00:04.0",
    "../0000:00:03.0",
    "vfio-user:/run/socket",
  ])("%j is none, and the message shows what one looks like", (text) => {
    expect(() => parseBdf(text)).toThrow(ArgumentError);
    expect(() => parseBdf(text)).toThrow(JSON.stringify(text));
    expect(() => parseBdf(text)).toThrow("0000:00:03.0");
  });

  test("neither is anything but text", () => {
    const given: string = JSON.parse("3");
    expect(() => parseBdf(given)).toThrow(ArgumentError);
  });
});

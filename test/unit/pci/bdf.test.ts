/** parseBdf(): PCI addresses as text. */
import { describe, expect, test } from "vitest";
import { ArgumentError } from "../../../src/core/errors.js";
import { parseBdf } from "../../../src/pci/address/bdf.js";

describe("parseBdf()", () => {
  test.each([
    ["0000:00:03.0", "0000:00:03.0"],
    // As lspci prints it if there is only one domain.
    ["00:03.0", "0000:00:03.0"],
    ["0000:FF:1F.7", "0000:ff:1f.7"],
    ["10000:e1:00.0", "10000:e1:00.0"],
    ["0001:00:00.0", "0001:00:00.0"],
  ])("returns %s as %s", (text, bdf) => {
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
  ])("rejects %j with an example of an address", (text) => {
    expect(() => parseBdf(text)).toThrow(ArgumentError);
    expect(() => parseBdf(text)).toThrow(JSON.stringify(text));
    expect(() => parseBdf(text)).toThrow("0000:00:03.0");
  });

  test("rejects a value that is not a string", () => {
    const given: string = JSON.parse("3");
    expect(() => parseBdf(given)).toThrow(ArgumentError);
  });
});

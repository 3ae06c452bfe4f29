/** The table of controllers with quirks: its form, and which rows a controller matches. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../../../src/core/errors.js";
import { parseNvmeOptions } from "../../../../src/nvme/engine/options.js";
import { ControllerQuirks, findKnown } from "../../../../src/nvme/quirks/controller-quirks.js";
import { knownControllers, sources } from "../../../../src/nvme/quirks/known-controllers.js";
import { nvmeQuirkNames, nvmeQuirks, parseQuirkChoice } from "../../../../src/nvme/quirks/quirks.js";

const strings = (mn: string, fr = "1") => ({ mn, fr });

describe("the table", () => {
  test("is sorted, and no two rows are about the same controller", () => {
    const keys = knownControllers.map(({ id, model = "", firmware = "" }) => `${id} ${model} ${firmware}`);
    expect(new Set(keys).size).toBe(keys.length);
    const ids = knownControllers.map(({ id }) => id);
    expect(ids).toEqual([...ids].sort());
  });

  test.each(knownControllers)("has a valid row for $id $name", ({ id, name, model, quirks, source }) => {
    expect(id).toMatch(/^[0-9a-f]{4}:([0-9a-f]{4}|\*)$/);
    expect(name).not.toBe("");
    expect(model ?? "a model").toMatch(/^\S(.*\S)?$/);
    expect(quirks.length).toBeGreaterThan(0);
    expect(new Set(quirks).size).toBe(quirks.length);
    for (const quirk of quirks) expect(nvmeQuirks[quirk]).toMatch(/^\w.*: /);
    expect(sources[source]).toMatch(/Linux|SPDK/);
  });

  test("uses every quirk, and the quirks are sorted", () => {
    const used = new Set(knownControllers.flatMap(({ quirks }) => quirks));
    expect([...used].sort()).toEqual(nvmeQuirkNames);
  });
});

describe("a controller", () => {
  test("matches by vendor and device", () => {
    expect(findKnown({ vendorId: 0x1987, deviceId: 0x5019 }).map(({ name }) => name)).toEqual(["Phison E19"]);
    expect(findKnown({ vendorId: 0x1987, deviceId: 0xffff })).toEqual([]);
    expect(findKnown({ vendorId: 0x0001, deviceId: 0x5019 })).toEqual([]);
  });

  test("matches by model once that is known, whatever its device id", () => {
    const ids = { vendorId: 0x144d, deviceId: 0xa808 };
    expect(findKnown(ids)).toEqual([]);
    expect(findKnown(ids, strings("Samsung SSD 970 EVO Plus"))).toEqual([]);
    const [found] = findKnown(ids, strings("Samsung Portable SSD X5"));
    expect(found?.quirks).toContain("delay-before-ready");
  });
});

describe("the quirks of a controller", () => {
  const ids = { vendorId: 0x144d, deviceId: 0xa80b };

  test("are those of the table, each with its reason and source", () => {
    const quirks = new ControllerQuirks("auto", ids);
    expect(quirks.all.map(({ name }) => name)).toEqual(["bogus-identifiers", "no-write-zeroes"]);
    expect(quirks.all[1]).toEqual({
      name: "no-write-zeroes",
      reason: nvmeQuirks["no-write-zeroes"],
      source: expect.stringMatching(/Linux.*pci\.c: Samsung PM9B1/),
    });
    expect(quirks.has("no-write-zeroes")).toBe(true);
    expect(quirks.has("delay-before-ready")).toBe(false);
  });

  test("can be changed, also those that the model brings", () => {
    const changed = new ControllerQuirks({ add: ["delay-before-ready"], remove: ["bogus-identifiers"] }, ids);
    expect(changed.all.map(({ name }) => name)).toEqual(["no-write-zeroes", "delay-before-ready"]);
    expect(changed.all[1]?.source).toBe("option quirks");
    const portable = new ControllerQuirks({ remove: ["delay-before-ready"] }, { ...ids, deviceId: 0xa808 });
    portable.identified(strings("Samsung Portable SSD X5"));
    expect(portable.has("delay-before-ready")).toBe(false);
  });

  test("can be listed in full", () => {
    expect(new ControllerQuirks([], ids).all).toEqual([]);
    const exact = new ControllerQuirks(["delay-before-ready"], ids);
    expect(exact.all.map(({ name }) => name)).toEqual(["delay-before-ready"]);
  });
});

describe("the choice", () => {
  test.each([
    ["auto", "auto"],
    ["none", []],
    ["no-write-zeroes", ["no-write-zeroes"]],
    ["+no-write-zeroes,-bogus-identifiers", { add: ["no-write-zeroes"], remove: ["bogus-identifiers"] }],
  ])("is read from the text %s", (text, choice) => {
    expect(parseQuirkChoice(text)).toEqual(choice);
  });

  test.each([
    ["", "there is no quirk"],
    ["+none", "there is no quirk"],
    ["+no-write-zeroes,bogus-identifiers", "have a sign"],
  ])("is refused as the text %j", (text, reason) => {
    expect(() => parseQuirkChoice(text)).toThrow(ConfigError);
    expect(() => parseQuirkChoice(text)).toThrow(reason);
  });

  test("is checked when it is an option", () => {
    expect(parseNvmeOptions({}).quirks).toBe("auto");
    for (const quirks of ["some", ["no-such"], { add: ["no-such"] }, { other: [] }]) {
      expect(() => parseNvmeOptions({ quirks: quirks as never })).toThrow(ConfigError);
    }
  });
});

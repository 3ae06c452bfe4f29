import { expect, test } from "vitest";
import { ConfigError } from "../../../src/sys/errors.js";
import { parseVfioUserOptions } from "../../../src/vfio-user/options.js";

test("none at all mean the same as some left out", () => {
  expect(parseVfioUserOptions({ timeoutMs: undefined })).toEqual(parseVfioUserOptions({}));
  expect(parseVfioUserOptions({})).toEqual({ timeoutMs: 10_000, trustServer: false, reconnect: undefined });
});

test("true is a plan to reconnect with what is usual", () => {
  const plan = { timeoutMs: 30_000, firstPauseMs: 10, longestPauseMs: 1000 };
  expect(parseVfioUserOptions({ reconnect: true }).reconnect).toEqual(plan);
  expect(parseVfioUserOptions({ reconnect: { firstPauseMs: 5 } }).reconnect).toEqual({
    ...plan,
    firstPauseMs: 5,
  });
  expect(parseVfioUserOptions({ reconnect: false }).reconnect).toBeUndefined();
});

test.each(["5", "null", "[1]", '{ "timeoutMs": 0 }', '{ "trustServer": 1 }', '{ "other": 1 }'])(
  "%s is refused",
  (json) => {
    expect(() => parseVfioUserOptions(JSON.parse(json))).toThrow(ConfigError);
  },
);

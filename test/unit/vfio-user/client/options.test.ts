/** The check of the client's options. */
import { expect, test } from "vitest";
import { ConfigError } from "../../../../src/core/errors.js";
import { parseVfioUserOptions } from "../../../../src/vfio-user/client/options.js";

test("no options mean the defaults", () => {
  expect(parseVfioUserOptions({ timeoutMs: undefined })).toEqual(parseVfioUserOptions({}));
  expect(parseVfioUserOptions({})).toEqual({ timeoutMs: 10_000, trustServer: false, reconnect: undefined });
});

test("reconnect: true means the default plan", () => {
  const plan = { timeoutMs: 30_000, firstPauseMs: 10, longestPauseMs: 1000 };
  expect(parseVfioUserOptions({ reconnect: true }).reconnect).toEqual(plan);
  expect(parseVfioUserOptions({ reconnect: { firstPauseMs: 5 } }).reconnect).toEqual({
    ...plan,
    firstPauseMs: 5,
  });
  expect(parseVfioUserOptions({ reconnect: false }).reconnect).toBeUndefined();
});

test.each([
  ["5", "must be an object"],
  ["null", "must be an object"],
  ["[1]", "must be an object"],
  ['{ "timeoutMs": 0 }', "timeoutMs"],
  ['{ "trustServer": 1 }', "trustServer"],
  ['{ "reconnect": { "timeoutMs": 0 } }', "reconnect.timeoutMs"],
  ['{ "reconnect": "yes" }', "reconnect"],
  ['{ "reconnect": null }', "reconnect must be an object"],
  ['{ "reconnect": { "tries": 1 } }', 'reconnect has no option "tries"'],
  ['{ "other": 1 }', 'no option "other"'],
])("%s is refused, and the message says %s", (json, words) => {
  expect(() => parseVfioUserOptions(JSON.parse(json))).toThrow(ConfigError);
  expect(() => parseVfioUserOptions(JSON.parse(json))).toThrow(words);
});

test("one error names every option that is wrong", () => {
  const options = JSON.parse('{ "timeoutMs": -1, "reconnect": { "firstPauseMs": "x" }, "other": 1 }');
  expect(() => parseVfioUserOptions(options)).toThrow(/"other".*timeoutMs.*reconnect\.firstPauseMs/);
});

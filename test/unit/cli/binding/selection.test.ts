/** Which functions a command line means, on the host that runs the tests. */
import { expect, test } from "vitest";
import { selectFunctions, type WantedFunctions } from "../../../../src/cli/binding/selection.js";
import { ArgumentError, ConfigError } from "../../../../src/core/errors.js";

const command = { name: "bind" };
const nothing: WantedFunctions = { addresses: [], classes: [], ids: [], group: false };

test.each([
  [{}, "bind needs a BDF, --class or --id; see iova bind --help"],
  [{ classes: ["nvme"] }, '--class "nvme": expected 2, 4 or 6 hex digits'],
  [{ classes: ["010"] }, '--class "010": expected 2, 4 or 6 hex digits'],
  [{ ids: ["8086"] }, '--id "8086": expected vendor:device in hex digits'],
])("rejects %j", (wanted, message) => {
  const select = () => selectFunctions(command, { ...nothing, ...wanted });
  expect(select).toThrow(ConfigError);
  expect(select).toThrow(message);
});

test.each([
  [{ addresses: ["ffff:ff:1f.7"] }, "there is no PCI device ffff:ff:1f.7"],
  [{ classes: ["fe12"] }, "no function of this host fits --class fe12"],
  [{ ids: ["ffff:ffff"] }, "no function of this host fits --id ffff:ffff"],
])("finds nothing for %j", (wanted, message) => {
  const select = () => selectFunctions(command, { ...nothing, ...wanted });
  expect(select).toThrow(ArgumentError);
  expect(select).toThrow(message);
});

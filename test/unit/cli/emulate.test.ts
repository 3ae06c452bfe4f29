/** The options of `iova emulate`. */
import { describe, expect, test } from "vitest";
import { parseEmulateOptions } from "../../../src/cli/emulate.js";
import { ConfigError } from "../../../src/core/errors.js";

describe("the options of iova emulate", () => {
  test("emulate parses the device, the socket and the device's options", () => {
    const argv = [
      "nvme",
      "--socket",
      "/run/a.sock",
      "--size",
      "512M",
      "--file",
      "/disk",
      "--incoming",
      "--zns",
    ];
    const faults = ["--fault", "status,queue=io,opcode=2,nth=10,status=0x281"];
    const { device, socket, trustClients, nvme } = parseEmulateOptions([
      ...argv,
      ...faults,
      "--block-size",
      "4096",
      "--power-states",
      "5",
    ]);
    expect({ device, socket, trustClients }).toEqual({
      device: "nvme",
      socket: "/run/a.sock",
      trustClients: false,
    });
    expect(nvme).toMatchObject({
      sizeBytes: 512 * 2 ** 20,
      file: "/disk",
      incoming: true,
      zoned: true,
      blockSizeBytes: 4096,
      powerStates: 5,
      doorbells: "shared",
      faults: [{ kind: "status", queue: "io", opcode: 2, nth: 10, status: 0x281 }],
    });
    expect(parseEmulateOptions(["edu", "--socket", "s", "--trust-clients"])).toMatchObject({
      device: "edu",
      trustClients: true,
    });
  });

  test("emulate takes faults of edu and of one's own devices", () => {
    const fault = "wrong-value,where=identification,value=0x5,nth=2";
    for (const device of ["edu", "./device.js"])
      expect(parseEmulateOptions([device, "--socket", "s", "--fault", fault])).toMatchObject({
        device,
        faults: [{ kind: "wrong-value", where: "identification", value: 5, nth: 2 }],
      });
  });

  test.each<readonly [string, ...string[]]>([
    ["nvme"],
    ["nvme", "edu", "--socket", "s"],
    ["gpu", "--socket", "s"],
    ["nvme", "--socket", ""],
    ["nvme", "--socket", "s", "--size", "large"],
    ["nvme", "--socket", "s", "--size", "-1"],
    ["nvme", "--socket", "s", "--block-size", "1000"],
    ["nvme", "--socket", "s", "--metadata", "9"],
    ["nvme", "--socket", "s", "--namespaces", "x"],
    ["nvme", "--socket", "s", "--power-states", "many"],
    ["nvme", "--socket", "s", "--doorbells", "none"],
    ["nvme", "--socket", "s", "--fault", "nonsense"],
    ["edu", "--socket", "s", "--fault", "status,queue=io"],
    ["edu", "--socket", "s", "--fault", "stuck,where=status,latency=5"],
    ["nvme", "--socket", "s", "--no-such-option"],
  ])("emulate rejects the arguments %s %s %s %s %s", (...argv) => {
    expect(() => parseEmulateOptions(argv)).toThrow(ConfigError);
  });

  test.each([
    [
      ["foo", "--socket", "s"],
      'emulate has no device "foo": expected nvme, edu or the path of a module; see iova emulate --help',
    ],
    [["--socket", "s"], "emulate needs a device: nvme, edu or the path of a module; see iova emulate --help"],
    [["edu", "--socket", "s", "--size", "1M"], "edu has no option --size; see iova emulate --help"],
    [
      ["edu", "--socket", "s", "--zns", "--pi", "1"],
      "edu has no option --zns, --pi; see iova emulate --help",
    ],
    [["edu", "--socket", "s", "--peer", "t"], "edu has no option --peer; see iova emulate --help"],
    [["nvme", "--socket", "s", "--peer", "s"], "--peer s: another controller is served there"],
    [["nvme", "--socket", "s", "--block-size", "1"], "--block-size 1: expected one of 512, 4096"],
  ])("emulate says what is wrong with %j", (argv, message) => {
    expect(() => parseEmulateOptions(argv)).toThrow(new ConfigError(message));
  });
});

/** `iova bind` and `iova unbind` as processes: what they refuse before they touch a device. */
import { afterAll, describe, expect, test } from "vitest";
import { compileCli } from "../../support/iova-cli.js";

const cli = compileCli();
afterAll(() => cli[Symbol.dispose]());

describe.each(["bind", "unbind"])("iova %s", (command) => {
  test.each(["0", "-1", "soon", "600001"])("rejects the time limit %s", async (limit) => {
    const { status, stdout, stderr } = await cli.run([command, "0000:00:03.0", `--timeout=${limit}`]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toBe(
      `iova: --timeout "${limit}": expected milliseconds from 1 to 600000; see iova ${command} --help\n`,
    );
  });

  test("takes a time limit, and reports a device that isn't there", async () => {
    const { status, stderr } = await cli.run([command, "ffff:ff:1f.7", "-t", "5000"]);
    expect({ status, stderr }).toEqual({ status: 1, stderr: "iova: there is no PCI device ffff:ff:1f.7\n" });
  });
});

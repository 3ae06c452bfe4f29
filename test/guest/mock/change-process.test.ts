/** An iommufd that a new process takes over. */
import { describe, expect, test } from "vitest";
import { guestProgram } from "../../support/guest-programs.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { run } from "../../support/run.js";
import { byVariant } from "../../support/variants.js";

/** What the kernel's fixture change_process varies; the first leaves the option as it is. */
const variants = [
  { variant: "account_none", mode: "none", lockedKib: 0 },
  { variant: "account_user", mode: "user", lockedKib: 0 },
  { variant: "account_mm", mode: "process", lockedKib: 4 },
];

describe.each(byVariant(variants))("an iommufd that another process inherits [%s]", (_, variant) => {
  expectNothingLeftSoon();

  test("charges the new process for its pages if all are of files [change_process.basic]", async () => {
    // Memory of a process that may lock as much as it likes isn't counted: so neither of the two may.
    const outcome = await run("setpriv", [
      "--bounding-set=-ipc_lock",
      process.execPath,
      guestProgram("change-process-owner"),
      guestProgram("change-process-heir"),
      variant.mode,
    ]);
    expect(outcome).toMatchObject({ status: 0, stderr: "" });
    const charged = { pinnedKib: 4, lockedKib: variant.lockedKib };
    const free = { pinnedKib: 0, lockedKib: 0 };
    expect(JSON.parse(outcome.stdout)).toEqual({
      withAddress: "EINVAL",
      status: 0,
      charges: { before: { owner: charged, heir: free }, after: { owner: free, heir: charged } },
    });
  });
});

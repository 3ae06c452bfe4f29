/** Advice of doctor that takes a restart: the machine starts again with the kernel command line that follows from it. */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { HostBackend } from "../../src/doors/host.js";
import { adviceSuite, follow, reportOf } from "./advice-suite.js";

/** Where a machine that boots again finds the kernel command line for it. */
const NEXT_BOOT = "/mnt/share/append";

/** Tests of advice that needs a restart: the first boot follows it, the second one finds it done. */
export function rebootAdviceSuite(check: string, backends: readonly HostBackend[]): void {
  describe("doctor's advice, which takes a restart", () => {
    if (process.env["IOVA_SECOND_BOOT"] === undefined) {
      test("is a change to the boot loader's file, which the machine starts with next", async () => {
        const own = execFileSync("cat", ["/proc/cmdline"], { encoding: "utf8" }).trim();
        mkdirSync("/etc/default", { recursive: true });
        writeFileSync("/etc/default/grub", `GRUB_CMDLINE_LINUX="${own}"\n`);
        const report = await reportOf();
        const [fix] = report.checks.find(({ id }) => id === check)?.fixes ?? [];
        expect(fix?.effect).toBe("reboot");
        const [edit, update] = fix?.steps ?? [];
        // No boot loader starts this machine: what update-grub would make of its file is given to the next start by the test.
        expect(update).toMatchObject({ argv: ["update-grub"] });
        follow(fix === undefined || edit === undefined ? [] : [{ ...fix, steps: [edit] }]);
        const read = '. /etc/default/grub && printf %s "$GRUB_CMDLINE_LINUX"';
        const next = execFileSync("sh", ["-c", read], { encoding: "utf8" });
        expect(next).not.toBe(own);
        writeFileSync(NEXT_BOOT, next);
      });
      return;
    }
    adviceSuite({ backends, problems: [] });
  });
}

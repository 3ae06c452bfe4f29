/** The test suites, as vitest runs them. A test that fails is not run again. */
import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { SOCKET_VARIABLE } from "./test/guest-pool/channel.js";
import { guestPool } from "./test/guest-pool/pool.js";

/** Where the guest suite has its worker in a guest. */
const guestTests = process.env[SOCKET_VARIABLE];

/** Only ends what hangs: on a machine with other things to do, each step may take a hundred times as long. */
const HANG_MS = 600_000;

/**
 * Three suites: `unit` runs anywhere in seconds; `package` tests the packed tarball; `guest` needs a kernel with iommufd
 * and devices it may use up, and is run by `npm test`, with its worker in a QEMU guest.
 */
export default defineConfig({
  // `using` is lowered: Node 20 and 22 don't parse it.
  oxc: { target: "es2022" },
  test: {
    projects: [
      {
        extends: true,
        // Examples name the package: here it is the source, which needs no build and is no second copy.
        resolve: {
          alias: [
            { find: /^iova$/, replacement: `${import.meta.dirname}/src/index.ts` },
            { find: /^iova\/([a-z-]+)$/, replacement: `${import.meta.dirname}/src/doors/$1.ts` },
          ],
        },
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts", "test/guest-tool/**/*.test.ts", "test/docs/**/*.test.ts"],
          setupFiles: "test/support/no-forgotten-objects.ts",
          // By itself vitest leaves a processor free, which is half of two.
          maxWorkers: availableParallelism(),
          testTimeout: HANG_MS,
          hookTimeout: HANG_MS,
          expect: { poll: { timeout: HANG_MS } },
        },
      },
      {
        extends: true,
        test: {
          name: "package",
          include: ["test/package/**/*.test.ts"],
          globalSetup: "test/package/support/setup.ts",
          // The tests of one file at a time hide the installed package.
          fileParallelism: false,
          testTimeout: HANG_MS,
          hookTimeout: HANG_MS,
        },
      },
      {
        extends: true,
        // The guest tests what users get, the compiled package; and transforming src/ under emulation takes long.
        resolve: {
          alias: [{ find: /^(?:\.\.\/)+src\//, replacement: `${import.meta.dirname}/dist/src/` }],
        },
        test: {
          name: "guest",
          include: ["test/guest/**/*.test.ts"],
          setupFiles: ["test/support/no-forgotten-objects.ts", "test/support/no-left-settings.ts"],
          server: { deps: { external: [/\/dist\/src\//] } },
          // One after the other in one process: they share the machine's only devices, and start-up is dear there.
          pool: guestTests === undefined ? "forks" : guestPool(guestTests),
          fileParallelism: false,
          isolate: false,
          execArgv: ["--expose-gc"],
          testTimeout: HANG_MS,
          hookTimeout: HANG_MS,
        },
      },
    ],
  },
});

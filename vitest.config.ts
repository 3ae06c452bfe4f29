import { defineConfig } from "vitest/config";

/**
 * In CI a test that fails is run once more, and the report says so: emulated processors and servers on busy machines now
 * and then stand still for longer than a test's limit. At a developer's machine it fails.
 */
const retry = process.env["CI"] === undefined ? 0 : 1;

/**
 * Three suites: `unit` runs anywhere in seconds; `package` tests the packed tarball; `guest` needs a kernel with iommufd and devices it may use up, and is
 * run inside the QEMU guest by `npm test`.
 */
export default defineConfig({
  // `using` is lowered: Node 20 and 22 don't parse it.
  oxc: { target: "es2022" },
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          retry,
          include: ["test/unit/**/*.test.ts", "test/guest-tool/**/*.test.ts", "test/docs/**/*.test.ts"],
        },
      },
      {
        extends: true,
        test: {
          name: "package",
          retry,
          include: ["test/package/**/*.test.ts"],
          globalSetup: "test/package/support/setup.ts",
          // The tests of one file at a time hide the installed package.
          fileParallelism: false,
          testTimeout: 120_000,
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
          retry,
          include: ["test/guest/**/*.test.ts"],
          server: { deps: { external: [/\/dist\/src\//] } },
          // One after the other in one process: they share the machine's only devices, and start-up is dear there.
          pool: "forks",
          fileParallelism: false,
          isolate: false,
          execArgv: ["--expose-gc"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});

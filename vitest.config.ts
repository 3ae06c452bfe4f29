import { defineConfig } from "vitest/config";

/**
 * Two suites: `unit` runs anywhere in seconds; `guest` needs a kernel with iommufd and devices it may use up, and is
 * run inside the QEMU guest by `npm test`.
 */
export default defineConfig({
  // `using` is lowered: Node 20 and 22 don't parse it.
  oxc: { target: "es2022" },
  test: {
    projects: [
      {
        extends: true,
        test: { name: "unit", include: ["test/unit/**/*.test.ts", "test/guest-tool/**/*.test.ts"] },
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

/** Applications that common bundlers make into one file: they run, and their emulator finds its thread's program. */
import { renameSync } from "node:fs";
import { join } from "node:path";
import { build as esbuild } from "esbuild";
import { rollup } from "rollup";
import { build as vite } from "vite";
import { expect, inject, test } from "vitest";
import webpack from "webpack";
import { project, READS_A_BLOCK, runIn } from "./support/project.js";

const packageFile = (path: string): string => join(inject("installed"), "node_modules", "iova", path);
const application = (): string =>
  project({ "main.js": READS_A_BLOCK, "package.json": '{ "type": "module" }' });

/** Hides what is in the installed package meanwhile. */
async function withoutFilesOfThePackage<T>(run: () => Promise<T>): Promise<T> {
  const hidden = packageFile("dist-hidden");
  renameSync(packageFile("dist"), hidden);
  try {
    return await run();
  } finally {
    renameSync(hidden, packageFile("dist"));
  }
}

test("an application bundled by esbuild as an ES module runs", async () => {
  const folder = application();
  const outfile = join(folder, "out.mjs");
  await esbuild({
    entryPoints: [join(folder, "main.js")],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    logLevel: "error",
  });
  expect(await runIn(folder, process.execPath, outfile)).toBe("read 512 bytes\n");
});

test("an application bundled by esbuild as CommonJS runs", async () => {
  const folder = application();
  const outfile = join(folder, "out.cjs");
  await esbuild({
    entryPoints: [join(folder, "main.js")],
    outfile,
    bundle: true,
    platform: "node",
    format: "cjs",
    logLevel: "error",
  });
  expect(await runIn(folder, process.execPath, outfile)).toBe("read 512 bytes\n");
});

test("an application bundled by rollup runs", async () => {
  const folder = application();
  const bundle = await rollup({
    input: join(folder, "main.js"),
    external: /^node:/,
    plugins: [
      {
        // Replaces the usual plugin for node_modules, which isn't installed here.
        name: "doors of iova",
        resolveId: (id) =>
          /^iova(\/|$)/.test(id) ? packageFile(`dist/lib/${id.split("/")[1] ?? "iova"}.js`) : null,
      },
    ],
    onLog: () => {},
  });
  const file = join(folder, "out.mjs");
  await bundle.write({ file, format: "esm", inlineDynamicImports: true });
  await bundle.close();
  expect(await runIn(folder, process.execPath, file)).toBe("read 512 bytes\n");
});

test("an application bundled by vite for servers, with the package in it, runs", async () => {
  const folder = application();
  await vite({
    root: folder,
    configFile: false,
    logLevel: "error",
    build: { ssr: join(folder, "main.js"), outDir: join(folder, "out") },
    ssr: { noExternal: true, external: ["koffi"] },
  });
  expect(await runIn(folder, process.execPath, "out/main.js")).toBe("read 512 bytes\n");
});

test("an application bundled by webpack runs, and needs the installed package for koffi only", async () => {
  const folder = application();
  await new Promise<void>((resolve, reject) => {
    webpack(
      {
        mode: "production",
        target: "node20",
        context: folder,
        entry: "./main.js",
        experiments: { outputModule: true },
        optimization: { minimize: false },
        output: { path: join(folder, "out"), filename: "main.mjs", module: true, chunkFormat: "module" },
      },
      (error, stats) => {
        if (error !== null) reject(error);
        else if (stats?.hasErrors()) reject(new Error(stats.toString("errors-only")));
        else resolve();
      },
    );
  });
  expect(await withoutFilesOfThePackage(() => runIn(folder, process.execPath, "out/main.mjs"))).toBe(
    "read 512 bytes\n",
  );
});

test("an application with a second entry for the emulator's thread needs the installed package for koffi only", async () => {
  const folder = application();
  await esbuild({
    entryPoints: { out: join(folder, "main.js"), "emulator-worker": "iova/emulator-worker" },
    absWorkingDir: folder,
    outdir: join(folder, "out"),
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    external: ["koffi"],
    logLevel: "error",
  });
  expect(await withoutFilesOfThePackage(() => runIn(folder, process.execPath, "out/out.mjs"))).toBe(
    "read 512 bytes\n",
  );
});

test("the error says what to bundle if a bundle lacks the program of the emulator's thread", async () => {
  const folder = application();
  const outfile = join(folder, "out.mjs");
  await esbuild({
    entryPoints: [join(folder, "main.js")],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    logLevel: "error",
  });
  await withoutFilesOfThePackage(() =>
    expect(runIn(folder, process.execPath, outfile)).rejects.toThrow(
      /bundle iova\/emulator-worker as a second entry/,
    ),
  );
});

/** `npm run bench -- NAME [ARGUMENT...]`: runs a bench, in a guest if it needs a device and an IOMMU. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { ensureDebianProgram } from "../guest/debian-program.js";
import { GuestToolError } from "../guest/errors.js";
import { ensureForeignQemu } from "../guest/foreign-qemu.js";
import { packageRoot } from "../guest/paths.js";
import { StderrProgress } from "../guest/progress.js";
import { runGuest } from "../guest/run.js";
import { type Bench, benches } from "./benches.js";

const STATUS_USAGE = 2;

function usage(): string {
  const width = Math.max(...benches.map(({ name }) => name.length));
  const lines = benches.map(
    ({ name, purpose, guest }) =>
      `  ${name.padEnd(width)}  ${purpose}${guest === undefined ? "" : " (in the guest)"}`,
  );
  return `Usage: npm run bench -- NAME [ARGUMENT...]\n\n${lines.join("\n")}\n`;
}

async function run(
  { program, guest, foreignQemu, debian = [] }: Bench,
  args: readonly string[],
): Promise<number> {
  const programs: string[] = [];
  for (const name of debian) {
    programs.push(
      `--${name}`,
      await ensureDebianProgram(
        { program: name, packageName: name, what: `no ${name}` },
        { progress: new StderrProgress() },
      ),
    );
  }
  const command = [
    process.execPath,
    "--expose-gc",
    join(packageRoot(), "dist", "bench", `${program}.js`),
    ...programs,
    ...args,
  ];
  const [node = "", ...rest] = command;
  if (guest === undefined || process.env["IOVA_GUEST"] !== undefined) {
    return spawnSync(node, rest, { stdio: "inherit" }).status ?? 1;
  }
  const progress = new StderrProgress();
  const qemu = foreignQemu === true ? { qemu: await ensureForeignQemu({ progress }) } : {};
  const result = await runGuest({ command, ...guest, ...qemu, progress });
  if (result.problem !== undefined) process.stderr.write(`bench: ${result.problem}\n`);
  return result.status;
}

const [name, ...args] = process.argv.slice(2);
const bench = benches.find((each) => each.name === name);
if (bench !== undefined) {
  try {
    process.exitCode = await run(bench, args);
  } catch (error) {
    if (!(error instanceof GuestToolError)) throw error;
    process.stderr.write(`bench: ${error.message}\n`);
    process.exitCode = 1;
  }
} else if (name === undefined || name === "--help") {
  process.stdout.write(usage());
} else {
  process.stderr.write(`bench: there is no bench ${JSON.stringify(name)}\n\n${usage()}`);
  process.exitCode = STATUS_USAGE;
}

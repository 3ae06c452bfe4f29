/** Runs the `iova` command as a process. */
import { bundleProgram, type CompiledTree } from "./compiled.js";
import { type InputOutcome, runWithInput } from "./run.js";

/** The command, compiled from these sources. */
export interface IovaCli extends Disposable {
  readonly path: string;
  /** Runs it to its end. */
  run(args: readonly string[], input?: Uint8Array | string): Promise<InputOutcome>;
  /** The JSON that it prints. @throws Error if it fails */
  json(...args: readonly string[]): Promise<unknown>;
}

export function compileCli(): IovaCli {
  const tree: CompiledTree = bundleProgram("src/cli/main.ts");
  const path = tree.file("src/cli/main.ts");
  const run: IovaCli["run"] = (args, input) => runWithInput(process.execPath, [path, ...args], input);
  return {
    path,
    run,
    async json(...args) {
      const { status, stdout, stderr } = await run([...args, "--json"]);
      if (status !== 0) throw new Error(`iova ${args.join(" ")} ended with ${status}: ${stderr}`);
      return JSON.parse(stdout);
    },
    [Symbol.dispose]: () => tree[Symbol.dispose](),
  };
}

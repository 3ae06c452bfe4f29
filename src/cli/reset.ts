/** `iova reset`: resets a function through sysfs. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { BusyError, SysError, UnsupportedError } from "../core/errors.js";
import { refusalHint, StepWait } from "../pci/steps/kernel-steps.js";
import { ifThere, readPciFunction } from "../pci/sysfs.js";
import { holdersText, vfioHolders, virtualFunctionHolders } from "../pci/usage/holders.js";
import { usersSearch } from "../pci/usage/users.js";
import { isVfioBound } from "../pci/vfio-driver.js";
import { kernelText } from "../sys/kernel-files.js";
import { writeWithin } from "../sys/kernel-wait.js";
import { onlyOperand, parseCommandLine, stepTimeoutOf } from "./command-line.js";
import { resetDescription, resetMethods } from "./described/reset.js";
import { print, printJson } from "./terminal.js";

/** What a reset would do; what `--json` prints. */
interface ResetPlan {
  readonly bdf: string;
  /** The methods that the function has, in the order in which the kernel tries them. */
  readonly methods: readonly string[];
  /** What is reset with it: its virtual functions. */
  readonly alsoAffected: readonly string[];
}

/** @throws ConfigError, ArgumentError (no such function), BusyError, UnsupportedError, SysError, TimeoutError */
export function runReset(argv: readonly string[]): void {
  const { values, positionals } = parseCommandLine(resetDescription, argv);
  const timeoutMs = stepTimeoutOf(resetDescription, values.timeout);
  const wait = new StepWait({ timeoutMs }, () => "the kernel's log may say more");
  const { bdf, virtualFunctions } = readPciFunction(onlyOperand(resetDescription, positionals, "BDF"));
  const path = `/sys/bus/pci/devices/${bdf}`;
  const all = methodsOf(path);
  if (values.method !== undefined && !all.includes(values.method))
    throw new UnsupportedError(
      `${bdf} has no reset method ${JSON.stringify(values.method)}: it has ${all.join(", ") || "none"}`,
    );
  const methods = values.method === undefined ? all : [values.method];
  const plan: ResetPlan = { bdf, methods, alsoAffected: virtualFunctions };
  if (all.length === 0)
    throw new UnsupportedError(`${bdf} can't be reset by itself: it, or its bus, has no way for it`);
  assertUnused(bdf, virtualFunctions);
  const isDone = values["dry-run"] !== true;
  if (isDone) reset(path, values.method, wait);
  if (values.json === true) printJson({ ...plan, reset: isDone });
  else print(textOf(plan, isDone));
}

function textOf({ bdf, methods, alsoAffected }: ResetPlan, isDone: boolean): string {
  const ways = methods.map((name) => {
    const meaning = Object.entries(resetMethods).find(([known]) => known === name)?.[1];
    return meaning === undefined ? name : `${name} (${meaning})`;
  });
  const others = alsoAffected.length === 0 ? "no other function" : alsoAffected.join(", ");
  return `${bdf} ${isDone ? "was" : "would be"} reset by ${ways.join(", or if that fails ")}; it affects ${others}`;
}

/** The methods of a function, in the kernel's order. Kernels before 5.15 don't name them. */
function methodsOf(path: string): string[] {
  const text = kernelText(join(path, "reset_method"));
  if (text !== undefined) return text.split(/\s+/).filter((name) => name !== "");
  return existsSync(join(path, "reset")) ? ["unnamed"] : [];
}

/** @throws BusyError */
function assertUnused(bdf: string, vfs: readonly string[]): void {
  const holders = isVfioBound(bdf) ? vfioHolders(bdf) : [];
  const usersOf = usersSearch();
  const users = [
    ...usersOf(bdf),
    ...(holders.length === 0 ? [] : [`open in ${holdersText(holders)}`]),
    ...[...virtualFunctionHolders(bdf, vfs)].map(
      ([vf, some]) => `its virtual function ${vf} is open in ${holdersText(some)}`,
    ),
    ...vfs.flatMap(
      (vf) => ifThere(() => usersOf(vf))?.map((user) => `its virtual function ${vf}: ${user}`) ?? [],
    ),
  ];
  if (users.length > 0) throw new BusyError(`${bdf} is in use, and was not reset: ${users.join("; ")}`);
}

/** Writes `reset`. A method is asked for by making it the only one meanwhile. @throws SysError, TimeoutError */
function reset(path: string, method: string | undefined, wait: StepWait): void {
  const order = join(path, "reset_method");
  const before = kernelText(order) ?? "";
  try {
    if (method !== undefined && method !== before) writeWithin(order, `${method}\n`, wait);
    try {
      writeWithin(join(path, "reset"), "1\n", wait);
    } finally {
      if (method !== undefined && method !== before) writeWithin(order, `${before}\n`, wait);
    }
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    const hint = refusalHint(error.code, "resetting a function");
    throw hint === undefined ? error : error.with({ hint });
  }
}

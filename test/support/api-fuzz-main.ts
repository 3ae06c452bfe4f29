/**
 * Calls everything that the package exports with right and wrong values: `api-fuzz-main.js SHAPE SEED FIRST CALLS LOG`. Prints the
 * faults as JSON. LOG always holds the call that is being made, for the case that it ends the process.
 */
import { fstatSync, openSync, readFileSync, writeSync } from "node:fs";
import { Stream } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import * as dma from "../../src/doors/dma.js";
import * as emulator from "../../src/doors/emulator.js";
import * as host from "../../src/doors/host.js";
import * as iommufd from "../../src/doors/iommufd.js";
import * as nvmeDoor from "../../src/doors/nvme.js";
import * as pci from "../../src/doors/pci.js";
import * as vfio from "../../src/doors/vfio.js";
import * as vfioUser from "../../src/doors/vfio-user.js";
import * as index from "../../src/index.js";
import type { ApiShape, Callable, ClassShape } from "./api-shape.js";
import { type Live, Random, shown, Thrown, Values } from "./api-values.js";
import { freeAddress, namesHostFunction } from "./host-functions.js";

const [shapeFile = "", seedText = "1", firstText = "0", callsText = "1000", log = "/dev/null", only = ""] =
  process.argv.slice(2);
const api: ApiShape = JSON.parse(readFileSync(shapeFile, "utf8"));
const seed = Number(seedText);
const first = Number(firstText);
const calls = Number(callsText);
const logFd = openSync(log, "w");
const doors: Record<string, unknown> = {
  ...dma,
  ...emulator,
  ...host,
  ...iommufd,
  ...nvmeDoor,
  ...pci,
  ...vfio,
  ...vfioUser,
  ...index,
};

/** How often the world is made anew. */
const WORLD_CALLS = 1000;
/** How often the results of asynchronous calls are awaited. */
const BATCH = 16;
/** Instances of a class that are kept. */
const KEPT = 4;
/** A wait that no call ends is ended with the world. */
const GRACE_MS = 20;
/** What may stay open longest after everything was closed. */
const HANG_MS = 540_000;
const MOST_BYTES = 2 ** 24;

const errnoCode = /^E[A-Z0-9]+$/;

/** A fault of the library. */
interface Fault {
  readonly call: number;
  readonly what: string;
  readonly error: string;
}
const faults = new Map<string, Fault>();
let current = "nothing";
let number = first;
let refused = 0;
let returned = 0;

function isDocumented(error: unknown, target: string): boolean {
  if (error instanceof Thrown) return true;
  if (unchecked.test(target))
    return error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError;
  if (error instanceof AggregateError) return error.errors.every((one) => isDocumented(one, target));
  if (error instanceof index.IovaError)
    return errnoCode.test(error.code) || error.code.startsWith("ERR_IOVA_");
  return false;
}

function judge(error: unknown, what = current, call = number): void {
  const target = what.split("(")[0] ?? what;
  if (isDocumented(error, target)) {
    refused++;
    return;
  }
  const text = error instanceof Error ? inspect(error) : `thrown: ${shown(error)}`;
  const place = /\/src\/([^)\n]*)/.exec(text)?.[1] ?? text.split("\n")[0] ?? "";
  const key = `${target} ${place}`;
  if (faults.has(key)) return;
  const fault = { call, what: what.slice(0, 600), error: text.slice(0, 1200) };
  faults.set(key, fault);
  process.stderr.write(`${JSON.stringify(fault)}\n`);
}

/** How Node.js's own streams end when they are aborted, or their reader leaves. */
const streamEnds: readonly unknown[] = ["ABORT_ERR", "ERR_STREAM_PREMATURE_CLOSE"];

function judgeStream(error: unknown, what: string, call: number): void {
  if (!(error instanceof Error && "code" in error && streamEnds.includes(error.code)))
    judge(error, what, call);
}

let isDone = false;
process.on("exit", () => {
  // A promise that nothing can settle any more ends the process.
  if (!isDone)
    writeSync(2, `ended with nothing left to wait for: ${current}; ${[...pending.values()].join("; ")}\n`);
});
process.on("uncaughtException", (error) => {
  if (error.message.includes("EBADF")) throw error;
  judge(error, `in the event loop, after ${current}`);
});
process.on("unhandledRejection", (error) => judge(error, `an unhandled rejection, after ${current}`));
process.on("warning", () => {});

const instances = new Map<string, object[]>();
const numbers: number[] = [];
const bigints: bigint[] = [];
const views: NodeJS.ArrayBufferView[] = [];
let everything: object[] = [];

function bases(className: string): string[] {
  const found: string[] = [];
  for (let name: string | undefined = className; name !== undefined; name = api.classes[name]?.base)
    found.push(name);
  return found;
}

const exportedClasses = new Set(api.exportedNames.filter((name) => api.classes[name] !== undefined));

/** The class that programs know an object by; undefined if the package doesn't export one: programs can't name it. */
function knownAs(value: object): string | undefined {
  const name: unknown = value.constructor?.name;
  return typeof name === "string" ? bases(name).find((base) => exportedClasses.has(base)) : undefined;
}

const live: Live = {
  instances: (className) => everything.filter((one) => bases(one.constructor.name).includes(className)),
  all: () => everything,
  numbers,
  bigints,
  views,
};

function keep<T>(list: T[], value: T, most: number, random: Random): void {
  if (list.length < most) list.push(value);
  else list[random.below(most)] = value;
}

const toClose: object[] = [];
/** Leases that a call holds, dropped with the world: it could never close otherwise. */
const held: object[] = [];

async function end(one: object): Promise<void> {
  try {
    const close: unknown =
      Reflect.get(one, Symbol.asyncDispose) ?? Reflect.get(one, "close") ?? Reflect.get(one, Symbol.dispose);
    if (typeof close === "function") await close.call(one);
  } catch (error) {
    if (error instanceof index.BusyError && !toClose.includes(one)) toClose.push(one);
    judge(error, `${one.constructor.name}.close() at the end`);
  }
}

/** Puts what a call returned among the values of later calls. */
function harvest(value: unknown, random: Random, depth = 0): void {
  if (typeof value === "number") keep(numbers, value, 64, random);
  else if (typeof value === "bigint") keep(bigints, value, 64, random);
  else if (typeof value === "object" && value !== null) {
    if (ArrayBuffer.isView(value)) {
      if (value.byteLength <= 2 ** 20) keep(views, value, 32, random);
    } else if (Array.isArray(value)) {
      if (depth < 2) for (const one of value.slice(0, 8)) harvest(one, random, depth + 1);
    } else if (value instanceof Error || Object.isFrozen(value)) return;
    else {
      const name = knownAs(value);
      if (name !== undefined) {
        const size: unknown = "sizeBytes" in value && name === "MappedMemory" ? value.sizeBytes : 0;
        const list = instances.get(name) ?? [];
        instances.set(name, list);
        if (list.includes(value)) return;
        if (typeof size === "number" && size > MOST_BYTES) {
          void end(value);
          return;
        }
        const gone = list.length < KEPT ? undefined : list.splice(1 + random.below(KEPT - 1), 1)[0];
        list.push(value);
        everything = [...instances.values()].flat();
        if (gone !== undefined && !roots.includes(gone)) void end(gone);
      } else if (Symbol.dispose in value || Symbol.asyncDispose in value || "destroy" in value)
        toClose.push(value);
    }
  }
}

/** One thing that can be called. */
interface Target {
  readonly name: string;
  readonly className?: string;
  readonly parameters: Callable;
  call(receiver: object, values: unknown[]): unknown;
}

/** These would change the machine if they were given a right value, take it for good, or wait as long as they are told. */
function isHarmless(name: string, given: readonly unknown[]): boolean {
  const [limit] = given;
  if (namesHostFunction(given)) return false;
  if (name.endsWith(".waitSync")) return !(typeof limit === "number" && (limit > 20 || limit === -1));
  return name !== "startEmulator";
}

/** What programs construct themselves. Other classes are reached through a method; their constructors check nothing. */
const constructed =
  /^(AddressChooser|Bar|CommandIds|CompletionQueue|ConfigSpace|Dma(Pool|Space)|EmulatedEdu|EventFd|Interrupts|IovaAllocator|Lease|ProtectionInformation|SubmissionQueue|VfioUser(Device|DmaLogging|Mapper|Migration|Server))$/;
/** Public only for other folders of the library, or for Node.js's streams. */
const internal = /^(MappedMemory\.ofRegion|VfioDevice\.fromGroup|.*\._.*|.*\.\[.*)$/;
/** Right values would change the machine that runs this. Tests on trees of files call them. */
const changesHost =
  /^(applySteps|bindPersistently|endPersistentBinding|restoreChanges|grantPermissions|revokePermissions|setHugePages)$/;
/** Fast paths that check nothing, as their documentation says: wrong values have JavaScript's own errors. */
const unchecked =
  /^((read|write)(Whole)?Register\d*|write(Io|Raw)Entry|(Submission|Completion)Queue\..*|CommandIds\.give)$/;

function targets(): Target[] {
  const found: Target[] = [];
  for (const [name, parameters] of Object.entries(api.functions)) {
    const called = doors[name];
    if (typeof called === "function" && !changesHost.test(name))
      found.push({ name, parameters, call: (_, values) => called(...values) });
  }
  for (const name of new Set(api.exported.map((one) => one.name))) {
    const shape = api.classes[name];
    const made = doors[name];
    if (shape === undefined || typeof made !== "function") continue;
    if (shape.construct !== undefined && constructed.test(name)) {
      found.push({
        name: `new ${name}`,
        parameters: shape.construct,
        call: (_, values) => Reflect.construct(made, values),
      });
    }
    for (const [method, parameters] of Object.entries(shape.statics)) {
      if (internal.test(`${name}.${method}`)) continue;
      found.push({
        name: `${name}.${method}`,
        parameters,
        call: (_, values) => Reflect.apply(Reflect.get(made, method), made, values),
      });
    }
  }
  return found;
}

function members(className: string): Target[] {
  const found: Target[] = [];
  const seen = new Set<string>();
  for (const base of bases(className)) {
    const shape: ClassShape | undefined = api.classes[base];
    if (shape === undefined) continue;
    const add = (name: string, target: Omit<Target, "className" | "name">): void => {
      if (seen.has(name) || internal.test(`${className}.${name}`)) return;
      seen.add(name);
      found.push({ name: `${className}.${name}`, className, ...target });
    };
    for (const [name, parameters] of Object.entries(shape.methods)) {
      add(name, {
        parameters,
        call: (receiver, values) => Reflect.apply(Reflect.get(receiver, name), receiver, values),
      });
    }
    for (const name of shape.readable)
      add(name, { parameters: [], call: (receiver) => Reflect.get(receiver, name) });
    for (const [name, parameters] of Object.entries(shape.setters)) {
      add(`${name}=`, { parameters, call: (receiver, values) => Reflect.set(receiver, name, values[0]) });
    }
  }
  return found;
}

const fixed = targets();
const membersOf = new Map<string, Target[]>();
for (const name of exportedClasses) membersOf.set(name, members(name));

const started: emulator.RunningEmulator[] = [];
const roots: object[] = [];
const pending = new Map<Promise<unknown>, string>();
const program = new URL("../../src/emulator/worker-main.js", import.meta.url);

/** A server notices a little later that its client has gone, and answers late on a busy machine. */
async function opening<T>(open: () => Promise<T>): Promise<T> {
  for (let left = 200; ; left--) {
    try {
      return await open();
    } catch (error) {
      const isLate = error instanceof index.BusyError || error instanceof index.TimeoutError;
      if (!isLate || left === 0) throw error;
      await sleep(50);
    }
  }
}

async function startWorld(random: Random): Promise<void> {
  const [nvme, edu] = started;
  if (nvme === undefined || edu === undefined) throw new Error("no emulators");
  await nvme.order({ kind: "clearFaults" });
  const vfioUser = { timeoutMs: 2000 };
  const controller = await opening(() =>
    index.NvmeController.open(nvme.address, { timeoutMs: 2000, queues: 2, vfioUser }),
  );
  const device = await opening(async () => index.PciDevice.open(edu.address, { vfioUser }));
  roots.push(controller, device);
  const emulated = emulator.EmulatedNvme.create({ sizeBytes: 2 ** 20 }, false);
  const emulatedEdu = new emulator.EmulatedEdu();
  for (const one of [controller, device, emulated, emulatedEdu]) harvest(one, random);
  harvest(await controller.namespace(1), random);
  harvest(new index.DmaPool(device.dma, { slabBytes: 65536, maxBytes: 2 ** 20 }), random);
  harvest(new vfio.EventFd(), random);
  harvest(index.MappedMemory.memfd(65536), random);
  harvest(device.dma.alloc(65536), random);
  harvest(controller.dma.alloc(65536), random);
}

async function settle(): Promise<void> {
  if (pending.size > 0) await Promise.race([Promise.allSettled(pending.keys()), sleep(GRACE_MS)]);
  // Callbacks and timers.
  await new Promise((resolve) => setImmediate(resolve));
}

async function endWorld(): Promise<void> {
  current = "the end of the world";
  for (const lease of held.splice(0)) {
    try {
      if ("drop" in lease && typeof lease.drop === "function") lease.drop();
    } catch (error) {
      judge(error, "Lease.drop() at the end");
    }
  }
  for (const one of toClose.splice(0)) {
    if ("destroy" in one && typeof one.destroy === "function") one.destroy();
    else await end(one);
  }
  // Twice: something may be in flight at first.
  for (const one of [...everything.reverse(), ...roots, ...everything, ...roots.splice(0)]) {
    current = `closing ${one.constructor.name}`;
    await end(one);
    checkOwnDescriptor();
  }
  const over = new AbortController();
  const hung = sleep(HANG_MS, "hung", { signal: over.signal }).catch(() => "over");
  if ((await Promise.race([Promise.allSettled(pending.keys()), hung])) === "hung") {
    judge(
      new Error(`never settled: ${[...pending.values()].slice(0, 5).join("; ")}`),
      "the end of the world",
    );
    pending.clear();
  }
  over.abort();
  instances.clear();
  everything = [];
  views.length = 0;
}

async function consume(result: object): Promise<void> {
  const iterator: unknown = Reflect.get(result, Symbol.asyncIterator);
  if (typeof iterator !== "function") return;
  let left = 3;
  for await (const one of result as AsyncIterable<unknown>) {
    void one;
    if (--left === 0) break;
  }
}

let depth = 0;

function make(random: Random): void {
  const wrongness = random.pick([0, 0.03, 0.15, 0.4]);
  const values = new Values(random, api, live, strings, nested(random), wrongness);
  let target: Target | undefined;
  let receiver: object = {};
  if (everything.length === 0 || random.chance(0.12)) target = random.pick(fixed);
  else {
    // By class first: there may be many of one.
    receiver = random.pick(random.pick([...instances.values()]));
    const found = membersOf.get(knownAs(receiver) ?? "") ?? [];
    if (found.length === 0) return;
    target = random.pick(found);
    if (/\.(close|closeAsync|relinquish|shutdown|end)$/.test(target.name) && random.chance(0.8)) return;
  }
  if (!new RegExp(only).test(target.name)) return;
  const given = values.arguments(target.parameters);
  if (!isHarmless(target.name, given)) return;
  if (given.some(isHuge)) return;
  const what = `${target.name}(${given.map((one) => shown(one)).join(", ")})`;
  const call = number;
  if (depth === 0) {
    current = what;
    writeSync(logFd, `${call} ${what}`.slice(0, 1000).padEnd(1000), 0);
  }
  const known = (result: unknown): void => {
    returned++;
    harvest(result, random);
  };
  try {
    const result: unknown = target.call(receiver, given);
    if (target.name.endsWith(".hold")) held.push(receiver);
    if (result instanceof Promise) {
      const watched: Promise<unknown> = result
        .then(known, (error: unknown) => judge(error, what, call))
        .then(() => pending.delete(watched));
      pending.set(watched, what);
    } else {
      known(result);
      if (result instanceof Stream) result.on("error", (error: unknown) => judgeStream(error, what, call));
      if (typeof result === "object" && result !== null && Symbol.asyncIterator in result) {
        const watched: Promise<unknown> = consume(result)
          .catch((error: unknown) => judgeStream(error, what, call))
          .then(() => pending.delete(watched));
        pending.set(watched, what);
      }
    }
  } catch (error) {
    judge(error, what, call);
  }
}

/** A descriptor of the program itself: the library must not close it. */
function checkOwnDescriptor(): void {
  try {
    fstatSync(1);
  } catch (error) {
    process.stderr.write(`standard output was closed by ${current}\n`);
    throw error;
  }
}

/** Whether it asks for so much memory, now, that the machine would have none left. */
function isHuge(value: unknown, _index: number, all: readonly unknown[]): boolean {
  if (typeof value !== "object" || value === null) return false;
  try {
    const wanted = [
      "populate",
      "lock",
      "transparentHugePages",
      "numaNode",
      "hugePageBytes",
      "prefill",
      "pages",
    ];
    const reads = wanted.some((name) => Reflect.get(value, name) !== undefined);
    return reads && all.some((one) => typeof one === "number" && one > MOST_BYTES);
  } catch {
    return false;
  }
}

/** A call in a callback. */
function nested(random: Random): () => unknown {
  return () => {
    if (depth > 2) return undefined;
    depth++;
    try {
      make(random);
    } finally {
      depth--;
    }
    return random.chance(0.5)
      ? undefined
      : random.pick([1, "", null, Promise.reject(new Thrown("later")).catch(() => {})]);
  };
}

const strings = [
  "",
  "a",
  "file",
  freeAddress(0),
  freeAddress(0xffff),
  "normal",
  "7",
  "/dev/null/x",
  `vfio-user:${process.cwd()}/none`,
];
const socket = (name: string): string => `${process.cwd()}/${name}`;
const options = {
  sizeBytes: 2 ** 24,
  vectors: 5,
  cmbBytes: 2 ** 16,
  anaGroups: 2,
  powerStates: 5,
  capacityBytes: 2 ** 25,
  hostMemoryBytes: 2 ** 16,
};
/** The emulators of the world, and two whose addresses calls get. */
async function startEmulators(): Promise<void> {
  started.push(await emulator.startEmulator({ socket: socket("nvme"), device: "nvme", options }, program));
  started.push(await emulator.startEmulator({ socket: socket("edu"), device: "edu", options: {} }, program));
  const spare = { sizeBytes: 2 ** 20 };
  started.push(await emulator.startEmulator({ socket: spareNvme, device: "nvme", options: spare }, program));
  started.push(await emulator.startEmulator({ socket: spareEdu, device: "edu", options: {} }, program));
}
const spareNvme = socket("spare-nvme");
const spareEdu = socket("spare-edu");
strings.push(spareNvme, spareEdu, `vfio-user:${spareNvme}`, `vfio-user:${spareEdu}`);
await startEmulators();

while (number < first + calls) {
  const random = new Random(seed * 7919 + number);
  try {
    await startWorld(random);
  } catch (error) {
    // Calls may have deleted the namespace, closed an emulator, or left something open that keeps the server.
    judge(error, `the world that began before call ${number}`);
    for (const one of started.splice(0)) await one.close();
    await startEmulators();
    await startWorld(random);
  }
  const last = Math.min(first + calls, number + WORLD_CALLS);
  while (number < last) {
    make(new Random(Math.imul(seed, 0x9e3779b1) ^ (number + 1)));
    checkOwnDescriptor();
    number++;
    if (number % BATCH === 0) await settle();
  }
  await endWorld();
}
for (const one of started) await one.close();
isDone = true;
process.stdout.write(JSON.stringify({ calls, returned, refused, faults: [...faults.values()] }));

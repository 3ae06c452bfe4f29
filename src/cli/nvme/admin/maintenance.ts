/** `iova nvme fw-download`, `sanitize`, `device-self-test`, `security-send`, ...: maintenance of a controller. */
import { setTimeout as sleep } from "node:timers/promises";
import { FirmwareAction } from "../../../nvme/admin/firmware.js";
import { LockdownInterface, LockdownScope } from "../../../nvme/admin/lockdown.js";
import { SanitizeAction } from "../../../nvme/admin/maintenance.js";
import { DirectiveType } from "../../../nvme/spec/directives.js";
import { SelfTestCode, SelfTestResult } from "../../../nvme/spec/log-pages.js";
import { BROADCAST_NSID } from "../../../nvme/spec/opcodes.js";
import { maintenanceDescriptions } from "../../described/nvme/maintenance.js";
import { interruptible } from "../../interruptible.js";
import { print } from "../../terminal.js";
import { type Arguments, commands } from "../command.js";
import { nameOf } from "../names.js";
import { namespaceId } from "../open.js";
import { bytesResult } from "./data.js";

/** A key of a table by its number. @throws ConfigError */
function keyOf<T extends Readonly<Record<string, number>>, N extends string>(
  args: Arguments<N>,
  option: N,
  table: T,
  fallback?: number,
): keyof T & string {
  const number = args.number(option) ?? fallback ?? args.missing(option);
  const keys: readonly (keyof T & string)[] = Object.keys(table);
  const found = keys.find((key) => table[key] === number);
  if (found !== undefined) return found;
  throw args.wrong(`--${option} ${number}: expected one of ${Object.values(table).join(", ")}`);
}

function protocolOf(args: Arguments<"secp" | "spsp" | "nssf" | "namespace-id">) {
  return {
    protocol: args.needed("secp", 0xff),
    specific: args.number("spsp", 0xffff),
    nssf: args.number("nssf", 0xff),
    nsid: args.number("namespace-id"),
  };
}

function operationOf(args: Arguments<"dir-type" | "dir-oper" | "dir-spec">) {
  return {
    type: args.needed("dir-type", 0xff),
    operation: args.needed("dir-oper", 0xff),
    specific: args.number("dir-spec", 0xffff),
  };
}

/** Streams directive, Allocate Resources. */
const ALLOCATE = 3;
/** Identify directive, Enable Directive. */
const ENABLE = 1;
const POLL_MS = 250;
/** Sanitize actions that a single namespace has. */
const namespaceActions = {
  exitFailure: SanitizeAction.exitFailure,
  cryptoErase: SanitizeAction.cryptoErase,
  exitVerification: SanitizeAction.exitVerification,
} as const;

export const maintenanceCommands = commands(maintenanceDescriptions, {
  async download(args) {
    const image = (await args.file("fw")) ?? args.missing("fw FILE");
    if (image.length % 4 !== 0)
      throw args.wrong(`--fw: the image has ${image.length} bytes, no multiple of 4`);
    return async (nvme, ask) => {
      await ask(`This sends a firmware image of ${image.length} bytes`);
      await nvme.firmware.download(image);
      return {
        json: { bytes: image.length },
        text: `sent ${image.length} bytes, which fw-commit --fw would commit`,
      };
    };
  },
  async commit(args) {
    const action = keyOf(args, "action", FirmwareAction);
    const slot = args.number("slot", 7);
    const bootPartition = args.number("bpid", 1) === 1 ? 1 : 0;
    const image = await args.file("fw");
    if (image !== undefined && image.length % 4 !== 0)
      throw args.wrong(`--fw: the image has ${image.length} bytes, no multiple of 4`);
    return async (nvme, ask) => {
      await ask(`This changes the controller's firmware (${action}, slot ${slot ?? "of its choice"})`);
      if (image !== undefined) await nvme.firmware.download(image);
      const { needs, overlap } = await nvme.firmware.commit(action, { slot, bootPartition });
      const text = `committed (${action})${needs === "none" ? "" : `; it needs a ${needs}`}`;
      return { json: { action, slot: slot ?? 0, needs, overlap }, text };
    };
  },
  sanitizeNamespace(args) {
    const action = keyOf(args, "sanact", namespaceActions);
    const nsid = args.needed("namespace-id", BROADCAST_NSID - 1, 1);
    const options = { allowUnrestrictedExit: args.has("ause"), verification: args.has("emvs") };
    return async (nvme, ask) => {
      if (action === "cryptoErase") await ask(`This erases all data of namespace ${nsid}`, nsid);
      else await ask(`This ends a state of sanitize (${action})`);
      await nvme.maintenance.sanitizeNamespace(nsid, action, options);
      return { json: { action, nsid }, text: `started ${action} of namespace ${nsid}` };
    };
  },
  sanitize(args) {
    const action = keyOf(args, "sanact", SanitizeAction);
    const options = {
      allowUnrestrictedExit: args.has("ause"),
      noDeallocate: args.has("no-dealloc"),
      verification: args.has("emvs"),
      passes: args.number("owpass", 16, 1),
      pattern: args.number("ovrpat"),
      invert: args.has("oipbp"),
    };
    return async (nvme, ask) => {
      if (action.startsWith("exit")) await ask(`This ends a state of sanitize (${action})`);
      else await ask("This erases all data of the NVM subsystem", "all");
      await nvme.maintenance.sanitize(action, options);
      return { json: { action }, text: `started ${action}: sanitize-log shows how far it is` };
    };
  },
  selfTest(args) {
    const number = args.needed("self-test-code", 15);
    const nsid = args.number("namespace-id") ?? BROADCAST_NSID;
    const code = number === 0 ? undefined : keyOf(args, "self-test-code", SelfTestCode);
    args.asks = code !== undefined;
    const waits = code === "short" || args.has("wait");
    return async (nvme, ask) => {
      await ask(`This starts a self-test (${code})`);
      if (code !== undefined) await nvme.maintenance.selfTest(code, nsid);
      let log = await nvme.logs.selfTest();
      while (waits && log.currentOperation !== 0) {
        await sleep(POLL_MS);
        log = await nvme.logs.selfTest();
      }
      const { currentOperation: operation, completionPercent: percent } = log;
      const last = log.results[0];
      const result =
        last === undefined ? undefined : (nameOf(SelfTestResult, last.result) ?? String(last.result));
      return {
        json: { operation, percent, result },
        text:
          operation === 0
            ? `no test runs; the last one: ${result ?? "none"}`
            : `test ${operation} runs, ${percent} % done`,
      };
    };
  },
  async securitySend(args) {
    const protocol = protocolOf(args);
    const data = (await args.file("file")) ?? args.missing("file FILE");
    return async (nvme, ask) => {
      await ask(`This sends ${data.length} bytes by security protocol ${protocol.protocol}`);
      await nvme.security.send(protocol, data);
      return { json: { length: data.length }, text: `sent ${data.length} bytes` };
    };
  },
  securityReceive(args) {
    const protocol = protocolOf(args);
    const size = args.number("size", 0xffff_ffff, 1) ?? 512;
    return async (nvme) => bytesResult(await nvme.security.receive(protocol, size));
  },
  async directiveSend(args) {
    const operation = operationOf(args);
    const nsid = args.number("namespace-id");
    const target = args.number("target-dir", 0xff) ?? 0;
    const isEnable = operation.type === DirectiveType.identify && operation.operation === ENABLE;
    const cdw12 = isEnable ? (args.number("endir", 1) ?? args.missing("endir N")) | (target << 8) : 0;
    const data = await args.file("input-file");
    return async (nvme, ask) => {
      const id = nsid ?? (await namespaceId(nvme, undefined));
      await ask(`This changes directives of namespace ${id}`);
      const { dw0 } = await nvme.directives.send({ ...operation, nsid: id, cdw12 }, data);
      return { json: { nsid: id, result: dw0 }, text: `done, result ${dw0}` };
    };
  },
  directiveReceive(args) {
    const operation = operationOf(args);
    const nsid = args.number("namespace-id");
    const isAllocation = operation.type === DirectiveType.streams && operation.operation === ALLOCATE;
    args.asks = isAllocation;
    const count = args.number("req-resource", 0xffff) ?? (isAllocation ? args.missing("req-resource N") : 0);
    const size = args.number("data-len", 0xffff_ffff, 4) ?? 4096;
    return async (nvme, ask) => {
      const id = nsid ?? (await namespaceId(nvme, undefined));
      if (!isAllocation) return bytesResult(await nvme.directives.receive({ ...operation, nsid: id }, size));
      await ask(`This allocates ${count} streams to namespace ${id}`);
      const nsa = await nvme.directives.allocateStreams(id, count);
      return { json: { "Namespace Streams Allocated (NSA)": nsa } };
    };
  },
  lockdown(args) {
    const identifier = args.needed("ofi", 0xff);
    const prohibit = args.needed("prhbt", 1) === 1;
    const scope = keyOf(args, "scp", LockdownScope, 0);
    const where = keyOf(args, "ifc", LockdownInterface, 0);
    const uuidIndex = args.number("uuid", 0x7f);
    const what = `${scope} 0x${identifier.toString(16).padStart(2, "0")}`;
    return async (nvme, ask) => {
      await ask(`This ${prohibit ? "prohibits" : "allows"} ${what}`);
      await nvme.lockdown({ scope, identifier, prohibit, interface: where, uuidIndex });
      return {
        json: { scope, identifier, prohibit },
        text: `${prohibit ? "prohibited" : "allowed"} ${what}`,
      };
    };
  },
  capacity(args) {
    const operation = args.needed("operation", 4);
    const element = args.number("element-id", 0xffff) ?? 0;
    const bytes = (BigInt(args.number("cap-upper") ?? 0) << 32n) | BigInt(args.number("cap-lower") ?? 0);
    return async (nvme, ask) => {
      const deletes = operation === 2 || operation === 4;
      const question = `This changes endurance groups or NVM sets (operation ${operation})`;
      await ask(question, deletes ? "all" : undefined);
      const { capacity } = nvme;
      const run = [
        () => capacity.selectConfiguration(element),
        () => capacity.createEnduranceGroup(bytes),
        () => capacity.deleteEnduranceGroup(element),
        () => capacity.createNvmSet(element, bytes),
        () => capacity.deleteNvmSet(element),
      ][operation];
      const id = (await run?.()) ?? element;
      return { json: { id }, text: `done, element ${id}` };
    };
  },
  events(args) {
    const most = args.number("count", undefined, 1);
    const seconds = args.number("seconds", 86_400, 1);
    const asJson = args.has("json") || args.text("output-format") === "json";
    return async (nvme) => {
      let count = 0;
      const end = new AbortController();
      const timer = seconds === undefined ? undefined : setTimeout(() => end.abort(), seconds * 1000);
      try {
        await interruptible(async (interrupted) => {
          const signal = AbortSignal.any([interrupted, end.signal]);
          for await (const event of nvme.events.values({ signal })) {
            const { type, name = null, info, logPage, parameter } = event;
            const page = logPage === 0 ? "" : `, log page 0x${logPage.toString(16).padStart(2, "0")}`;
            print(
              asJson
                ? JSON.stringify({ type, name, info, log_page: logPage, parameter })
                : `${new Date().toISOString()} ${type}: ${name ?? info}${page}`,
            );
            await nvme.events.clear(event);
            if (++count === most) break;
          }
        });
      } catch (error) {
        if (!end.signal.aborted) throw error;
      } finally {
        clearTimeout(timer);
      }
      return undefined;
    };
  },
});

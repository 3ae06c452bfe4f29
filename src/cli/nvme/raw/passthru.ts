/** `iova nvme admin-passthru` and `io-passthru`: any command by its dwords. */
import { ArgumentError, IovaError } from "../../../core/errors.js";
import type { NvmeCommand } from "../../../nvme/command/command.js";
import { NvmeError } from "../../../nvme/command/error.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { AdminOpcode, IoOpcode } from "../../../nvme/spec/opcodes.js";
import { passthruDescriptions } from "../../described/nvme/passthru.js";
import { printAside } from "../../terminal.js";
import { type Arguments, commands, type Work } from "../command.js";
import { openSink, STANDARD } from "../commands/data-file.js";
import { nameOf } from "../names.js";
import { namespaceId } from "../open.js";
import { hexDump, type Json, pairs } from "../output.js";
import type { Destroyed } from "../unused.js";

/** Bits 1:0 of an opcode. */
const TO_CONTROLLER = 1;
const TO_HOST = 2;
const MOST_BYTES = 64 << 20;
/** The first vendor-specific opcodes, whose effects nobody knows. */
const VENDOR = { admin: 0xc0, io: 0x80 } as const;

/** Commands without received data that change nothing. */
const harmless: Readonly<Record<Kind, readonly number[]>> = {
  admin: [AdminOpcode.keepAlive],
  io: [IoOpcode.flush, IoOpcode.cancel, IoOpcode.compare, IoOpcode.verify],
};

/** I/O commands that destroy data. */
const destructive: readonly number[] = [
  IoOpcode.write,
  IoOpcode.writeUncorrectable,
  IoOpcode.writeZeroes,
  IoOpcode.datasetManagement,
  IoOpcode.copy,
  IoOpcode.zoneManagementSend,
  IoOpcode.zoneAppend,
];
/** Admin commands that destroy data, which may reach more than their namespace, by values of CDW10 bits 3:0; all without. */
const destructiveAdmin = new Map<number, readonly number[] | undefined>([
  [AdminOpcode.formatNvm, undefined],
  [AdminOpcode.sanitize, undefined],
  [AdminOpcode.sanitizeNamespace, undefined],
  [AdminOpcode.namespaceManagement, [1]],
  [AdminOpcode.capacityManagement, [2, 4]],
]);

/** Whose data a command destroys. Nobody knows what vendor-specific ones do. */
function destroyedBy(kind: Kind, { opcode, nsid, words: { cdw10 = 0 } }: Prepared): Destroyed | undefined {
  if (kind === "io") return destructive.includes(opcode) ? (nsid ?? "all") : undefined;
  const does = destructiveAdmin.has(opcode) && (destructiveAdmin.get(opcode)?.includes(cdw10 & 0xf) ?? true);
  return does ? "all" : undefined;
}

/** Commands that would take the driver's queues, or never complete. */
const ofDriver = new Map<number, string>([
  [AdminOpcode.deleteIoSubmissionQueue, "the driver makes and deletes queues"],
  [AdminOpcode.createIoSubmissionQueue, "the driver makes and deletes queues"],
  [AdminOpcode.deleteIoCompletionQueue, "the driver makes and deletes queues"],
  [AdminOpcode.createIoCompletionQueue, "the driver makes and deletes queues"],
  [AdminOpcode.doorbellBufferConfig, "the driver has its own doorbells"],
  [AdminOpcode.asyncEventRequest, "iova nvme events waits for events"],
]);

type Kind = "admin" | "io";
type Option = Extract<keyof typeof passthruDescriptions.admin.options, string>;
const words = ["cdw2", "cdw3", "cdw10", "cdw11", "cdw12", "cdw13", "cdw14", "cdw15"] as const;

/** A command line that is right. */
interface Prepared {
  readonly opcode: number;
  readonly name: string | undefined;
  readonly nsid: number | undefined;
  readonly words: Readonly<Record<string, number | undefined>>;
  readonly direction: number;
  readonly data: Uint8Array | undefined;
  readonly metadata: Uint8Array | undefined;
}

/** Bytes to send, or room for what is received. @throws ConfigError if lengths differ */
function bytesOf(
  args: Arguments<Option>,
  option: "data-len" | "metadata-len",
  sent: Uint8Array | undefined,
  sends: boolean,
): Uint8Array | undefined {
  const length = args.number(option, MOST_BYTES) ?? sent?.length ?? 0;
  if (sends && sent === undefined && length > 0)
    throw args.wrong(`--${option} ${length}: no data to send is given`);
  if (sent !== undefined && sent.length !== length)
    throw args.wrong(`--${option} ${length}: the data to send has ${sent.length} bytes`);
  return sent ?? (length === 0 ? undefined : new Uint8Array(length).fill(args.number("prefill", 0xff) ?? 0));
}

function hexBytes(args: Arguments<Option>): Uint8Array | undefined {
  const digits = args.text("data-hex")?.replace(/^0x|[\s:]/gi, "");
  if (digits === undefined) return undefined;
  if (/^([0-9a-f]{2})+$/i.test(digits)) return Buffer.from(digits, "hex");
  throw args.wrong(`--data-hex: expected pairs of hexadecimal digits, such as 00ff`);
}

/** Checks the command line. @throws ConfigError */
async function prepared(kind: Kind, args: Arguments<Option>): Promise<Prepared> {
  const opcode = args.needed("opcode", 0xff);
  const reason = kind === "admin" ? ofDriver.get(opcode) : undefined;
  if (reason !== undefined) throw args.wrong(`--opcode ${opcode}: ${reason}`);
  const direction = opcode & (TO_CONTROLLER | TO_HOST);
  const [reads, writes] = [args.has("read"), args.has("write")];
  if (reads && writes) throw args.wrong("--read or --write, not both");
  const asked = reads ? TO_HOST : writes ? TO_CONTROLLER : direction;
  if ((asked & direction) === 0 && (reads || writes))
    throw args.wrong(
      `--opcode ${opcode}: bits 1:0 say that data goes ${["nowhere", "to the controller", "to the host"][direction]}`,
    );
  const sends = (asked & TO_CONTROLLER) !== 0;
  const hex = hexBytes(args);
  if (hex !== undefined && args.text("input-file") !== undefined)
    throw args.wrong("--data-hex or --input-file, not both");
  if (!sends && hex !== undefined) throw args.wrong(`--data-hex: the command sends no data`);
  const isChange =
    opcode >= VENDOR[kind] || !(direction === TO_HOST || harmless[kind].some((each) => each === opcode));
  args.asks = isChange && !args.has("dry-run");
  const data = bytesOf(args, "data-len", sends ? (hex ?? (await args.file("input-file"))) : undefined, sends);
  const metadata = bytesOf(args, "metadata-len", sends ? await args.file("metadata") : undefined, sends);
  if (direction === 0 && data !== undefined)
    throw args.wrong(`--data-len: opcode ${opcode} transfers no data`);
  for (const option of ["input-file", "metadata"] as const) {
    const isUsed = option === "metadata" ? metadata : data;
    if (!sends && args.text(option) === STANDARD)
      throw args.wrong(`--${option} -: received data goes to standard output with --raw-binary`);
    if (args.text(option) !== undefined && isUsed === undefined)
      throw args.wrong(`--${option}: the command transfers nothing; give a length`);
  }
  return {
    opcode,
    name: nameOf(kind === "admin" ? AdminOpcode : IoOpcode, opcode),
    nsid: args.number("namespace-id"),
    words: Object.fromEntries(words.map((word) => [word, args.number(word)])),
    direction: asked,
    data,
    metadata,
  };
}

/** The command as it is shown. */
function shown({
  opcode,
  nsid = 0,
  words: given,
  data,
  metadata,
  direction,
}: Prepared): Readonly<Record<string, Json>> {
  return {
    opcode,
    nsid,
    ...Object.fromEntries(words.map((word) => [word, given[word] ?? 0])),
    data_len: data?.length ?? 0,
    metadata_len: metadata?.length ?? 0,
    direction: ["none", "write", "read", "both"][direction] ?? "none",
  };
}

function hexDigits(number: number, digits: number): string {
  return number.toString(16).padStart(digits, "0");
}

function shownText(given: Prepared): string {
  return pairs(
    Object.entries(shown(given)).map(([name, each]) => [
      name,
      typeof each === "number" && !name.endsWith("len") ? `0x${hexDigits(each, 2)}` : String(each),
    ]),
  );
}

async function send(nvme: NvmeController, kind: Kind, given: Prepared) {
  const { opcode, name, words: dwords, direction, data, metadata } = given;
  for (const bytes of [data, metadata]) {
    if (bytes !== undefined && bytes.length > nvme.maxTransferBytes)
      throw new ArgumentError(
        `${bytes.length} bytes are more than one command of ${nvme.bdf} transfers: ${nvme.maxTransferBytes}`,
      );
  }
  const nsid = given.nsid ?? (kind === "io" ? await namespaceId(nvme, undefined) : 0);
  const buffers = [data, metadata].map((bytes) => {
    if (bytes === undefined) return undefined;
    const buffer = nvme.dma.alloc(bytes.length);
    buffer.bytes.set(bytes);
    return buffer;
  });
  try {
    const [buffer, tags] = buffers;
    const whole: NvmeCommand = {
      opcode,
      name,
      nsid,
      ...dwords,
      data: buffer === undefined ? undefined : { buffer, length: data?.length ?? 0 },
      metadata: tags === undefined ? undefined : { buffer: tags, length: metadata?.length ?? 0 },
    };
    const began = performance.now();
    const completion = await (kind === "admin" ? nvme.admin(whole) : nvme.io(whole));
    const microseconds = Math.round((performance.now() - began) * 1000);
    const received = (direction & TO_HOST) === 0 ? [] : buffers;
    const [bytes, metadataBytes] = received.map((each, index) =>
      each?.bytes.slice(0, (index === 0 ? data : metadata)?.length),
    );
    return { completion, microseconds, bytes, metadataBytes };
  } catch (error) {
    // What the status means, and where the controller says more.
    if (!(error instanceof NvmeError) || error.meaning === "") throw error;
    const { message, meaning, doNotRetry, more } = error;
    const notes = [
      ...(doNotRetry ? ["do not retry"] : []),
      ...(more ? ["iova nvme error-log has more"] : []),
    ];
    const after = notes.length === 0 ? "" : ` (${notes.join("; ")})`;
    throw new IovaError("ERR_IOVA_NVME", `${message}: ${meaning.replace(/\.$/, "")}${after}`, {
      cause: error,
    });
  } finally {
    for (const buffer of buffers) buffer?.close();
  }
}

async function save(path: string | undefined, bytes: Uint8Array | undefined): Promise<boolean> {
  if (path === undefined || bytes === undefined) return false;
  await using sink = await openSink(path);
  await sink.write(bytes);
  return true;
}

async function passthru(kind: Kind, args: Arguments<Option>) {
  const given = await prepared(kind, args);
  if (args.has("dry-run")) return { json: shown(given), text: shownText(given) };
  const { name, opcode, direction } = given;
  const what = `${kind === "admin" ? "admin" : "I/O"} command 0x${hexDigits(opcode, 2)} (${name ?? "unknown"})`;
  const work: Work = async (nvme, ask) => {
    if (args.has("show-command")) printAside(shownText(given));
    await ask(`This sends the ${what}`, destroyedBy(kind, given));
    const { completion, microseconds, bytes, metadataBytes } = await send(nvme, kind, given);
    const { dw0, dw1 } = completion;
    const isSaved = direction === TO_HOST && (await save(args.text("input-file"), bytes));
    await save(args.text("metadata"), metadataBytes);
    const hasTime = args.has("latency");
    const results = [dw0, ...(dw1 === 0 ? [] : [dw1])].map((each) => `0x${hexDigits(each, 8)}`);
    return {
      json: {
        opcode,
        result: dw0,
        result1: dw1,
        latency_us: hasTime ? microseconds : undefined,
        data: bytes === undefined ? undefined : Buffer.from(bytes).toString("hex"),
        metadata: metadataBytes === undefined ? undefined : Buffer.from(metadataBytes).toString("hex"),
      },
      text: [
        `${what} succeeded, result ${results.join(", ")}${hasTime ? `, after ${microseconds} µs` : ""}`,
        ...(bytes === undefined || isSaved ? [] : [hexDump(bytes)]),
      ].join("\n"),
      ...(bytes === undefined || isSaved ? {} : { bytes }),
    };
  };
  return work;
}

export const passthruCommands = commands(passthruDescriptions, {
  admin: (args) => passthru("admin", args),
  io: (args) => passthru("io", args),
});

/** The server that lends functions, and what clients may send to it. No function is lent here: that needs VFIO (guest tests). */
import { statSync } from "node:fs";
import { devNull } from "node:os";
import { setTimeout } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ArgumentError, BusyError, IovaError, SysError } from "../../../src/core/errors.js";
import {
  type DeviceDescriptors,
  DeviceServer,
  type LendingEvent,
  type LendingRule,
  listPciFunctions,
  PciDevice,
} from "../../../src/doors/pci.js";
import { VfioContainer, VfioDevice, VfioGroup } from "../../../src/doors/vfio.js";
import { parseServed } from "../../../src/lending/address.js";
import { Loan } from "../../../src/lending/borrow.js";
import { grantLine, requestLine } from "../../../src/lending/messages.js";
import { checkDescriptors } from "../../../src/pci/backends/given.js";
import { close, memfd } from "../../../src/sys/syscalls.js";
import { UnixSocket } from "../../../src/sys/unix-socket.js";
import { caught } from "../../support/caught.js";
import { Child } from "../../support/child.js";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { socketPath } from "../../support/emulators.js";
import { eventually } from "../../support/eventually.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";

expectNothingLeftSoon();

const ABSENT = "0000:ff:1f.7";
const OTHER = "0000:ff:1f.6";
const uid = process.getuid?.() ?? 0;
const SHORT_MS = 50;
const LENDER = "test/unit/fixtures/odd-lender.ts";

let server: DeviceServer;
let events: LendingEvent[];

function serve(rules: readonly LendingRule[], requestTimeoutMs = 600_000): void {
  events = [];
  server = new DeviceServer(socketPath(), {
    rules,
    requestTimeoutMs,
    onEvent: (event) => events.push(event),
  });
}

beforeEach(() => serve([{ devices: [ABSENT], uids: [uid] }]));
afterEach(() => server.close());

const reasons = (): string[] => events.map((event) => (event.kind === "refused" ? event.reason : event.kind));

/** Sends bytes, and waits for the end of the connection. @returns what was received */
async function answerTo(bytes: Uint8Array, fds: readonly number[] = []): Promise<string> {
  using socket = await connected();
  if (bytes.length > 0) socket.send(bytes, fds, 1000);
  return await untilEnd(socket);
}

async function untilEnd(socket: UnixSocket): Promise<string> {
  const target = Buffer.alloc(8192);
  let text = "";
  for (;;) {
    const received = socket.receive(target);
    if (received === undefined) await setTimeout(1);
    else if (received.count === 0) return text;
    else text += target.toString("utf8", 0, received.count);
  }
}

/** A connection to the server, whose queue takes a few at a time. */
async function connected(): Promise<UnixSocket> {
  return await eventually(() => {
    try {
      return UnixSocket.connect(server.path);
    } catch (error) {
      if (error instanceof SysError && error.code === "EAGAIN") return undefined;
      throw error;
    }
  });
}

/** Bytes outside V8's moving heap. */
function bytesOf(text: string): Buffer {
  const bytes = Buffer.alloc(Buffer.byteLength(text));
  bytes.write(text);
  return bytes;
}

describe("a request", () => {
  test("of a user whom no rule names is refused, whether the function exists or not", async () => {
    server.close();
    serve([{ devices: [OTHER], uids: [uid + 1] }]);
    for (const bdf of [ABSENT, "0000:00:00.0"]) {
      const answer: unknown = JSON.parse(await answerTo(requestLine({ open: bdf })));
      expect(answer).toMatchObject({ iova: 1, name: "SysError", code: "EACCES" });
      expect(answer).toMatchObject({ error: expect.stringContaining(bdf) });
    }
    expect(reasons()).toHaveLength(2);
  });

  test("for a function that isn't there is refused with the reason", async () => {
    const answer: unknown = JSON.parse(await answerTo(requestLine({ open: ABSENT })));
    expect(answer).toMatchObject({ code: "ERR_IOVA_ARGUMENT", error: expect.stringContaining(ABSENT) });
  });

  test.each([
    ["that is no JSON", "hello\n", "ERR_IOVA_CONFIG"],
    ["that is another type", "[1]\n", "ERR_IOVA_CONFIG"],
    ["of another protocol", '{"iova":2,"open":"0000:00:00.0"}\n', "ERR_IOVA_CONFIG"],
    ["with a member more", `{"iova":1,"open":"${ABSENT}","as":"root"}\n`, "ERR_IOVA_CONFIG"],
    ["for another backend", `{"iova":1,"open":"${ABSENT}","backend":"noiommu"}\n`, "ERR_IOVA_CONFIG"],
    ["for a path", '{"iova":1,"open":"../../../dev/sda"}\n', "ERR_IOVA_ARGUMENT"],
    ["for a long name", `{"iova":1,"open":"${"0".repeat(100)}"}\n`, "ERR_IOVA_CONFIG"],
    ["with bytes that are no text", "\u0000\u0001\n", "ERR_IOVA_CONFIG"],
  ])("%s is refused with an error that says why", async (_, line, code) => {
    expect(JSON.parse(await answerTo(bytesOf(line)))).toMatchObject({ iova: 1, code });
    expect(events).toMatchObject([{ kind: "refused", pid: process.pid, uid }]);
  });

  test.each([
    ["longer than a line may be", "x".repeat(5000), "it sent a line of more than 4096 bytes"],
    ["followed by another", `${"{}\n".repeat(2)}`, "it sent more than one line"],
  ])("%s ends the connection", async (_, text, reason) => {
    expect(await answerTo(bytesOf(text))).toBe("");
    expect(reasons()).toEqual([reason]);
  });

  test("with descriptors ends the connection, and none stays open", async () => {
    const fd = memfd("sent", 4096);
    try {
      expect(await answerTo(requestLine({ open: ABSENT }), [fd, fd])).toBe("");
      expect(await answerTo(requestLine({ open: ABSENT }), Array<number>(50).fill(fd))).toBe("");
    } finally {
      close(fd);
    }
    expect(reasons()).toEqual(["it sent descriptors", "it sent more than 2 descriptors"]);
  });

  test("that doesn't come in time ends the connection, also when bytes drip in", async () => {
    server.close();
    serve([{ devices: [ABSENT], uids: [uid] }], SHORT_MS);
    expect(await answerTo(Buffer.alloc(0))).toBe("");
    expect(await answerTo(bytesOf('{"iova":1,'))).toBe("");
    expect(reasons()).toEqual(Array<string>(2).fill(`no request within ${SHORT_MS} ms`));
  });

  test("of a client that has gone meanwhile leaves nothing behind", async () => {
    for (let i = 0; i < 20; i++) {
      const socket = await connected();
      socket.send(requestLine({ open: ABSENT }), [], 1000);
      socket.close();
    }
    await eventually(() => (events.length === 20 ? true : undefined));
  });
});

test("many silent connections don't keep others out: the oldest end", async () => {
  const silent: UnixSocket[] = [];
  while (silent.length < 80) {
    silent.push(await connected());
  }
  expect(JSON.parse(await answerTo(requestLine({ open: ABSENT })))).toMatchObject({ iova: 1 });
  await eventually(() => (events.length > 16 ? true : undefined));
  expect(new Set(reasons().slice(0, -1))).toEqual(new Set(["too many others connected"]));
  for (const socket of silent) socket.close();
});

test("the socket lets everybody connect, or whom `mode` says, and is removed with the server", () => {
  expect(statSync(server.path).mode & 0o777).toBe(0o666);
  const path = socketPath();
  const other = new DeviceServer(path, { rules: [{ devices: [ABSENT], gids: [1] }], mode: 0o600 });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(other.lent).toEqual([]);
  expect(() => new DeviceServer(path, { rules: [{ devices: [ABSENT], gids: [1] }] })).toThrow(BusyError);
  other.close();
  expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
});

test.each([
  [[], "without a rule nobody could borrow anything"],
  [[{ devices: [], uids: [1] }], "rules[0] names no device"],
  [[{ devices: [ABSENT] }], "rules[0] names nobody"],
  [[{ devices: ["nvme0"], uids: [1] }], '"nvme0" is no PCI address'],
  [[{ devices: [ABSENT], uids: [-1] }], "rules[0].uids[0]"],
  [[{ devices: [ABSENT], gids: [1.5] }], "rules[0].gids[0]"],
])("rules that can't be meant are ArgumentErrors: %j", (rules, message) => {
  const path = socketPath();
  expect(() => new DeviceServer(path, { rules })).toThrow(ArgumentError);
  expect(() => new DeviceServer(path, { rules })).toThrow(message);
  expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
});

describe("a client", () => {
  let programs: CompiledTree;
  beforeAll(() => {
    programs = compileTree(LENDER);
  });
  afterAll(() => programs[Symbol.dispose]());

  /** What a client throws whose server, in another process, answers so. */
  async function answered(answer: Uint8Array, count: number): Promise<Error> {
    const path = socketPath();
    const lender = new Child(
      programs.file(LENDER),
      path,
      Buffer.from(answer).toString("base64"),
      String(count),
    );
    await lender.says("listening");
    try {
      return await caught(() => Loan.of({ socket: path, bdf: ABSENT }));
    } finally {
      expect(await lender.ended).toBe(0);
    }
  }

  test("throws the server's error, with its class and code", async () => {
    const line = await answerTo(requestLine({ open: ABSENT }));
    const error = await answered(bytesOf(line), 0);
    expect(error).toBeInstanceOf(ArgumentError);
    expect(error.message).toContain(ABSENT);
  });

  test.each([
    ["answers something else", bytesOf("HTTP/1.1 400 Bad Request\n"), 0, "answer"],
    ["sends no descriptors", grantLine("iommufd"), 0, "0 descriptors in place of 2"],
    ["sends one descriptor", grantLine("type1"), 1, "1 descriptors in place of 2"],
    ["sends many descriptors", grantLine("type1"), 9, "more than 2 descriptors"],
    ["hangs up", Buffer.alloc(0), 0, "hung up before it answered"],
    ["never ends its line", bytesOf("x".repeat(9000)), 0, "a line of more than 4096 bytes"],
  ])("of a server that %s gets an error, and nothing stays open", async (_, answer, count, message) => {
    const error = await answered(answer, count);
    expect(error).toBeInstanceOf(IovaError);
    expect(error.message).toContain(message);
  });

  test("without a server, or with an address that lacks something, gets an error that says so", () => {
    const open = (address: string) => () => PciDevice.open(address);
    expect(open("served:/run/iova.sock")).toThrow(ArgumentError);
    expect(open("served:@")).toThrow("write it as served:/path/of/socket@0000:00:03.0");
    expect(open("served:/run/iova.sock@nvme0")).toThrow(ArgumentError);
    expect(() => Loan.of({ socket: "/nowhere/sock", bdf: ABSENT })).toThrow(SysError);
  });
});

describe("descriptors from elsewhere", () => {
  test.each([
    [{}, "a `device` (for iommufd) or a `group` (for type1)"],
    [{ group: 0, deviceId: 1 }, 'no option "deviceId"'],
    [{ device: 0, group: 1 }, 'no option "group"'],
    [{ device: 0, deviceId: 1 }, "need the iommufd"],
    [{ group: 0, iommu: "type1v2" }, "need the `container`"],
  ])("that can't be meant are an ArgumentError: %j", (descriptors, message) => {
    const [first] = listPciFunctions();
    // Without any function the address is what is wrong.
    const bdf = first?.bdf ?? ABSENT;
    const open = () => PciDevice.open(bdf, { descriptors: descriptors as DeviceDescriptors });
    expect(open).toThrow(ArgumentError);
    expect(() => checkDescriptors(descriptors as DeviceDescriptors)).toThrow(message);
  });

  test("that are something else are ArgumentErrors, and stay the caller's", () => {
    const fd = memfd("no VFIO", 4096);
    try {
      for (const make of [
        () => VfioDevice.fromFd(fd),
        () => VfioGroup.fromFd(fd),
        () => VfioContainer.fromFd(fd),
        () => VfioDevice.fromFd(0x7fff_fff0),
        () => VfioGroup.fromFd(0x7fff_fff0),
        () => VfioContainer.fromFd(-1),
      ])
        expect(make).toThrow(ArgumentError);
    } finally {
      close(fd);
    }
  });
});

test("an address of a served function has a socket and a PCI address", () => {
  expect(parseServed("served:/run/a@b.sock@0000:00:03.0")).toEqual({
    socket: "/run/a@b.sock",
    bdf: "0000:00:03.0",
  });
  expect(parseServed("0000:00:03.0")).toBeUndefined();
  expect(() => parseServed(`served:${devNull}`)).toThrow(ArgumentError);
});

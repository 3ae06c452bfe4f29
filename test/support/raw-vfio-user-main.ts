/** The thread of {@link RawServer}: a small vfio-user server that answers wrongly on request. */
import { closeSync, ftruncateSync, openSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { EventFd } from "../../src/sys/eventfd.js";
import { MappedMemory } from "../../src/sys/memory.js";
import { close, memfd } from "../../src/sys/syscalls.js";
import { UnixListener, UnixSocket } from "../../src/sys/unix-socket.js";
import { watchReadable } from "../../src/sys/watch.js";
import { vfio_irq_info, vfio_region_info } from "../../src/vfio/uapi.js";
import { Channel, closeFds, type Message } from "../../src/vfio-user/protocol/channel.js";
import { Command, deviceInfo, regionAccess } from "../../src/vfio-user/protocol/protocol.js";
import { encodeVersion } from "../../src/vfio-user/protocol/version.js";
import { type FdKind, header, type Lie, type RawOrder, type RawReport } from "./raw-vfio-user-message.js";

const BAR_BYTES = 8192;
const MAX_BYTES = 4 * 1024 * 1024;
const SEND_MS = 2000;

const path: string = workerData;
const listener = new UnixListener(path);
const sealed = MappedMemory.memfd(BAR_BYTES);
const small = MappedMemory.memfd(BAR_BYTES / 2);
const eventfd = new EventFd();
const unsealed = memfd("unsealed", BAR_BYTES);
const file = openSync("/proc/self/exe", "r");
const descriptors: Readonly<Record<Exclude<FdKind, "twin">, number>> = {
  sealed: sealed.fd,
  short: small.fd,
  unsealed,
  eventfd: eventfd.fd,
  file,
};
const config = new Uint8Array(256);
config.set([0x34, 0x12, 0xe8, 0x11]);

let lies: Lie[] = [];
let seen: RawReport[] = [];
let channel: Channel | undefined;
let twin: { readonly socket: UnixSocket; readonly channel: Channel } | undefined;

/** Makes a second socket. @returns the client's end, which is closed after it was sent */
function makeTwin(): UnixSocket {
  const [ours, theirs] = UnixSocket.pair("twin");
  twin?.channel.close();
  const mine = new Channel(ours, MAX_BYTES, SEND_MS);
  twin = { socket: ours, channel: mine };
  watchReadable(mine.fd, mine.lease, () => {
    try {
      drain(mine);
    } catch {
      mine.close();
    }
  }).relinquish();
  return theirs;
}

function honest(command: number, payload: Uint8Array): Uint8Array {
  switch (command) {
    case Command.version:
      return encodeVersion();
    case Command.deviceGetInfo:
      return deviceInfo.encode({ argsz: deviceInfo.sizeBytes, flags: 3, num_regions: 9, num_irqs: 5 });
    case Command.deviceGetRegionInfo: {
      const { index } = vfio_region_info.decode(payload);
      const size = index === 7 ? config.length : index === 0 ? BAR_BYTES : 0;
      const flags = index === 0 ? 7 : 3;
      return vfio_region_info.encode({ argsz: vfio_region_info.sizeBytes, flags, index, size: BigInt(size) });
    }
    case Command.deviceGetIrqInfo:
      return vfio_irq_info.encode({ flags: 1, index: vfio_irq_info.decode(payload).index, count: 4 });
    case Command.regionRead: {
      const { region, offset, count } = regionAccess.decode(payload);
      const data = new Uint8Array(count);
      if (region === 7) data.set(config.subarray(Number(offset), Number(offset) + count));
      return Buffer.concat([payload.slice(0, regionAccess.sizeBytes), data]);
    }
    case Command.regionWriteMulti:
      return payload.slice(0, 8);
    case Command.regionWrite:
      return payload.slice(0, regionAccess.sizeBytes);
    case Command.dmaUnmap:
      return payload.slice();
    default:
      return new Uint8Array(0);
  }
}

function sendRaw(socket: UnixSocket, bytes: Uint8Array, fds: readonly number[]): void {
  const whole = Buffer.alloc(Math.max(128, bytes.length));
  whole.set(bytes);
  if (bytes.length > 0) socket.send(whole.subarray(0, bytes.length), fds, SEND_MS);
}

function answer(socket: UnixSocket, mine: Channel, message: Message): void {
  const { id, command } = message;
  const payload = honest(command, message.payload);
  const fds = command === Command.deviceGetRegionInfo && message.payload[8] === 0 ? [sealed.fd] : [];
  const at = lies.findIndex(
    (lie) => lie.command === command && (lie.region ?? message.payload[8]) === message.payload[8],
  );
  const [lie] = at < 0 ? [] : lies.splice(at, 1);
  if (lie?.silent === true) return;
  if (lie?.truncate === true) ftruncateSync(unsealed, 0);
  for (const bytes of lie?.before ?? []) sendRaw(socket, bytes, []);
  // Ends once the client has closed the connection: then sending fails.
  for (let i = 0; lie?.flood === true; i++) {
    sendRaw(socket, header({ id: i & 0xffff, command: Command.dmaRead, payload: new Uint8Array(16) }), []);
    // Takes the client's answers, so that the client never waits.
    if (i > 8) drain(mine);
  }
  const body = lie?.payload ?? payload;
  const bytes =
    lie?.raw ??
    header({
      id: (id + (lie?.idShift ?? 0)) & 0xffff,
      command: lie?.answersCommand ?? command,
      flags: lie?.flags ?? 1,
      errno: lie?.errno ?? 0,
      payload: body,
      ...(lie?.size === undefined ? {} : { size: lie.size }),
    });
  for (const { at: position, xor } of lie?.flips ?? []) {
    const i = position % bytes.length;
    bytes[i] = (bytes[i] ?? 0) ^ xor;
  }
  const cut = bytes.subarray(0, bytes.length - (lie?.cut ?? 0));
  const ends: UnixSocket[] = [];
  const sent = lie?.fds?.map((kind) => {
    if (kind !== "twin") return descriptors[kind];
    const end = makeTwin();
    ends.push(end);
    return end.fd;
  });
  sendRaw(socket, cut, sent ?? fds);
  for (const end of ends) end.close();
  if (twin !== undefined) for (const bytes of lie?.overTwin ?? []) sendRaw(twin.socket, bytes, []);
  for (const bytes of lie?.after ?? []) sendRaw(socket, bytes, []);
  if (lie?.hangUp === true) mine.close();
}

function note({ id, command, isReply, errno, payload }: Message): void {
  if (isReply) seen.push({ id, command, errno, payload: payload.slice() });
}

function drain(mine: Channel): void {
  for (let message = mine.receive(); message !== undefined; message = mine.receive()) {
    closeFds(message.fds);
    note(message);
  }
}

function serve(socket: UnixSocket, mine: Channel): void {
  try {
    for (;;) {
      if (mine.closed) return;
      const message = mine.receive();
      if (message === undefined) return;
      closeFds(message.fds);
      if (message.isReply) note(message);
      else answer(socket, mine, message);
    }
  } catch {
    // The client has gone, or has closed the connection.
    mine.close();
  }
}

watchReadable(listener.fd, listener.lease, () => {
  const socket = listener.accept();
  if (socket === undefined) return;
  channel?.close();
  const mine = new Channel(socket, MAX_BYTES, SEND_MS);
  channel = mine;
  watchReadable(mine.fd, mine.lease, () => serve(socket, mine)).relinquish();
});

/** Reports once this end of the last client's connections is closed, which happens a moment after the client's end is. */
function reportOnceLeft(): void {
  if ((channel?.closed ?? true) && (twin?.channel.closed ?? true)) parentPort?.postMessage(undefined);
  else setImmediate(reportOnceLeft);
}

parentPort?.on("message", (order: RawOrder) => {
  if (order.kind === "lie") {
    lies = [...order.lies];
    seen = [];
    ftruncateSync(unsealed, BAR_BYTES);
    parentPort?.postMessage(undefined);
  } else if (order.kind === "seen") parentPort?.postMessage(seen);
  else if (order.kind === "left") reportOnceLeft();
  else {
    channel?.close();
    twin?.channel.close();
    listener.close();
    for (const each of [sealed, small, eventfd]) each.close();
    close(unsealed);
    closeSync(file);
    parentPort?.close();
  }
});
parentPort?.postMessage(undefined);

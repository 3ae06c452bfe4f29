/** A server for tests of clients that break the protocol, and what such clients send. */
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, expect, vi } from "vitest";
import { memfd, sealSize } from "../../src/sys/syscalls.js";
import {
  Command,
  DMA_READ,
  DMA_WRITE,
  dmaMap,
  dmaUnmap,
  regionAccess,
} from "../../src/vfio-user/protocol/protocol.js";
import { encodeVersion } from "../../src/vfio-user/protocol/version.js";
import type { MemorySpan } from "../../src/vfio-user/server/emulated-device.js";
import { VfioUserServer } from "../../src/vfio-user/server/server.js";
import { socketPath } from "./emulators.js";
import { holdings } from "./holdings.js";
import { RawClient } from "./raw-vfio-user.js";
import { TestFunction } from "./test-function.js";

export const PAGE = 4096;
const SEND_TIMEOUT_MS = 200;
const VERSION_TIMEOUT_MS = 400;

/** The device that is served, and its server: new ones for each test. */
export let device: TestFunction;
export let server: VfioUserServer;
/** What the server has said. */
export let notices: string[] = [];

let before: ReturnType<typeof holdings>;

async function start(): Promise<void> {
  device = new TestFunction();
  notices = [];
  server = new VfioUserServer(socketPath(), device, {
    sendTimeoutMs: SEND_TIMEOUT_MS,
    versionTimeoutMs: VERSION_TIMEOUT_MS,
    onNotice: (notice) => notices.push(notice),
  });
  // What a first watch and the test before leave for the next turn of the loop isn't counted.
  await new Promise((resolve) => setTimeout(resolve, 2));
  before = holdings();
}

/** Mappings of memfds that the tests' clients shared. */
export const sharedMappings = (): number =>
  readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes("client-")).length;
/** Waits until no client is connected. */
export const idle = (): Promise<void> =>
  vi.waitFor(() => expect(server.connected).toBe(false), { interval: 1 });

/** Checks that the server serves the next client, and keeps nothing of the last one. */
async function end(): Promise<void> {
  await idle();
  expect(sharedMappings()).toBe(0);
  expect(holdings()).toEqual(before);
  using client = await negotiated();
  const read = await client.ask(Command.regionRead, regionAccess.encode({ region: 7, offset: 0n, count: 4 }));
  expect(read?.payload.subarray(16)).toEqual(Uint8Array.of(0x34, 0x12, 0xe8, 0x11));
  expect(device.counts.connects).toBe(device.counts.disconnects + 1);
  client.close();
  await idle();
  server.close();
  device.close();
}

/** To be called once by a test file: starts a server before each test, and checks afterwards that it still works. */
export function serveBadClients(): void {
  beforeEach(start);
  afterEach(end);
}

/** A client that has sent VERSION. */
export async function negotiated(): Promise<RawClient> {
  const client = new RawClient(server.path);
  const version = await client.ask(Command.version, encodeVersion());
  expect(version).toMatchObject({ errno: 0, isReply: true, command: Command.version, id: 7 });
  return client;
}

/** A memfd of a client's; the caller closes it. */
export function file(pages: number, sealed = true): number {
  const fd = memfd("client-memory", pages * PAGE);
  if (sealed) sealSize(fd);
  return fd;
}

/** The payload of DMA_MAP: a page at 100000h, unless fields say otherwise. */
export const mapping = (
  fields: Partial<{ flags: number; offset: bigint; addr: bigint; size: bigint }>,
): Uint8Array =>
  dmaMap.encode({ flags: DMA_READ | DMA_WRITE, addr: 0x10_0000n, size: BigInt(PAGE), ...fields });
/** The payload of DMA_UNMAP. */
export const unmapping = (addr: bigint, size: bigint, flags = 0): Uint8Array =>
  dmaUnmap.encode({ addr, size, flags });

/** Whether the device can reach these bytes of the client's memory. */
export function find(iova: number, length: number, write = false): boolean {
  const nothing = new SharedArrayBuffer(0);
  const span: MemorySpan = { bytes: new Uint8Array(nothing), words: new Uint32Array(nothing), offset: 0 };
  return device.host?.memory.find(iova, length, write, span) ?? false;
}

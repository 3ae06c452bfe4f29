/** The diagnostics channels of mappings, kernel requests and vfio-user messages, and NODE_DEBUG=iova, which prints them. */
import { spawnSync } from "node:child_process";
import { channel, subscribe, unsubscribe } from "node:diagnostics_channel";
import { closeSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { Errno } from "../../../src/core/errno.js";
import { DmaSpace } from "../../../src/dma/space.js";
import type { DmaMapTrace, DmaUnmapTrace } from "../../../src/dma/trace.js";
import { PciDevice } from "../../../src/pci/device.js";
import {
  type IoctlTrace,
  ioctl,
  ioctlRequest,
  ioctlWithNumber,
  PreparedIoctl,
  tryIoctl,
  tryIoctlAsync,
} from "../../../src/sys/ioctl.js";
import { MappedMemory } from "../../../src/sys/memory.js";
import { memfd } from "../../../src/sys/syscalls.js";
import type { VfioUserMessageTrace } from "../../../src/vfio-user/protocol/channel.js";
import { compileTree } from "../../support/compiled.js";
import { emulate } from "../../support/emulators.js";
import { IdentityMapper } from "../../support/identity-mapper.js";

const listening: (() => void)[] = [];
afterEach(() => {
  for (const stop of listening.splice(0)) stop();
});

/** Messages of a channel from now on, in order. */
function messagesOf<T>(name: string): T[] {
  const messages: T[] = [];
  const listener = (message: unknown): void => {
    messages.push(message as T);
  };
  subscribe(name, listener);
  listening.push(() => unsubscribe(name, listener));
  return messages;
}

describe("iova:ioctl", () => {
  /** asm-generic/ioctls.h: bytes from the file position to the end, an int. */
  const FIONREAD = ioctlRequest("FIONREAD", "T", 0x1b);
  const UNKNOWN = ioctlRequest("NO_SUCH_REQUEST", ";", 0xff);
  const answered = { request: "FIONREAD", result: 0, errno: undefined };
  const refused = { request: "NO_SUCH_REQUEST", result: undefined, errno: Errno.ENOTTY };
  let fd: number;
  beforeAll(() => {
    fd = memfd("diagnostics test", 0);
  });
  afterAll(() => closeSync(fd));

  test("has a message for each request, with its result or errno, for all ways to make a request", async () => {
    const messages = messagesOf<IoctlTrace>("iova:ioctl");
    const argument = new Uint8Array(8);
    ioctl(fd, FIONREAD, argument);
    expect(() => ioctl(fd, UNKNOWN, argument)).toThrow("ENOTTY");
    tryIoctl(fd, UNKNOWN, argument);
    await tryIoctlAsync(fd, FIONREAD, argument);
    await tryIoctlAsync(fd, UNKNOWN, argument);
    new PreparedIoctl(FIONREAD, argument).call(fd);
    new PreparedIoctl(UNKNOWN, argument).call(fd);
    expect(() => ioctlWithNumber(fd, UNKNOWN, 0)).toThrow("ENOTTY");
    expect(messages).toEqual(
      [answered, refused, refused, answered, refused, answered, refused, refused].map((message) => ({
        ...message,
        fd,
      })),
    );
  });

  test("has no message if there is no subscriber", () => {
    const publish = vi.spyOn(channel("iova:ioctl"), "publish");
    tryIoctl(fd, FIONREAD, new Uint8Array(8));
    expect(publish).not.toHaveBeenCalled();
    publish.mockRestore();
  });
});

describe("iova:dma:map and iova:dma:unmap", () => {
  test("have the range of each mapping when it is made and when it ends", () => {
    const maps = messagesOf<DmaMapTrace>("iova:dma:map");
    const unmaps = messagesOf<DmaUnmapTrace>("iova:dma:unmap");
    using space = new DmaSpace(new IdentityMapper());
    using memory = MappedMemory.anonymous(4096);
    const mapped = space.map(memory, { access: "read", iova: 0x10_0000n });
    const allocated = space.alloc(5000);
    const common = { backend: "identity", sizeBytes: 4096, iova: 0x10_0000n };
    const { iova } = allocated;
    expect(maps).toEqual([
      { ...common, access: "read", address: memory.address },
      { ...common, iova, sizeBytes: 8192, access: "read-write", address: allocated.memory.address },
    ]);
    expect(unmaps).toEqual([]);
    mapped.close();
    allocated.close();
    expect(unmaps).toEqual([common, { ...common, iova, sizeBytes: 8192 }]);
  });

  test("have no message for a mapping that the backend rejects", () => {
    const maps = messagesOf<DmaMapTrace>("iova:dma:map");
    const mapper = new IdentityMapper();
    using space = new DmaSpace(mapper);
    mapper.refuseNext = true;
    expect(() => space.alloc(4096)).toThrow("ENOMEM");
    expect(maps).toEqual([]);
  });
});

test("iova:vfio-user:message has a message for each command and each reply", async () => {
  const emulator = await emulate({ device: "edu", options: {} });
  try {
    using device = PciDevice.open(emulator.address);
    const messages = messagesOf<VfioUserMessageTrace>("iova:vfio-user:message");
    device.config.read32(0);
    const common = { command: "VFIO_USER_REGION_READ", errno: undefined };
    expect(messages).toMatchObject([
      { ...common, direction: "sent", isReply: false, sizeBytes: 32 },
      { ...common, direction: "received", isReply: true, sizeBytes: 36 },
    ]);
    const [sent, received] = messages;
    expect(received?.id).toBe(sent?.id);
    expect(received?.connection).toBe(sent?.connection);
    expect(() => device.io.actOnIrq(0, "trigger", 99, 1)).toThrow();
    expect(messages.at(-1)).toMatchObject({ direction: "received", errno: Errno.EINVAL });
  } finally {
    await emulator.close();
  }
});

describe("NODE_DEBUG", () => {
  const program = "program.ts";
  let tree: ReturnType<typeof compileTree>;
  beforeAll(() => {
    tree = compileTree("src/sys/ioctl.ts", "src/dma/trace.ts", "src/dma/iova/address.ts");
    const file = tree.file(program);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(
      file,
      `import { channel } from "node:diagnostics_channel";
       import { ioctlRequest, tryIoctl } from "./src/sys/ioctl.js";
       import { traceMap } from "./src/dma/trace.js";
       tryIoctl(-1, ioctlRequest("SOME_REQUEST", ";", 1), null);
       traceMap({ name: "some" }, 0x1234, 8192, "read", undefined);
       traceMap({ name: "red \\x1b[31m\\n\\u202e" }, 0, 4096, "read", undefined);
       console.log(channel("iova:ioctl").hasSubscribers);`,
    );
  });
  afterAll(() => tree[Symbol.dispose]());

  const run = (debug: string): { stdout: string; stderr: string } =>
    spawnSync(process.execPath, [tree.file(program)], {
      encoding: "utf8",
      env: { ...process.env, NODE_DEBUG: debug },
    });

  test("prints messages to stderr when it contains iova", () => {
    const { stdout, stderr } = run("iova,other");
    expect(stdout).toBe("true\n");
    expect(stderr).toMatch(/IOVA \d+: iova:ioctl request=SOME_REQUEST fd=-1 errno=EBADF\n/);
    expect(stderr).toMatch(/IOVA \d+: iova:dma:map backend=some iova=0x1234000 sizeBytes=8192 access=read\n/);
    // A device must not be able to write to the terminal.
    expect(stderr).toContain("backend=red \\x1b[31m\\x0a\\u{202e} iova=");
  });

  test("subscribes to nothing and prints nothing when it names other modules", () => {
    expect(run("other")).toMatchObject({ stdout: "false\n", stderr: "" });
  });
});

/** The example's driver for virtio's network device: at both ends of a cable, and beside the kernel's own. */
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import { VirtioNet, type VirtioNetOptions } from "../../../examples/drivers/virtio/net.js";
import { bindToVfio, PciDevice } from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import { busybox } from "../../support/busybox.js";
import { ipFrame, NumberedFrames, plainFrame } from "../../support/frames.js";
import { virtioNetBdfs } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { QemuMonitor } from "../../support/qemu-monitor.js";
import { type Cable, type Transferred, transfer } from "../../support/transfer.js";

/** Only ends what would never end. */
const LONG = { timeout: 600_000 };
const FRAMES = 20_000;
/** Frames on their way, at most: fewer than the receiver has buffers. */
const WINDOW = 192;
const BROADCAST = "ff:ff:ff:ff:ff:ff";

type Backend = (typeof backendNames)[number];

/** Runs `use` with drivers at both ends. */
async function withPair(
  backend: Backend,
  options: VirtioNetOptions,
  use: (left: VirtioNet, right: VirtioNet) => Promise<void>,
): Promise<void> {
  const [leftBdf, rightBdf] = virtioNetBdfs();
  using _left = bindToVfio(leftBdf);
  using _right = bindToVfio(rightBdf);
  using leftDevice = PciDevice.open(leftBdf, { backend });
  using rightDevice = PciDevice.open(rightBdf, { backend });
  await using left = await VirtioNet.start(leftDevice, options);
  await using right = await VirtioNet.start(rightDevice, options);
  await use(left, right);
}

/** Sends numbered frames from one to the other, in order. */
function transferBetween(from: VirtioNet, to: VirtioNet, count: number): Promise<Transferred> {
  const cable: Cable<Uint8Array> = {
    ...{ from, to, window: WINDOW, batches: to.receiveBatches() },
    send: (frames) => from.sendAll(frames),
    isRight: (frame, number, frames) => frames.isAsMade(frame, number),
  };
  return transfer(cable, count);
}

describe.each(backendNames)("virtio-net through %s", (backend) => {
  expectNothingLeft();

  test.each<[string, VirtioNetOptions]>([
    ["split rings", {}],
    ["packed rings", { packed: true }],
  ])("two exchange frames of all lengths by %s, and lose none", LONG, async (_, options) => {
    expect.hasAssertions();
    await withPair(backend, options, async (left, right) => {
      const results = await Promise.all([
        transferBetween(left, right, FRAMES),
        transferBetween(right, left, FRAMES),
      ]);
      const whole = { received: FRAMES, wrong: [] };
      expect(results).toEqual([whole, whole]);
      await left.flush();
      await right.flush();
    });
  });

  test("receives what is for its address, and all or some other frames on request", LONG, async () => {
    expect.hasAssertions();
    await withPair(backend, {}, async (left, right) => {
      const received: string[] = [];
      const station = (async () => {
        for await (const frame of right.receive()) received.push(Buffer.from(frame).toString("hex", 0, 6));
      })();
      const group = "01:00:5e:00:00:05";
      const other = "52:54:00:99:99:99";
      /** What comes of a frame to each. The last, which always comes, tells when all have come. */
      const pass = async (): Promise<string[]> => {
        received.length = 0;
        for (const to of [group, other, right.macAddress])
          await left.send(plainFrame(to, left.macAddress, Buffer.alloc(50, 1)));
        const last = right.macAddress.replaceAll(":", "");
        await vi.waitFor(() => expect(received.at(-1)).toBe(last), { timeout: 540_000, interval: 5 });
        return received.slice(0, -1).map((text) => text.replace(/..(?=.)/g, "$&:"));
      };
      expect(await pass()).toEqual([]);
      await right.control.setMulticast([Uint8Array.from([1, 0, 0x5e, 0, 0, 5])]);
      expect(await pass()).toEqual([group]);
      await right.control.setMulticast([]);
      await right.control.setPromiscuous({ unicast: true });
      expect(await pass()).toEqual([group, other]);
      await right.control.setPromiscuous({});
      expect(await pass()).toEqual([]);
      await right.control.setPromiscuous({ multicast: true });
      expect(await pass()).toEqual([group]);
      await right.close();
      await station;
    });
  });

  test("receives of frames with a VLAN tag only those it was started for", LONG, async () => {
    expect.hasAssertions();
    await withPair(backend, { vlans: [5, 4095] }, async (left, right) => {
      const frame = new NumberedFrames(right.macAddress, left.macAddress).make(1);
      const tagged = (vlan: number): Buffer => {
        const tag = Buffer.from("81000000", "hex");
        tag.writeUInt16BE(vlan, 2);
        return Buffer.concat([frame.subarray(0, 12), tag, frame.subarray(12)]);
      };
      const received = right.receive();
      await left.sendAll([tagged(4), tagged(5), tagged(6), tagged(4095), frame]);
      const lengths: unknown[] = [];
      for (let i = 0; i < 3; i++) lengths.push(Buffer.from((await received.next()).value ?? []));
      expect(lengths).toEqual([tagged(5), tagged(4095), frame]);
      await received.return();
    });
  });

  test("tells when the link goes down and comes up", LONG, async () => {
    expect.hasAssertions();
    await withPair(backend, {}, async (left) => {
      const monitor = await QemuMonitor.open();
      try {
        for (const up of [false, true]) {
          const change = once(left.events, "link");
          await monitor.run("set_link", { name: "left", up });
          expect([await change, left.linkUp]).toEqual([[up], up]);
        }
      } finally {
        await monitor.close();
      }
    });
  });

  test(
    "refuses frames that are too short or too long, and ends waits by the signal or when it closes",
    LONG,
    async () => {
      expect.hasAssertions();
      await withPair(backend, {}, async (left, right) => {
        for (const length of [0, 13, 1519])
          await expect(left.send(Buffer.alloc(length))).rejects.toThrow(`14 to 1518 bytes, got ${length}`);
        const abort = new AbortController();
        const first = right.receive({ signal: abort.signal });
        const next = first.next();
        await expect(right.receive().next()).rejects.toThrow("another iteration");
        const reason = new Error("enough");
        abort.abort(reason);
        await expect(next).rejects.toBe(reason);
        const last = right.receive().next();
        await right.close();
        expect(await last).toEqual({ done: true, value: undefined });
        await left.close();
        await expect(left.send(Buffer.alloc(60))).rejects.toThrow("the driver was closed");
      });
    },
  );

  test("finds the kernel's address by ARP, and is refused by it where no program listens", LONG, async () => {
    const [ours, theirs] = virtioNetBdfs();
    const name = await kernelInterface(theirs);
    const address = readFileSync(`/sys/class/net/${name}/address`, "utf8").trim();
    busybox("ip", "addr", "add", "10.0.0.2/24", "dev", name);
    busybox("ip", "link", "set", name, "up");
    try {
      using _binding = bindToVfio(ours);
      using device = PciDevice.open(ours, { backend });
      await using net = await VirtioNet.start(device, { packed: true });
      const hex = net.macAddress.replaceAll(":", "");
      const received = net.receive();
      const next = async (isIt: (frame: Buffer) => boolean): Promise<Buffer> => {
        for (;;) {
          const { value } = await received.next();
          const frame = Buffer.from(value ?? []);
          // The kernel asks for our address before it answers.
          if (frame.readUInt16BE(12) === ARP && frame.readUInt16BE(20) === 1) {
            const answer = Buffer.from(
              `0001080006040002${hex}0a000001${frame.toString("hex", 22, 32)}`,
              "hex",
            );
            await net.send(plainFrame(address, net.macAddress, answer, ARP));
          } else if (isIt(frame)) return frame;
        }
      };
      const question = Buffer.from(`0001080006040001${hex}0a0000010000000000000a000002`, "hex");
      await net.send(plainFrame(BROADCAST, net.macAddress, question, ARP));
      const answer = await next((frame) => frame.readUInt16BE(12) === ARP && frame.readUInt16BE(20) === 2);
      expect(answer.toString("hex", 22, 28)).toBe(address.replaceAll(":", ""));
      await net.send(
        ipFrame(address, net.macAddress, {
          ...{ version: 4, transport: "udp", sourcePort: 9, destinationPort: 9, data: Buffer.alloc(1000, 1) },
        }),
      );
      const refusal = await next((frame) => frame.readUInt16BE(12) === IPV4 && frame[23] === ICMP);
      expect([refusal[34], refusal[35]]).toEqual([UNREACHABLE, PORT]);
      await received.return();
    } finally {
      busybox("ip", "link", "set", name, "down");
      busybox("ip", "addr", "flush", "dev", name);
    }
  });
});

const ARP = 0x0806;
const IPV4 = 0x0800;
const ICMP = 1;
const UNREACHABLE = 3;
const PORT = 3;

/** The network interface that the kernel's driver made of a function, below the virtio device on it. */
function kernelInterface(bdf: string): Promise<string> {
  return vi.waitFor(
    () => {
      const folder = `/sys/bus/pci/devices/${bdf}`;
      const virtio = readdirSync(folder).find((entry) => entry.startsWith("virtio"));
      const [name] = virtio === undefined ? [] : readdirSync(`${folder}/${virtio}/net`);
      if (name === undefined) throw new Error(`${bdf} has no network interface`);
      return name;
    },
    { timeout: 540_000, interval: 20 },
  );
}

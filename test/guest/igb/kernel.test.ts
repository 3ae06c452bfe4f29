/** The example's driver for the 82576 at one end, and the kernel's own at the other. */
import { readdirSync, readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Igb } from "../../../examples/drivers/igb/igb.js";
import { PciDevice } from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { busybox } from "../../support/busybox.js";
import { ipFrame, onesSum, plainFrame } from "../../support/frames.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { bindForFile, LINK_LIMIT, leftIgbBdf, rightIgbBdf } from "../../support/igb-machine.js";

bindForFile([leftIgbBdf]);

/** Only ends what would never end. */
const LONG = { timeout: 600_000 };
const ARP = 0x0806;
const IPV4 = 0x0800;
const OURS = "0a000001";
const THEIRS = "0a000002";
const ECHOES = 50;
const PORT_UNREACHABLE = 3;

/** The network interface that the kernel's driver made of the right one. */
function kernelInterface(): string {
  const folder = `/sys/bus/pci/devices/${rightIgbBdf()}/net`;
  const [name] = readdirSync(folder);
  if (name === undefined) throw new Error(`${folder} is empty`);
  return name;
}

let theirs: string;
beforeEach(() => {
  expect(driverOf(rightIgbBdf())).toBe("igb");
  const name = kernelInterface();
  theirs = readFileSync(`/sys/class/net/${name}/address`, "utf8").trim();
  busybox("ip", "addr", "add", "10.0.0.2/24", "dev", name);
  busybox("ip", "link", "set", name, "up");
});
afterEach(() => {
  const name = kernelInterface();
  busybox("ip", "link", "set", name, "down");
  busybox("ip", "addr", "flush", "dev", name);
});

/** An ARP packet: 1 asks, 2 answers. */
function arp(operation: number, sender: string, target: string): Buffer {
  return Buffer.from(`00010800060400${operation.toString(16).padStart(2, "0")}${sender}${target}`, "hex");
}

const hex = (mac: string): string => mac.replaceAll(":", "");

/** An ICMP echo request, whose checksums the device computes in part: it knows IP's. */
function echoRequest(destination: string, source: string, number: number, bytes: number): Buffer {
  const icmp = Buffer.alloc(8 + bytes, number);
  icmp.writeUInt32BE(0x0800_0000, 0);
  icmp.writeUInt16BE(0x1234, 4);
  icmp.writeUInt16BE(number, 6);
  icmp.writeUInt16BE(~onesSum(icmp) & 0xffff, 2);
  const ip = Buffer.from(`45000000000000004001ffff${OURS}${THEIRS}`, "hex");
  ip.writeUInt16BE(ip.length + icmp.length, 2);
  return plainFrame(destination, source, Buffer.concat([ip, icmp]), IPV4);
}

describe.each(backendNames)("an 82576 through %s beside the kernel's driver", (backend) => {
  expectNothingLeft();

  test("finds the kernel's address by ARP, and gets every echo", LONG, async () => {
    using device = PciDevice.open(leftIgbBdf(), { backend });
    await using igb = await Igb.start(device);
    await igb.linkUp(LINK_LIMIT);
    await vi.waitFor(
      () => expect(readFileSync(`/sys/class/net/${kernelInterface()}/carrier`, "utf8").trim()).toBe("1"),
      { timeout: LINK_LIMIT.timeoutMs, interval: 50 },
    );
    const { macAddress: ours } = igb;
    const echoes: number[] = [];
    let found = "";
    let isRefused = false;
    let wake = (): void => {};
    /** Answers what the kernel asks, and takes its answers. */
    const station = (async () => {
      for await (const { bytes, ipChecksum } of igb.receive()) {
        const frame = Buffer.from(bytes);
        const type = frame.readUInt16BE(12);
        if (type === ARP && frame.readUInt16BE(20) === 1 && frame.toString("hex", 38, 42) === OURS) {
          const sender = frame.toString("hex", 22, 32);
          const answer = arp(2, hex(ours) + OURS, sender);
          await igb.send(plainFrame(theirs, ours, answer, ARP));
        } else if (type === ARP && frame.readUInt16BE(20) === 2) found = frame.toString("hex", 22, 28);
        else if (type === IPV4 && frame[23] === 1 && frame[34] === 0) {
          expect(ipChecksum).toBe("good");
          const number = frame.readUInt16BE(40);
          expect(onesSum(frame.subarray(34, 14 + frame.readUInt16BE(16)))).toBe(0xffff);
          expect(frame.subarray(42, 42 + number).every((byte) => byte === number)).toBe(true);
          echoes.push(number);
        } else if (type === IPV4 && frame[23] === 1 && frame[34] === PORT_UNREACHABLE) isRefused = true;
        else continue;
        wake();
      }
    })();
    const until = async (isDone: () => boolean): Promise<void> => {
      while (!isDone())
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    };
    await igb.send(
      plainFrame("ff:ff:ff:ff:ff:ff", ours, arp(1, hex(ours) + OURS, `000000000000${THEIRS}`), ARP),
    );
    await until(() => found !== "");
    expect(found).toBe(hex(theirs));
    for (let i = 0; i < ECHOES; i++) {
      await igb.send(echoRequest(theirs, ours, i, i), { checksum: true });
      await until(() => echoes.length > i);
    }
    expect(echoes).toEqual(Array.from({ length: ECHOES }, (_, i) => i));
    // The kernel drops UDP with a wrong checksum, and refuses this: no program listens.
    const udp = ipFrame(theirs, ours, {
      ...{ version: 4, transport: "udp", sourcePort: 9, destinationPort: 9, data: Buffer.alloc(100, 1) },
    });
    await igb.send(udp, { checksum: true });
    await until(() => isRefused);
    await igb.close();
    await station;
  });
});

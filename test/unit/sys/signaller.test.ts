import { writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { ClosedError } from "../../../src/core/errors.js";
import { EventFd } from "../../../src/sys/eventfd.js";
import { Signaller } from "../../../src/sys/signaller.js";
import { setBlocking } from "../../support/blocking.js";
import { sysError } from "../../support/errors.js";
import { holdings } from "../../support/holdings.js";

const FULL = 2n ** 64n - 2n;

describe("Signaller", () => {
  test("counts as write(2) does, more often than its context has room", () => {
    using signaller = new Signaller("test");
    using one = new EventFd();
    using other = new EventFd();
    for (let i = 0; i < 500; i++) signaller.signal(i % 5 === 0 ? other.fd : one.fd);
    expect(one.take()).toBe(400);
    expect(other.take()).toBe(100);
  });

  test("doesn't block on a counter that is full, though writes would", () => {
    using signaller = new Signaller("test");
    // The kernel of every machine that runs these tests has native AIO.
    expect(signaller.certain).toBe(true);
    using event = new EventFd();
    writeFileSync(event.fd, Buffer.from(BigUint64Array.of(FULL).buffer));
    setBlocking(event.fd);
    for (let i = 0; i < 100; i++) signaller.signal(event.fd);
    expect(event.take()).toBe(2 ** 64);
    signaller.signal(event.fd);
    expect(event.take()).toBe(1);
  });

  test("refuses what is no eventfd, and goes on", () => {
    using signaller = new Signaller("test");
    using event = new EventFd();
    expect(() => signaller.signal(0x7fff)).toThrow(sysError("io_submit", "EBADF"));
    expect(() => signaller.signal(process.stdout.fd)).toThrow(sysError("io_submit", "EINVAL"));
    signaller.signal(event.fd);
    expect(event.take()).toBe(1);
  });

  test("holds nothing once closed", () => {
    const before = holdings().descriptors;
    const signaller = new Signaller("test");
    signaller.close();
    expect(holdings().descriptors).toBe(before);
    expect(() => signaller.signal(0)).toThrow(ClosedError);
  });
});

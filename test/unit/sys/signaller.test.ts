/** Signaller: signals eventfds without blocking. */
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
  test("counts like write(2), also for more signals than its context has room for", () => {
    using signaller = new Signaller("test");
    using one = new EventFd();
    using other = new EventFd();
    for (let i = 0; i < 500; i++) signaller.signal(i % 5 === 0 ? other.fd : one.fd);
    expect(one.take()).toBe(400);
    expect(other.take()).toBe(100);
  });

  test("doesn't block on a full counter, although a write would", () => {
    using signaller = new Signaller("test");
    // Each kernel that runs these tests has native AIO.
    expect(signaller.certain).toBe(true);
    using event = new EventFd();
    writeFileSync(event.fd, Buffer.from(BigUint64Array.of(FULL).buffer));
    setBlocking(event.fd);
    for (let i = 0; i < 100; i++) signaller.signal(event.fd);
    expect(event.take()).toBe(2 ** 64);
    signaller.signal(event.fd);
    expect(event.take()).toBe(1);
  });

  test("rejects a descriptor that isn't an eventfd, and works afterwards", () => {
    using signaller = new Signaller("test");
    using event = new EventFd();
    expect(() => signaller.signal(0x7fff)).toThrow(sysError("io_submit", "EBADF"));
    expect(() => signaller.signal(process.stdout.fd)).toThrow(sysError("io_submit", "EINVAL"));
    signaller.signal(event.fd);
    expect(event.take()).toBe(1);
  });

  test("keeps no descriptor after it is closed", () => {
    const before = holdings().descriptors;
    const signaller = new Signaller("test");
    signaller.close();
    expect(holdings().descriptors).toBe(before);
    expect(() => signaller.signal(0)).toThrow(ClosedError);
  });
});

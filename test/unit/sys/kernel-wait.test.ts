/** Calls that wait in the kernel, with a FIFO as the file: a write to a full one and a read from an empty one block for real. */
import { execFileSync } from "node:child_process";
import { constants, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { SysError, TimeoutError, UnsupportedError } from "../../../src/core/errors.js";
import { readWithin, readWithinAsync, writeWithin, writeWithinAsync } from "../../../src/sys/kernel-wait.js";
import { close, O_RDWR, open, read, write } from "../../../src/sys/syscalls.js";
import { caught } from "../../support/caught.js";
import { openDescriptors } from "../../support/proc.js";

const LONG = { timeoutMs: 60_000 };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "iova-kernel-wait-"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

function errorOf(action: () => unknown): Error {
  try {
    action();
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

/** A FIFO that is open at both ends, so that no open(2) waits. */
function openFifo(): { path: string; fd: number; [Symbol.dispose](): void } {
  const path = join(folder, "fifo");
  execFileSync("mkfifo", [path]);
  const fd = open(path, O_RDWR | constants.O_NONBLOCK);
  return { path, fd, [Symbol.dispose]: () => close(fd) };
}

/** Everything that is in a FIFO. */
function drain(fd: number): string {
  let text = "";
  const chunk = Buffer.alloc(4096);
  for (let count = read(fd, chunk); count !== null; count = read(fd, chunk))
    text += chunk.toString("utf8", 0, count);
  return text;
}

/** Fills a FIFO to its last byte. */
function fill(fd: number): void {
  try {
    for (;;) write(fd, Buffer.alloc(1, "x"));
  } catch (error) {
    if (!(error instanceof SysError && error.code === "EAGAIN")) throw error;
  }
}

describe("writeWithin", () => {
  test("writes the text at once, and leaves no descriptor open", () => {
    using fifo = openFifo();
    writeWithin(fifo.path, "first\n", LONG);
    const before = openDescriptors();
    writeWithin(fifo.path, "second\n", LONG);
    expect(openDescriptors()).toEqual(before);
    expect(drain(fifo.fd)).toBe("first\nsecond\n");
  });

  test("ends a write that blocks when the time is up, and says what it was", () => {
    using fifo = openFifo();
    fill(fifo.fd);
    const before = openDescriptors();
    const error = errorOf(() =>
      writeWithin(fifo.path, "late\n", { timeoutMs: 200, advice: () => "end the process that holds it" }),
    );
    expect(error).toBeInstanceOf(TimeoutError);
    expect(error).toMatchObject({ code: "ERR_IOVA_TIMEOUT", timeoutMs: 200 });
    expect(error.message).toBe(
      `writing "late" to ${fifo.path}: no answer within 200 ms (it was given up; end the process that holds it)`,
    );
    expect(openDescriptors()).toEqual(before);
    expect(drain(fifo.fd)).not.toContain("late");
  });

  test("waits for a write that is slow but within the limit", () => {
    using fifo = openFifo();
    fill(fifo.fd);
    // Its reader takes the first bytes a little later.
    execFileSync("sh", [
      "-c",
      '(sleep 0.3; head -c 4096 >/dev/null) <"$1" >/dev/null 2>&1 &',
      "sh",
      fifo.path,
    ]);
    writeWithin(fifo.path, "in time\n", LONG);
    expect(drain(fifo.fd)).toMatch(/x\nin time\n$|xin time\n$/);
  });

  test.each([
    ["/proc/self/comm-of-none", "text", "open", "ENOENT"],
    ["/proc/self/oom_score_adj", "no number", "write", "EINVAL"],
    ["/dev/full", "text", "write", "ENOSPC"],
  ])("reports what the kernel answers: %s", (path, text, syscall, code) => {
    const error = errorOf(() => writeWithin(path, text, LONG));
    expect(error).toBeInstanceOf(SysError);
    expect(error).toMatchObject({ syscall, code, object: path });
  });

  test("needs the program cat, and says so", () => {
    const path = join(folder, "file");
    writeFileSync(path, "");
    vi.stubEnv("PATH", folder);
    const error = errorOf(() => writeWithin(path, "text", LONG));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error.message).toContain(`there is no program cat in PATH ${JSON.stringify(folder)}`);
    expect(readFileSync(path, "utf8")).toBe("");
  });

  test.each([
    ["cat: standard output: Resource deadlock avoided (os error 16)", "EBUSY"],
    ["cat: write error: No such device or address", "ENXIO"],
    ["cat: write error: No such device", "ENODEV"],
  ])("understands another cat's message: %s", (message, code) => {
    const path = join(folder, "file");
    writeFileSync(path, "");
    writeFileSync(join(folder, "cat"), `#!/bin/sh\necho '${message}' >&2\nexit 1\n`, { mode: 0o755 });
    vi.stubEnv("PATH", `${folder}:${process.env["PATH"]}`);
    const error = errorOf(() => writeWithin(path, "text", LONG));
    expect(error).toMatchObject({ syscall: "write", code, hint: message });
  });

  test.each([
    ["says something unknown", "echo 'no library' >&2; exit 127", "cat ended with status 127: no library"],
    ["says nothing", "exit 3", "cat ended with status 3: no message"],
  ])("reports the status of a cat that %s", (_what, commands, hint) => {
    const path = join(folder, "file");
    writeFileSync(path, "");
    writeFileSync(join(folder, "cat"), `#!/bin/sh\n${commands}\n`, { mode: 0o755 });
    vi.stubEnv("PATH", `${folder}:${process.env["PATH"]}`);
    expect(errorOf(() => writeWithin(path, "text", LONG))).toMatchObject({ code: "EIO", hint });
  });

  test("reports why the kernel doesn't start cat", () => {
    const path = join(folder, "file");
    writeFileSync(path, "");
    // No shebang and no ELF header; nor may it be executed.
    writeFileSync(join(folder, "cat"), "", { mode: 0o644 });
    vi.stubEnv("PATH", folder);
    const denied = errorOf(() => writeWithin(path, "text", LONG));
    expect(denied).toMatchObject({ syscall: "spawn", code: "EACCES", object: "cat" });
    vi.unstubAllEnvs();
    // Longer than execve(2) takes.
    vi.stubEnv("TOO_LONG", "x".repeat(4 * 1024 * 1024));
    const before = openDescriptors();
    const error = errorOf(() => writeWithin(path, "text", LONG));
    expect(error).toMatchObject({
      syscall: "spawn",
      code: "E2BIG",
      hint: `writing "text" to ${path} needs it`,
    });
    expect(openDescriptors()).toEqual(before);
  });

  test("doesn't wait for the other end of a FIFO", () => {
    const path = join(folder, "lonely");
    execFileSync("mkfifo", [path]);
    expect(errorOf(() => writeWithin(path, "text", LONG))).toMatchObject({ syscall: "open", code: "ENXIO" });
    expect(readWithin(path, LONG)).toBe("");
  });

  test("doesn't take a killed child for a success", () => {
    const path = join(folder, "file");
    writeFileSync(path, "");
    writeFileSync(join(folder, "cat"), "#!/bin/sh\nkill -KILL $$\n", { mode: 0o755 });
    vi.stubEnv("PATH", `${folder}:${process.env["PATH"]}`);
    const error = errorOf(() => writeWithin(path, "text", LONG));
    expect(error).toMatchObject({ code: "EINTR", hint: "signal 9 killed the process that made the call" });
  });
});

describe("writeWithinAsync", () => {
  test("waits for a slow write while the event loop runs, and leaves no descriptor open", async () => {
    using fifo = openFifo();
    fill(fifo.fd);
    const before = openDescriptors();
    let isWritten = false;
    const written = writeWithinAsync(fifo.path, "in time\n", LONG).then(() => {
      isWritten = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(isWritten).toBe(false);
    // The write may come in while the FIFO is emptied.
    const emptied = drain(fifo.fd);
    await written;
    expect(emptied + drain(fifo.fd)).toMatch(/^x+in time\n$/);
    expect(openDescriptors()).toEqual(before);
  });

  test("ends a write that blocks when the time is up", async () => {
    using fifo = openFifo();
    fill(fifo.fd);
    const wait = { timeoutMs: 200, advice: () => "end the process that holds it" };
    const error = await caught(writeWithinAsync(fifo.path, "late\n", wait));
    expect(error).toBeInstanceOf(TimeoutError);
    expect(error.message).toBe(
      `writing "late" to ${fifo.path}: no answer within 200 ms (it was given up; end the process that holds it)`,
    );
    expect(drain(fifo.fd)).not.toContain("late");
  });

  test("ends a write that blocks when the signal aborts, with its reason, and leaves nothing behind", async () => {
    using fifo = openFifo();
    fill(fifo.fd);
    const before = openDescriptors();
    const scope = new AbortController();
    let isStuck = false;
    const onStuck = (): void => {
      isStuck = true;
    };
    const written = caught(writeWithinAsync(fifo.path, "late\n", { ...LONG, signal: scope.signal, onStuck }));
    const reason = new Error("the user went away");
    scope.abort(reason);
    expect(await written).toBe(reason);
    // A killed process writes no more.
    expect(isStuck).toBe(false);
    expect(openDescriptors()).toEqual(before);
    expect(drain(fifo.fd)).not.toContain("late");
  });

  test("doesn't begin if the signal has aborted", async () => {
    using fifo = openFifo();
    const reason = new Error("too late");
    const wait = { ...LONG, signal: AbortSignal.abort(reason) };
    expect(await caught(writeWithinAsync(fifo.path, "text\n", wait))).toBe(reason);
    expect(await caught(readWithinAsync(fifo.path, wait))).toBe(reason);
    expect(drain(fifo.fd)).toBe("");
  });

  test.each([
    ["/proc/self/comm-of-none", "text", "open", "ENOENT"],
    ["/proc/self/oom_score_adj", "no number", "write", "EINVAL"],
    ["/dev/full", "text", "write", "ENOSPC"],
  ])("reports what the kernel answers: %s", async (path, text, syscall, code) => {
    const error = await caught(writeWithinAsync(path, text, LONG));
    expect(error).toMatchObject({ syscall, code, object: path });
  });

  test("reports a cat that doesn't start, and one that is killed", async () => {
    const path = join(folder, "file");
    writeFileSync(path, "");
    vi.stubEnv("PATH", folder);
    expect(await caught(writeWithinAsync(path, "text", LONG))).toBeInstanceOf(UnsupportedError);
    vi.unstubAllEnvs();
    writeFileSync(join(folder, "cat"), "#!/bin/sh\nkill -KILL $$\n", { mode: 0o755 });
    vi.stubEnv("PATH", `${folder}:${process.env["PATH"]}`);
    expect(await caught(writeWithinAsync(path, "text", LONG))).toMatchObject({
      code: "EINTR",
      hint: "signal 9 killed the process that made the call",
    });
  });
});

describe("readWithin", () => {
  test("reads a file to its end, and leaves no descriptor open", () => {
    const path = join(folder, "file");
    const text = "line\n".repeat(2000);
    writeFileSync(path, text);
    expect(readWithin(path, LONG)).toBe(text);
    const before = openDescriptors();
    expect(readWithin("/proc/sys/kernel/ostype", LONG)).toBe("Linux\n");
    expect(openDescriptors()).toEqual(before);
  });

  test("ends a read that blocks when the time is up", () => {
    using fifo = openFifo();
    const error = errorOf(() => readWithin(fifo.path, { timeoutMs: 200 }));
    expect(error).toBeInstanceOf(TimeoutError);
    expect(error.message).toBe(`reading ${fifo.path}: no answer within 200 ms (it was given up)`);
  });

  test("reports what the kernel answers", () => {
    expect(errorOf(() => readWithin(folder, LONG))).toMatchObject({ syscall: "read", code: "EISDIR" });
    expect(errorOf(() => readWithin(join(folder, "none"), LONG))).toMatchObject({ code: "ENOENT" });
  });
});

describe("readWithinAsync", () => {
  test("reads a file to its end, and leaves no descriptor open", async () => {
    const path = join(folder, "file");
    const text = "line\n".repeat(2000);
    writeFileSync(path, text);
    expect(await readWithinAsync(path, LONG)).toBe(text);
    const before = openDescriptors();
    expect(await readWithinAsync("/proc/sys/kernel/ostype", LONG)).toBe("Linux\n");
    expect(openDescriptors()).toEqual(before);
  });

  test("ends a read that blocks when the time is up, or when the signal aborts", async () => {
    using fifo = openFifo();
    const late = await caught(readWithinAsync(fifo.path, { timeoutMs: 200 }));
    expect(late).toBeInstanceOf(TimeoutError);
    expect(late.message).toBe(`reading ${fifo.path}: no answer within 200 ms (it was given up)`);
    const scope = new AbortController();
    const read = caught(readWithinAsync(fifo.path, { ...LONG, signal: scope.signal }));
    const reason = new Error("enough");
    scope.abort(reason);
    expect(await read).toBe(reason);
  });

  test("reports what the kernel answers", async () => {
    expect(await caught(readWithinAsync(folder, LONG))).toMatchObject({ syscall: "read", code: "EISDIR" });
  });
});

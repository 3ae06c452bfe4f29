/**
 * The kernel's fault injection, as tools/testing/selftests/iommu/iommufd_fail_nth.c uses it: the n-th allocation of a task
 * fails, of whatever kind (/proc/thread-self/fail-nth).
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { IovaError } from "../../src/index.js";
import { c, lastErrno } from "../../src/sys/libc.js";
import { close, O_RDWR, open, pread, pwrite } from "../../src/sys/syscalls.js";

const DEBUGFS = "/sys/kernel/debug";

/** The settings of the kernel's test: any allocation may fail, and none is logged. */
const SETTINGS: readonly (readonly [file: string, value: string])[] = [
  ["failslab/ignore-gfp-wait", "N"],
  ["fail_page_alloc/ignore-gfp-wait", "N"],
  ["fail_page_alloc/ignore-gfp-highmem", "N"],
];

/**
 * Makes an allocation fail in system calls of this thread.
 *
 * The kernel's test counts allocations in a whole body. Here that would hit Node as well: V8 maps, grows and trims its heap
 * at any time, and a failed mmap ends the process. So the counter is armed from just before each system call of the library
 * to just after, and the rest of the count is carried to the next. That counts the allocations of the library's calls
 * together, as the kernel's test does, and touches no other call of the process.
 */
export class FaultInjection implements Disposable {
  private readonly fd: number;
  private readonly settings: (readonly [path: string, before: string])[] = [];
  private readonly calls = { ioctl: c().ioctl, open: c().open, close: c().close };
  private readonly answer = new Uint8Array(16);
  /** Allocations until the one that fails; 0 means that none fails. */
  private remaining = 0;
  /** Set only within a step: the tests' own preparations and closes are not disturbed. */
  private stepping = false;

  constructor() {
    this.fd = open("/proc/thread-self/fail-nth", O_RDWR);
    const quiet = readdirSync(DEBUGFS)
      .filter((name) => name.startsWith("fail"))
      .map((name) => [`${name}/verbose`, "0"] as const);
    for (const [file, value] of [...SETTINGS, ...quiet]) {
      const path = `${DEBUGFS}/${file}`;
      this.settings.push([path, readFileSync(path, "utf8").trim()]);
      writeFileSync(path, value);
    }
    const { ioctl, open: openFile, close: closeFile } = this.calls;
    c().ioctl = (fd, request, arg) => this.armed(() => ioctl(fd, request, arg));
    c().open = (path, flags, mode) => this.armed(() => openFile(path, flags, mode));
    c().close = (fd) => this.armed(() => closeFile(fd));
  }

  [Symbol.dispose](): void {
    Object.assign(c, this.calls);
    for (const [path, before] of this.settings) writeFileSync(path, before);
    close(this.fd);
  }

  /**
   * Runs `body` with the first allocation of its steps failing, then with the second, and so on until a run has fewer
   * allocations.
   * @param body makes its calls through `step`, in which an allocation may fail. The step checks the error and repeats the
   *   call undisturbed, which must succeed
   * @returns the errors, one for each injection that made a call fail
   */
  sweep(body: (step: Step) => void): Sweep {
    const errors: IovaError[] = [];
    for (let nth = 1; ; nth++) {
      // Only bounds a loop that would never end: the longest body on Linux 7.3 has some hundred allocations.
      if (nth > 2000) throw new Error("there is no end of allocations");
      this.remaining = nth;
      try {
        body((call) => this.step(call, errors));
      } catch (cause) {
        throw new Error(`with allocation ${nth} failing`, { cause });
      }
      if (this.remaining > 0) {
        this.remaining = 0;
        return { injections: nth - 1, errors };
      }
    }
  }

  private step<T>(call: () => T, errors: IovaError[]): T {
    const before = this.remaining;
    this.stepping = true;
    try {
      return call();
    } catch (error) {
      const injectedHere = before > 0 && this.remaining === 0;
      if (!injectedHere || !(error instanceof IovaError)) throw error;
      errors.push(error);
    } finally {
      this.stepping = false;
    }
    return call();
  }

  private armed(call: () => number): number {
    if (!this.stepping || this.remaining === 0) return call();
    const order = Buffer.from(String(this.remaining));
    pwrite(this.fd, order, 0);
    const result = call();
    const errno = lastErrno();
    const length = pread(this.fd, this.answer, 0);
    pwrite(this.fd, DISARM, 0);
    this.remaining = Number(Buffer.from(this.answer.buffer, 0, length).toString());
    // The caller reads errno next, so nothing in between may change it.
    if (result < 0 && lastErrno() !== errno) throw new Error("errno was lost");
    return result;
  }
}

const DISARM = Buffer.from("0");

/** Makes a call in which an allocation may fail. */
export type Step = <T>(call: () => T) => T;

/** The result of a sweep. */
export interface Sweep {
  /** Number of failed allocations, one in each run. */
  readonly injections: number;
  readonly errors: readonly IovaError[];
}

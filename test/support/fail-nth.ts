/**
 * The kernel's fault injection, as tools/testing/selftests/iommu/iommufd_fail_nth.c uses it: a task's n-th allocation
 * fails (/proc/thread-self/fail-nth), whatever it is for.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { IovaError } from "../../src/index.js";
import { c, lastErrno } from "../../src/sys/libc.js";
import { close, O_RDWR, open, pread, pwrite } from "../../src/sys/syscalls.js";

const DEBUGFS = "/sys/kernel/debug";

/** As the kernel's test has it: any allocation may fail, and none is reported in the log. */
const SETTINGS: readonly (readonly [file: string, value: string])[] = [
  ["failslab/ignore-gfp-wait", "N"],
  ["fail_page_alloc/ignore-gfp-wait", "N"],
  ["fail_page_alloc/ignore-gfp-highmem", "N"],
];

/**
 * Lets system calls of this thread meet a failing allocation.
 *
 * The kernel's test arms a whole body. Here that would hit Node as well: V8 maps, grows and trims its heap whenever it
 * likes, and a failed mmap ends the process. So the counter is armed around each system call of the library alone,
 * from just before it to just after, and what is left of it is carried to the next. The n-th allocation is that of the
 * library's calls together, which is what the kernel's test counts too, and no other call of the process is touched.
 */
export class FaultInjection implements Disposable {
  private readonly fd: number;
  private readonly settings: (readonly [path: string, before: string])[] = [];
  private readonly calls = { ioctl: c.ioctl, open: c.open, close: c.close };
  private readonly answer = new Uint8Array(16);
  /** Allocations until the one that fails; 0: none will. */
  private remaining = 0;
  /** Only within a step: preparations and closes of the tests' own go through. */
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
    c.ioctl = (fd, request, arg) => this.armed(() => ioctl(fd, request, arg));
    c.open = (path, flags, mode) => this.armed(() => openFile(path, flags, mode));
    c.close = (fd) => this.armed(() => closeFile(fd));
  }

  [Symbol.dispose](): void {
    Object.assign(c, this.calls);
    for (const [path, before] of this.settings) writeFileSync(path, before);
    close(this.fd);
  }

  /**
   * Runs `body` with the first allocation of its steps failing, then with the second, and so on until a run has fewer
   * than that.
   * @param body its calls go through `step`, in which an allocation may fail: the error is checked, and the same call
   * is made again, undisturbed, which has to succeed
   * @returns the errors met, one for each injection that was not coped with
   */
  sweep(body: (step: Step) => void): Sweep {
    const errors: IovaError[] = [];
    for (let nth = 1; ; nth++) {
      // Only bounds what would not end: the longest body of Linux 7.3 has some hundred.
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
    // The caller reads it next; nothing that succeeded in between may have changed it.
    if (result < 0 && lastErrno() !== errno) throw new Error("errno was lost");
    return result;
  }
}

const DISARM = Buffer.from("0");

/** Makes a call in which an allocation may fail. */
export type Step = <T>(call: () => T) => T;

/** What a sweep met. */
export interface Sweep {
  /** Allocations that failed, one in each run. */
  readonly injections: number;
  readonly errors: readonly IovaError[];
}

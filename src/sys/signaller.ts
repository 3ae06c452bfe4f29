/** Signals eventfds that other processes share. */
import { constants } from "node:fs";
import { Errno } from "../core/errno.js";
import { SysError } from "../core/errors.js";
import { Resource } from "../core/lifetime/resource.js";
import { struct, u16, u32, u64 } from "../core/struct.js";
import { descriptorError } from "./descriptors.js";
import { setNonBlocking } from "./files.js";
import { addressOf, c, ioDestroyOffThread, lastErrno } from "./libc.js";
import { close, open, pollWritable, write } from "./syscalls.js";

/** Native AIO's system calls by architecture; they are in no C library. */
const numbers: Readonly<
  Record<
    string,
    { readonly setup: number; readonly destroy: number; readonly submit: number; readonly get: number }
  >
> = {
  x64: { setup: 206, destroy: 207, submit: 209, get: 208 },
  arm64: { setup: 0, destroy: 1, submit: 2, get: 4 },
};

/** linux/aio_abi.h, little-endian; a read of nothing by default (IOCB_CMD_PREAD). */
const iocb = struct("iocb", {
  aio_data: u64,
  aio_key: u32,
  aio_rw_flags: u32,
  aio_lio_opcode: u16,
  aio_reqprio: u16,
  aio_fildes: u32,
  aio_buf: u64,
  aio_nbytes: u64,
  aio_offset: u64,
  aio_reserved2: u64,
  aio_flags: u32,
  aio_resfd: u32,
});
const IOCB_FLAG_RESFD = 1;
const IO_EVENT_BYTES = 32;
/** Requests before their results are fetched. */
const ROOM = 64;

/** Memory for native AIO, outside V8's moving heap: the request, a pointer to it, a zero timeout, and room for results. */
const POINTER_AT = iocb.sizeBytes;
const TIMEOUT_AT = POINTER_AT + 8;
const EVENTS_AT = TIMEOUT_AT + 16;

/** A context of native AIO, whose requests read 0 bytes of /dev/null. */
class Aio {
  private readonly words: Uint32Array<ArrayBuffer>;
  private readonly address: number;
  private unfetched = 0;

  private constructor(
    private readonly calls: NonNullable<(typeof numbers)[string]>,
    private readonly context: number,
    private readonly nothing: number,
  ) {
    this.words = new Uint32Array(new ArrayBuffer(EVENTS_AT + ROOM * IO_EVENT_BYTES));
    this.address = addressOf(this.words);
    const bytes = new Uint8Array(this.words.buffer);
    bytes.set(iocb.encode({ aio_fildes: nothing, aio_flags: IOCB_FLAG_RESFD }));
    new BigUint64Array(this.words.buffer)[POINTER_AT / 8] = BigInt(this.address);
  }

  /** @returns undefined if the kernel or a limit of this process forbids it */
  static create(): Aio | undefined {
    const calls = numbers[process.arch];
    const context = new BigUint64Array(1);
    if (calls === undefined || c().ioSetup(calls.setup, ROOM, context) < 0) return undefined;
    try {
      return new Aio(calls, Number(context[0]), open("/dev/null", constants.O_RDONLY));
    } catch (error) {
      ioDestroyOffThread(calls.destroy, Number(context[0]));
      if (error instanceof SysError) return undefined;
      throw error;
    }
  }

  /** @throws SysError: EINVAL, EBADF if it is not an eventfd */
  signal(fd: number): void {
    const { calls, context, address } = this;
    this.words[iocb.words.aio_resfd] = fd;
    for (;;) {
      if (this.unfetched === ROOM) {
        c().ioGetevents(calls.get, context, 0, ROOM, address + EVENTS_AT, address + TIMEOUT_AT);
        this.unfetched = 0;
      }
      if (c().ioSubmit(calls.submit, context, 1, address + POINTER_AT) >= 0) break;
      const errno = lastErrno();
      if (errno !== Errno.EAGAIN || this.unfetched === 0) throw descriptorError("io_submit", errno, fd);
      this.unfetched = ROOM;
    }
    this.unfetched++;
  }

  close(): void {
    ioDestroyOffThread(this.calls.destroy, this.context);
    close(this.nothing);
  }
}

/**
 * Signals eventfds that another process shares, without ever blocking. write(2) blocks if the counter is full and O_NONBLOCK is
 * off, and the other process can cause both at any moment. But when a request of native AIO ends, the kernel signals an
 * eventfd without waiting. So each signal is a request that reads 0 bytes.
 */
export class Signaller extends Resource {
  private readonly aio: Aio | undefined;

  /** @throws SysError */
  constructor(what: string) {
    const aio = Aio.create();
    super({ label: what, release: () => aio?.close() });
    this.aio = aio;
  }

  /** Whether it can never block. Without native AIO, blocking is possible but very unlikely. */
  get certain(): boolean {
    return this.aio !== undefined;
  }

  /** Adds one signal; does nothing if the counter is full. @throws ClosedError, SysError */
  signal(fd: number): void {
    this.lease.assertOpen();
    if (this.aio !== undefined) {
      this.aio.signal(fd);
      return;
    }
    setNonBlocking(fd);
    if (!pollWritable(fd, 0)) return;
    try {
      write(fd, BigUint64Array.of(1n));
    } catch (error) {
      if (!(error instanceof SysError) || error.errno !== Errno.EAGAIN) throw error;
    }
  }
}

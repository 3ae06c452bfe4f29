/**
 * The C library functions that this project calls, as koffi declares them. They return what C returns.
 * Code outside src/sys/ uses syscalls.ts and ioctl.ts, which throw.
 *
 * Addresses are `intptr_t` and `uintptr_t`, which koffi returns as plain numbers (user addresses are below
 * 2^47). A `void *` result would be a bigint, and MAP_FAILED a huge positive one.
 */
import { koffi } from "./koffi.js";

type Pointer = NodeJS.ArrayBufferView | null;

function declare() {
  // Any already loaded object answers dlsym for libc, on glibc and musl alike.
  const libc = koffi().load(null);
  /** These are also called off the JavaScript thread. */
  const offThread = {
    close: libc.func("int close(int fd)"),
    ioctl: libc.func("int ioctl(int fd, unsigned long request, void *arg)"),
    ioDestroy: libc.func("syscall", "long", ["long", "uintptr_t"]),
  };
  return {
    offThread,
    open: libc.func("int open(const char *path, int flags, uint32_t mode)") as (
      path: string,
      flags: number,
      mode: number,
    ) => number,
    close: offThread.close as (fd: number) => number,
    ioctl: offThread.ioctl as (fd: number, request: number, arg: Pointer) => number,
    ioctlNumber: libc.func("ioctl", "int", ["int", "unsigned long", "uintptr_t"]) as (
      fd: number,
      request: number,
      arg: number,
    ) => number,
    // The kernel uses 32 bits of the request; koffi converts those faster than an unsigned long.
    ioctlPrepared: libc.func("ioctl", "int", ["int", "uint32_t", "uintptr_t"]) as (
      fd: number,
      request: number,
      address: number,
    ) => number,
    mmap: libc.func("mmap", "intptr_t", ["uintptr_t", "size_t", "int", "int", "int", "int64_t"]) as (
      address: number,
      length: number,
      prot: number,
      flags: number,
      fd: number,
      offset: number,
    ) => number,
    munmap: libc.func("int munmap(uintptr_t address, size_t length)") as (
      address: number,
      length: number,
    ) => number,
    mremap: libc.func("mremap", "intptr_t", ["uintptr_t", "size_t", "size_t", "int", "uintptr_t"]) as (
      oldAddress: number,
      oldLength: number,
      newLength: number,
      flags: number,
      newAddress: number,
    ) => number,
    madvise: libc.func("int madvise(uintptr_t address, size_t length, int advice)") as (
      address: number,
      length: number,
      advice: number,
    ) => number,
    mlock: libc.func("int mlock(uintptr_t address, size_t length)") as (
      address: number,
      length: number,
    ) => number,
    dup3: libc.func("int dup3(int fd, int target, int flags)") as (
      fd: number,
      target: number,
      flags: number,
    ) => number,
    eventfd: libc.func("int eventfd(unsigned int initval, int flags)") as (
      initial: number,
      flags: number,
    ) => number,
    memfdCreate: libc.func("int memfd_create(const char *name, unsigned int flags)") as (
      name: string,
      flags: number,
    ) => number,
    /** The three-argument fcntl. */
    fcntl: libc.func("int fcntl(int fd, int command, intptr_t argument)") as (
      fd: number,
      command: number,
      argument: number,
    ) => number,
    lseek: libc.func("int64_t lseek(int fd, int64_t offset, int whence)") as (
      fd: number,
      offset: number,
      whence: number,
    ) => number,
    /** mbind(2) and get_mempolicy(2) are in no C library. The first argument is the system call's number. */
    mbind: libc.func("syscall", "long", [
      "long",
      "uintptr_t",
      "size_t",
      "int",
      "void *",
      "unsigned long",
      "uint",
    ]) as (
      number: number,
      address: number,
      length: number,
      mode: number,
      nodeMask: Pointer,
      maxNode: number,
      flags: number,
    ) => number,
    getMempolicy: libc.func("syscall", "long", [
      "long",
      "void *",
      "void *",
      "unsigned long",
      "uintptr_t",
      "ulong",
    ]) as (
      number: number,
      mode: Pointer,
      nodeMask: Pointer,
      maxNode: number,
      address: number,
      flags: number,
    ) => number,
    /** preadv2(2) is not in every C library, and native AIO in none. The first argument is the system call's number. */
    preadv2: libc.func("syscall", "long", ["long", "int", "uintptr_t", "ulong", "long", "long", "int"]) as (
      number: number,
      fd: number,
      iovec: number,
      count: number,
      offset: number,
      offsetHigh: number,
      flags: number,
    ) => number,
    ioSetup: libc.func("syscall", "long", ["long", "uint", "void *"]) as (
      number: number,
      events: number,
      context: Pointer,
    ) => number,
    ioSubmit: libc.func("syscall", "long", ["long", "uintptr_t", "long", "uintptr_t"]) as (
      number: number,
      context: number,
      count: number,
      iocbs: number,
    ) => number,
    ioGetevents: libc.func("syscall", "long", [
      "long",
      "uintptr_t",
      "long",
      "long",
      "uintptr_t",
      "uintptr_t",
    ]) as (
      number: number,
      context: number,
      least: number,
      most: number,
      events: number,
      timeout: number,
    ) => number,
    ftruncate: libc.func("int ftruncate(int fd, int64_t length)") as (fd: number, length: number) => number,
    read: libc.func("int64_t read(int fd, void *buffer, size_t count)") as (
      fd: number,
      buffer: Pointer,
      count: number,
    ) => number,
    write: libc.func("int64_t write(int fd, const void *buffer, size_t count)") as (
      fd: number,
      buffer: Pointer,
      count: number,
    ) => number,
    pread: libc.func("int64_t pread(int fd, void *buffer, size_t count, int64_t offset)") as (
      fd: number,
      buffer: Pointer,
      count: number,
      offset: number,
    ) => number,
    pwrite: libc.func("int64_t pwrite(int fd, const void *buffer, size_t count, int64_t offset)") as (
      fd: number,
      buffer: Pointer,
      count: number,
      offset: number,
    ) => number,
    /** Both with an address: the kernel checks that memory is there. */
    preadTo: libc.func("pread", "int64_t", ["int", "uintptr_t", "size_t", "int64_t"]) as (
      fd: number,
      address: number,
      count: number,
      offset: number,
    ) => number,
    pwriteFrom: libc.func("pwrite", "int64_t", ["int", "uintptr_t", "size_t", "int64_t"]) as (
      fd: number,
      address: number,
      count: number,
      offset: number,
    ) => number,
    memmove: libc.func("memmove", "void", ["uintptr_t", "uintptr_t", "size_t"]) as (
      target: number,
      source: number,
      length: number,
    ) => void,
    memmoveFromHeap: libc.func("memmove", "void", ["uintptr_t", "void *", "size_t"]) as (
      target: number,
      source: Uint8Array,
      length: number,
    ) => void,
    memmoveToHeap: libc.func("memmove", "void", ["void *", "uintptr_t", "size_t"]) as (
      target: Uint8Array,
      source: number,
      length: number,
    ) => void,
    fcntlNumber: libc.func("fcntl", "int", ["int", "int", "int"]) as (
      fd: number,
      command: number,
      arg: number,
    ) => number,
    fdatasync: libc.func("int fdatasync(int fd)") as (fd: number) => number,
    flock: libc.func("int flock(int fd, int operation)") as (fd: number, operation: number) => number,
    fallocate: libc.func("int fallocate(int fd, int mode, int64_t offset, int64_t length)") as (
      fd: number,
      mode: number,
      offset: number,
      length: number,
    ) => number,
    schedSetaffinity: libc.func("int sched_setaffinity(int thread, size_t length, const void *mask)") as (
      thread: number,
      length: number,
      mask: Pointer,
    ) => number,
    schedGetaffinity: libc.func("int sched_getaffinity(int thread, size_t length, void *mask)") as (
      thread: number,
      length: number,
      mask: Pointer,
    ) => number,
    poll: libc.func("int poll(void *fds, unsigned long nfds, int timeout)") as (
      fds: Pointer,
      count: number,
      timeoutMs: number,
    ) => number,
    socket: libc.func("int socket(int domain, int type, int protocol)") as (
      domain: number,
      type: number,
      protocol: number,
    ) => number,
    socketpair: libc.func("int socketpair(int domain, int type, int protocol, void *ends)") as (
      domain: number,
      type: number,
      protocol: number,
      ends: Pointer,
    ) => number,
    connect: libc.func("int connect(int fd, const void *address, uint32_t length)") as (
      fd: number,
      address: Pointer,
      length: number,
    ) => number,
    bind: libc.func("int bind(int fd, const void *address, uint32_t length)") as (
      fd: number,
      address: Pointer,
      length: number,
    ) => number,
    listen: libc.func("int listen(int fd, int backlog)") as (fd: number, backlog: number) => number,
    getsockopt: libc.func("int getsockopt(int fd, int level, int name, void *value, void *length)") as (
      fd: number,
      level: number,
      name: number,
      value: Pointer,
      length: Pointer,
    ) => number,
    accept4: libc.func("int accept4(int fd, void *address, void *length, int flags)") as (
      fd: number,
      address: Pointer,
      length: Pointer,
      flags: number,
    ) => number,
    sendmsg: libc.func("int64_t sendmsg(int fd, const void *message, int flags)") as (
      fd: number,
      message: Pointer,
      flags: number,
    ) => number,
    recvmsg: libc.func("int64_t recvmsg(int fd, void *message, int flags)") as (
      fd: number,
      message: Pointer,
      flags: number,
    ) => number,
    epollCreate1: libc.func("int epoll_create1(int flags)") as (flags: number) => number,
    epollCtl: libc.func("int epoll_ctl(int epfd, int op, int fd, void *event)") as (
      epfd: number,
      op: number,
      fd: number,
      event: Pointer,
    ) => number,
    epollWait: libc.func("int epoll_wait(int epfd, void *events, int maxevents, int timeout)") as (
      epfd: number,
      events: Pointer,
      most: number,
      timeoutMs: number,
    ) => number,
    sysconf: libc.func("long sysconf(int name)") as (name: number) => number,
    pipe2: libc.func("int pipe2(void *fds, int flags)") as (fds: Pointer, flags: number) => number,
    waitid: libc.func("int waitid(int kind, uint32_t id, void *info, int options)") as (
      kind: number,
      id: number,
      info: Pointer,
      options: number,
    ) => number,
    strerror: libc.func("const char *strerror(int errno)") as (errno: number) => string,
  };
}

/** What {@link c} returns. */
export type LibC = ReturnType<typeof declare>;

let declared: LibC | undefined;

/** The functions, declared at the first call. @throws UnsupportedError if koffi can't be loaded */
export function c(): LibC {
  declared ??= declare();
  return declared;
}

/** close(2) on a thread of libuv's pool. @returns 0, or the errno as a negative number */
export function closeOffThread(fd: number): Promise<number> {
  return new Promise((resolve, reject) => {
    c().offThread.close.async(fd, (error: Error | null, result: number) => {
      if (error !== null) reject(error);
      else resolve(result >= 0 ? result : -koffi().errno());
    });
  });
}

/**
 * ioctl(2) on a thread of libuv's pool.
 * @returns the result, or the errno as a negative number
 */
export function ioctlOffThread(fd: number, request: number, arg: Pointer): Promise<number> {
  return new Promise((resolve, reject) => {
    c().offThread.ioctl.async(fd, request, arg, (error: Error | null, result: number) => {
      if (error !== null) reject(error);
      else resolve(result >= 0 ? result : -koffi().errno());
    });
  });
}

/** io_destroy(2) on a thread of libuv's pool: it takes some 30 ms, waiting for all processors (RCU). */
export function ioDestroyOffThread(number: number, context: number): void {
  // A failure is ignored: the kernel destroys the context with the process.
  c().offThread.ioDestroy.async(number, context, () => {});
}

/** errno of the last failed call of this thread; read it before anything else runs. */
export function lastErrno(): number {
  return koffi().errno();
}

/**
 * Address of the memory behind a view. Stable only for memory outside V8's moving heap, and while the caller
 * keeps the view referenced.
 */
export function addressOf(view: NodeJS.ArrayBufferView): number {
  return Number(koffi().address(view));
}

/** Call it after using a view's address: it keeps V8 from collecting the view before. */
export function keepAlive(view: NodeJS.ArrayBufferView): void {
  if (view.byteLength < 0) throw new RangeError("a view can't have a negative length");
}

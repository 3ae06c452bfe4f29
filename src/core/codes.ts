/** Every `ERR_IOVA_*` code: the class that carries it, when it is thrown, and whether the call may be tried again. */

/** What one code stands for; docs/errors.md prints these. */
export interface CodeMeaning {
  /** The error class with this code. */
  readonly thrownAs: string;
  /** What has happened. */
  readonly when: string;
  /** Whether, and after what, the same call can succeed. */
  readonly retry: string;
}

/** The table behind {@link IovaErrorCode}. A test compares it with every code that the sources use. */
export const codeMeanings = {
  ERR_IOVA_ARGUMENT: {
    thrownAs: "ArgumentError",
    when: "An argument is invalid. Nothing was sent to the kernel or the device.",
    retry: "No. Correct the argument.",
  },
  ERR_IOVA_CONFIG: {
    thrownAs: "ConfigError",
    when: "An options object, a command line or a file is invalid. The message names every wrong option. A `ConfigError` is an `ArgumentError`.",
    retry: "No. Correct the options.",
  },
  ERR_IOVA_CLOSED: {
    thrownAs: "ClosedError",
    when: "The object, or the object it depends on, was closed before this call.",
    retry: "No. Open the object again.",
  },
  ERR_IOVA_STATE: {
    thrownAs: "StateError",
    when: "The object is open but not in the state that this call needs, such as bound or attached.",
    retry: "After the object has reached that state.",
  },
  ERR_IOVA_BUSY: {
    thrownAs: "BusyError",
    when: "Something still uses the object. The message names the user. Nothing was changed.",
    retry: "Yes, after the user has finished.",
  },
  ERR_IOVA_TIMEOUT: {
    thrownAs: "TimeoutError",
    when: "A wait reached its time limit (`timeoutMs`).",
    retry: "Only if the operation can be repeated: it may still have taken effect.",
  },
  ERR_IOVA_DEVICE_GONE: {
    thrownAs: "DeviceGoneError",
    when: "The device no longer answers: its registers read all ones, it was unplugged, or its server closed the connection.",
    retry: "After opening the device again.",
  },
  ERR_IOVA_DEVICE_REQUESTED: {
    thrownAs: "DeviceRequestedError",
    when: "The kernel requests the device back, because it is unbound or removed. A wait ended early for that reason.",
    retry: "Only to stop the device. Then close it.",
  },
  ERR_IOVA_UNSUPPORTED: {
    thrownAs: "UnsupportedError",
    when: "This kernel, device or backend lacks the feature.",
    retry: "No. Do without the feature.",
  },
  ERR_IOVA_NO_SPACE: {
    thrownAs: "IovaSpaceError",
    when: "No free I/O virtual address range fits the request.",
    retry: "After unmapping memory or lifting a restriction on the addresses.",
  },
  ERR_IOVA_POOL_EXHAUSTED: {
    thrownAs: "PoolExhaustedError",
    when: "A DMA pool has no free block of the requested size.",
    retry: "After freeing a block.",
  },
  ERR_IOVA_MEMLOCK: {
    thrownAs: "MemlockError",
    when: "Pinning the memory would exceed the memlock limit (`ulimit -l`).",
    retry: "After unmapping memory or raising the limit.",
  },
  ERR_IOVA_DMA_ACCESS: {
    thrownAs: "DmaAccessError",
    when: "An emulated device accessed memory that its client has not mapped, or not with that right.",
    retry: "No. The driver gave the device a wrong address.",
  },
  ERR_IOVA_VFIO_USER: {
    thrownAs: "VfioUserProtocolError",
    when: "The other side of a vfio-user connection violated the protocol. The connection is unusable.",
    retry: "After connecting again.",
  },
  ERR_IOVA_REFUSED: {
    thrownAs: "Refusal",
    when: "An emulated device refused a request of its client, or a user did not confirm a command.",
    retry: "No.",
  },
  ERR_IOVA_BIND: {
    thrownAs: "BindError",
    when: "A PCI device could not be moved to vfio-pci, or back to its kernel driver.",
    retry: "After solving what the message names.",
  },
  ERR_IOVA_HOST_CHANGE: {
    thrownAs: "HostChangeError",
    when: "A change to the host failed and was undone, or the record of changes can't be used.",
    retry: "After solving what the message names.",
  },
  ERR_IOVA_NVME: {
    thrownAs: "NvmeError",
    when: "The NVMe controller completed a command with an error status.",
    retry: "Unless `doNotRetry` is set.",
  },
  ERR_IOVA_NVME_PROTOCOL: {
    thrownAs: "NvmeProtocolError",
    when: "The NVMe controller violated the specification or reported a fatal status. It was stopped.",
    retry: "After a reset of the controller.",
  },
  ERR_IOVA_NVME_RESET: {
    thrownAs: "NvmeResetError",
    when: "The command was outstanding when its controller was reset.",
    retry: "If the command can be repeated: it may have been executed.",
  },
  ERR_IOVA_GUEST: {
    thrownAs: "GuestFailedError",
    when: "Command line: the guest of `iova compare` ended with an error.",
    retry: "After reading the guest's log.",
  },
  ERR_IOVA_FILE: {
    thrownAs: "IovaError",
    when: "Command line: a data file could not be read or written.",
    retry: "After solving what the message names.",
  },
  ERR_IOVA_OUTPUT: {
    thrownAs: "OutputError",
    when: "Command line: standard output could not be written.",
    retry: "No.",
  },
} as const satisfies Readonly<Record<string, CodeMeaning>>;

/** The codes that this library defines. A {@link SysError} has an errno's name instead, such as `EBUSY`. */
export type IovaErrorCode = keyof typeof codeMeanings;

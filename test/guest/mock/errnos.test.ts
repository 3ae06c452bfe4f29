/**
 * What the kernel refuses, provoked: each entry of src/core/hints.ts that no other test provokes and that takes no real
 * device. docs/errors.md says where the others are.
 */
import { closeSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type Hwpt, InvalidationError, type Ioas, Iommufd, Viommu } from "../../../src/doors/iommufd.js";
import { MappedMemory, type Resource, SysError } from "../../../src/index.js";
import { memfd } from "../../../src/sys/syscalls.js";
import { sysError } from "../../support/errors.js";
import { guestProgram } from "../../support/guest-programs.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { MockDevice, mock, mockHwptData, mockInvalidations } from "../../support/mock.js";
import { PAGE } from "../../support/mock-domain.js";
import { mockViommuData } from "../../support/mock-nesting.js";
import { destroyAnswer } from "../../support/raw-iommufd.js";
import { run } from "../../support/run.js";

/** The last page of all addresses; a range of two from there ends beyond the end. */
const LAST_PAGE = 2n ** 64n - BigInt(PAGE);
/** Below vm.mmap_min_addr: never mapped. */
const NOWHERE = { address: 0x8000, sizeBytes: PAGE };

/** An iommufd with a device on one address space, another without, and some memory. */
class Scene {
  readonly iommufd: Iommufd = Iommufd.open();
  readonly ioas: Ioas = this.iommufd.allocIoas();
  readonly bare: Ioas = this.iommufd.allocIoas();
  readonly device: MockDevice = MockDevice.create(this.ioas, { pasid: true });
  readonly memory = MappedMemory.anonymous(4 * PAGE);
  readonly file = memfd("errnos", 4 * PAGE);
  private readonly lost: Resource[] = [];

  /** Somebody with the same descriptor destroys an object by its id. */
  lose<T extends Ioas | Hwpt | Viommu>(object: T): T {
    expect(destroyAnswer(this.iommufd.fd, object.id)).toBe("ok");
    this.lost.push(object);
    return object;
  }

  loseDevice(): MockDevice {
    expect(destroyAnswer(this.iommufd.fd, this.device.stdevId)).toBe("ok");
    this.lost.push(this.device);
    return this.device;
  }

  get hwpt() {
    return this.ioas.allocHwpt(this.device);
  }

  get dirtyHwpt() {
    return this.ioas.allocHwpt(this.device, { dirtyTracking: true });
  }

  get parent() {
    return this.ioas.allocHwpt(this.device, { nestParent: true });
  }

  get nested() {
    return this.parent.allocNested(this.device, mockHwptData(mock.iotlbDefault));
  }

  get viommu(): Viommu {
    return Viommu.alloc(this.parent, this.device, mockViommuData(0));
  }

  close(): void {
    for (const object of this.lost) {
      expect(() => object.close()).toThrow(sysError("IOMMU_DESTROY", "ENOENT"));
    }
    this.iommufd.close();
    this.memory.close();
    closeSync(this.file);
  }
}

type Provocation = (scene: Scene) => unknown;

const provocations: readonly (readonly [request: string, errno: string, provoke: Provocation])[] = [
  [
    "IOMMU_DESTROY",
    "EBUSY",
    ({ hwpt, device, ioas }) => {
      device.replace(hwpt);
      try {
        hwpt.close();
      } finally {
        device.replace(ioas);
      }
    },
  ],
  ["IOMMU_IOAS_IOVA_RANGES", "ENOENT", (s) => s.lose(s.bare).iovaRanges()],
  ["IOMMU_IOAS_MAP", "EOVERFLOW", ({ bare, memory }) => bare.map(memory, { iova: LAST_PAGE })],
  ["IOMMU_IOAS_MAP", "ENOENT", (s) => s.lose(s.bare).map(s.memory)],
  [
    "IOMMU_IOAS_MAP_FILE",
    "EOVERFLOW",
    ({ bare, file }) => bare.mapFile(file, 0, 2 * PAGE, { iova: LAST_PAGE }),
  ],
  [
    "IOMMU_IOAS_MAP_FILE",
    "ENOSPC",
    ({ bare, file }) => {
      bare.allowIovas([{ start: 0x10000n, last: 0x10fffn }]);
      bare.mapFile(file, 0, 2 * PAGE);
    },
  ],
  [
    "IOMMU_IOAS_COPY",
    "EINVAL",
    ({ ioas, bare, memory }) => {
      const at = bare.map(memory);
      ioas.copyFrom(bare, at, PAGE, { iova: mock.apertureStart + 1n });
    },
  ],
  [
    "IOMMU_IOAS_COPY",
    "ENOSPC",
    ({ ioas, bare, memory }) => {
      const at = ioas.map(memory);
      bare.allowIovas([{ start: 0x10000n, last: 0x10fffn }]);
      bare.copyFrom(ioas, at, 2 * PAGE);
    },
  ],
  [
    "IOMMU_IOAS_COPY",
    "EOVERFLOW",
    ({ ioas, bare, memory }) => {
      const at = ioas.map(memory);
      bare.copyFrom(ioas, at, 2 * PAGE, { iova: LAST_PAGE });
    },
  ],
  // Nothing looks at the memory before there is a device that could reach it.
  ["IOMMU_IOAS_COPY", "EFAULT", ({ ioas, bare }) => ioas.copyFrom(bare, bare.map(NOWHERE), PAGE)],
  ["IOMMU_IOAS_UNMAP", "EOVERFLOW", ({ bare }) => bare.unmap(LAST_PAGE, 2 * PAGE)],
  ["IOMMU_OPTION", "EOPNOTSUPP", ({ iommufd }) => iommufd.option(1, 99, 0, 0n)],
  ["IOMMU_VFIO_IOAS", "ENOENT", (s) => s.iommufd.setVfioIoas(s.lose(s.bare))],
  ["IOMMU_HWPT_ALLOC", "EINVAL", ({ hwpt, device }) => hwpt.allocNested(device, mockHwptData(0))],
  ["IOMMU_HWPT_ALLOC", "ENOENT", (s) => s.bare.allocHwpt(s.loseDevice())],
  [
    "IOMMU_HWPT_ALLOC",
    "EADDRINUSE",
    ({ bare, device, memory }) => {
      bare.map(memory, { iova: 0n });
      bare.allocHwpt(device);
    },
  ],
  [
    "IOMMU_HWPT_ALLOC",
    "EFAULT",
    ({ bare, device }) => {
      bare.map(NOWHERE, { iova: mock.apertureStart });
      bare.allocHwpt(device);
    },
  ],
  ["IOMMU_HWPT_SET_DIRTY_TRACKING", "ENOENT", (s) => s.lose(s.dirtyHwpt).setDirtyTracking(true)],
  ["IOMMU_HWPT_GET_DIRTY_BITMAP", "ENOENT", (s) => s.lose(s.dirtyHwpt).readDirty(0n, PAGE, PAGE)],
  [
    "IOMMU_HWPT_GET_DIRTY_BITMAP",
    "EOVERFLOW",
    ({ dirtyHwpt }) => dirtyHwpt.readDirty(LAST_PAGE, 2 * PAGE, PAGE),
  ],
  [
    "IOMMU_HWPT_INVALIDATE",
    "EINVAL",
    ({ nested }) => nested.invalidate({ ...mockInvalidations([[0, 0]]), type: mock.invalidateTypeInvalid }),
  ],
  [
    "IOMMU_HWPT_INVALIDATE",
    "EOPNOTSUPP",
    ({ nested }) => nested.invalidate(mockInvalidations([[0xffffffff, 0]])),
  ],
  ["IOMMU_HWPT_INVALIDATE", "ENOENT", (s) => s.lose(s.nested).invalidate(mockInvalidations([[1, 0]]))],
  ["IOMMU_VIOMMU_ALLOC", "ENOENT", (s) => Viommu.alloc(s.lose(s.parent), s.device, mockViommuData(0))],
  ["IOMMU_VDEVICE_ALLOC", "ENOENT", (s) => s.lose(s.viommu).allocVdevice(s.device, 1n)],
  [
    "IOMMU_VEVENTQ_ALLOC",
    "ENOENT",
    (s) => s.lose(s.viommu).allocVeventq({ type: mock.veventqType, depth: 2, eventBytes: 4 }),
  ],
  ["IOMMU_HW_QUEUE_ALLOC", "EOPNOTSUPP", ({ viommu }) => viommu.allocHwQueue(0, 0, 0n, PAGE)],
  [
    "IOMMU_HW_QUEUE_ALLOC",
    "EINVAL",
    ({ viommu, ioas, memory }) =>
      viommu.allocHwQueue(mock.hwQueueType, mock.hwQueueMax, ioas.map(memory), PAGE),
  ],
  [
    "IOMMU_HW_QUEUE_ALLOC",
    "ENOENT",
    ({ viommu }) => viommu.allocHwQueue(mock.hwQueueType, 0, mock.apertureStart, PAGE),
  ],
  [
    "IOMMU_HW_QUEUE_ALLOC",
    "EOVERFLOW",
    ({ viommu }) => viommu.allocHwQueue(mock.hwQueueType, 0, LAST_PAGE, 2 * PAGE),
  ],
  [
    "IOMMU_HW_QUEUE_ALLOC",
    "EIO",
    ({ viommu, ioas, memory }) => viommu.allocHwQueue(mock.hwQueueType, 1, ioas.map(memory), PAGE),
  ],
  [
    "IOMMU_HW_QUEUE_ALLOC",
    "EEXIST",
    ({ viommu, ioas, memory }) => {
      const at = ioas.map(memory);
      viommu.allocHwQueue(mock.hwQueueType, 0, at, PAGE);
      viommu.allocHwQueue(mock.hwQueueType, 0, at, PAGE);
    },
  ],
  [
    "IOMMU_HW_QUEUE_ALLOC",
    "EFAULT",
    ({ viommu, ioas, memory }) => {
      // The same page twice, one after the other: contiguous to the device, and not in fact.
      const page = { address: memory.address, sizeBytes: PAGE };
      const at = ioas.map(page, { iova: mock.apertureStart });
      ioas.map(page, { iova: mock.apertureStart + BigInt(PAGE) });
      viommu.allocHwQueue(mock.hwQueueType, 0, at, 2 * PAGE);
    },
  ],
  [
    "IOMMU_IOAS_CHANGE_PROCESS",
    "EINVAL",
    ({ iommufd, bare, memory }) => {
      bare.map(memory);
      iommufd.changeProcess();
    },
  ],
  [
    "IOMMU_IOAS_NOIOMMU_GET_PA",
    "EOPNOTSUPP",
    ({ ioas, memory }) => ioas.noiommuPhysicalAddress(ioas.map(memory), PAGE),
  ],
];

/** Fails for an error that leaves its reader alone. */
function expectAdvice(error: unknown, request: string, errno: string): void {
  expect(error).toBeInstanceOf(SysError);
  expect(error).toMatchObject({
    syscall: request,
    code: errno,
    hint: expect.any(String),
    object: expect.any(String),
  });
}

describe("an errno of the kernel", () => {
  expectNothingLeft();

  test.each(provocations)("is thrown with its meaning: %s with %s", (request, errno, provoke) => {
    const scene = new Scene();
    try {
      let thrown: unknown;
      try {
        provoke(scene);
      } catch (error) {
        thrown = error;
      }
      expectAdvice(thrown, request, errno);
      if (request === "IOMMU_HWPT_INVALIDATE") expect(thrown).toBeInstanceOf(InvalidationError);
    } finally {
      scene.close();
    }
  });
});

describe("an errno for a user without privileges, or with all descriptors in use", () => {
  expectNothingLeftSoon();

  /** Provoked in the program: ["IOMMU_OPTION", "EPERM"] and so on. */
  const expected = [
    ["IOMMU_IOAS_CHANGE_PROCESS", "ENOMEM"],
    ["IOMMU_OPTION", "EPERM"],
    ["IOMMU_IOAS_MAP", "ENOMEM"],
    ["IOMMU_IOAS_MAP_FILE", "ENOMEM"],
    ["IOMMU_HWPT_ALLOC", "ENOMEM"],
    ["IOMMU_IOAS_NOIOMMU_GET_PA", "EPERM"],
    ["IOMMU_FAULT_QUEUE_ALLOC", "EMFILE"],
    ["IOMMU_VEVENTQ_ALLOC", "EMFILE"],
  ];

  test("is thrown with its meaning", async () => {
    // 16 pages may be locked, and no more descriptors be open than node needs to load its modules.
    const limits = 'ulimit -l 64; ulimit -n 1024; exec "$0" "$@"';
    const outcome = await run("sh", ["-c", limits, process.execPath, guestProgram("nobody-errnos")]);
    expect(outcome).toMatchObject({ status: 0, stderr: "" });
    const refusals: unknown = JSON.parse(outcome.stdout);
    expect(refusals).toEqual(
      expected.map(([request, errno]) => ({ request, errno, hint: expect.any(String) })),
    );
  });
});

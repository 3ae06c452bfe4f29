/**
 * What the kernel refuses of real devices, groups and containers, provoked: each entry of src/core/hints.ts that no other
 * test provokes. docs/errors.md says where the others are.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Lease } from "../../../src/core/lifetime/lease.js";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { EventFd, VfioContainer, VfioDevice, VfioGroup } from "../../../src/doors/vfio.js";
import { bindToVfio, MappedMemory, SysError, type VfioBinding } from "../../../src/index.js";
import { sysError } from "../../support/errors.js";
import { nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { asUnprivileged } from "../../support/unprivileged.js";

const PAGE = 4096;
const MIB = 1024 * 1024;
const AT = 0x10_0000n;
/** A range of more than one page from there ends beyond the last address. */
const LAST_PAGE = 2n ** 64n - BigInt(PAGE);

const bindings: VfioBinding[] = [];
beforeAll(() => {
  bindings.push(bindToVfio(nvmeBdf()));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

expectNothingLeft();

/** The nvme by cdev, bound but not attached. */
class ByCdev implements Disposable {
  readonly iommufd = Iommufd.open();
  readonly ioas = this.iommufd.allocIoas();
  readonly device = VfioDevice.openCdev(nvmeBdf());

  constructor() {
    this.device.bind(this.iommufd);
  }

  [Symbol.dispose](): void {
    this.iommufd.close();
  }
}

/** The nvme's group in a container with an IOMMU. */
class ByGroup implements Disposable {
  readonly container = VfioContainer.open();
  readonly group = VfioGroup.openFor(nvmeBdf());
  readonly memory = MappedMemory.anonymous(MIB);

  constructor() {
    this.group.setContainer(this.container);
    this.container.setIommu("type1v2");
  }

  [Symbol.dispose](): void {
    this.container.close();
    this.group.close();
    this.memory.close();
  }
}

function byCdev(provoke: (scene: ByCdev) => unknown): () => void {
  return () => {
    using scene = new ByCdev();
    provoke(scene);
  };
}

function byGroup(provoke: (scene: ByGroup) => unknown): () => void {
  return () => {
    using scene = new ByGroup();
    provoke(scene);
  };
}

/** A container whose descriptor is something else. */
function containerOf(fd: number): VfioContainer {
  return VfioContainer.ofIommufd({ fd, lease: new Lease("no container", () => {}) });
}

function setContainer(fd: number): void {
  using group = VfioGroup.openFor(nvmeBdf());
  using container = containerOf(fd);
  group.setContainer(container);
}

const TOKEN = "52ac9bff-3a88-4fbd-901a-0d767c3b6c97";

const provocations: readonly (readonly [request: string, errno: string, provoke: () => unknown])[] = [
  [
    "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
    "ENOMEM",
    byCdev(({ ioas, device }) => {
      using memory = MappedMemory.anonymous(MIB);
      // Counted when it is pinned, and that is when there is a device; but on whoever mapped it.
      asUnprivileged({ memlockBytes: 16 * PAGE }, () => {
        ioas.map(memory);
        device.attach(ioas);
      });
    }),
  ],
  ["VFIO_GROUP_SET_CONTAINER", "EBADF", () => setContainer(100_000)],
  [
    "VFIO_GROUP_SET_CONTAINER",
    "EBADFD",
    () => {
      using eventfd = new EventFd();
      setContainer(eventfd.fd);
    },
  ],
  [
    "VFIO_GROUP_GET_DEVICE_FD",
    "EINVAL",
    byGroup(({ group }) => group.openDevice(nvmeBdf(), { token: TOKEN })),
  ],
  [
    "VFIO_IOMMU_MAP_DMA",
    "ENOMEM",
    byGroup(({ container, memory }) =>
      asUnprivileged({ memlockBytes: 16 * PAGE }, () => container.map(memory, AT, "read-write")),
    ),
  ],
  [
    "VFIO_IOMMU_MAP_DMA",
    "EOVERFLOW",
    byGroup(({ container, memory }) => container.map(memory, LAST_PAGE, "read")),
  ],
  ["VFIO_IOMMU_UNMAP_DMA", "EOVERFLOW", byGroup(({ container }) => container.unmap(LAST_PAGE, 2 * PAGE))],
  ["VFIO_IOMMU_MAP_DMA", "ENOENT", byGroup(({ container, memory }) => container.setVaddr(memory, AT))],
  [
    "VFIO_IOMMU_DIRTY_PAGES",
    "EINVAL",
    byGroup(({ container, memory }) => {
      container.map(memory, AT, "read-write");
      container.readDirty(AT, MIB, PAGE);
    }),
  ],
];

/** What was thrown: it must say what the errno means, and what it is about. */
function thrownBy(provoke: () => unknown): unknown {
  try {
    provoke();
  } catch (error) {
    expect(error).toBeInstanceOf(SysError);
    expect(error).toMatchObject({ hint: expect.any(String), object: expect.any(String) });
    return error;
  }
  throw new Error("nothing was thrown");
}

describe("an errno of the kernel", () => {
  test.each(provocations)("is thrown with its meaning: %s with %s", (request, errno, provoke) => {
    expect(thrownBy(provoke)).toMatchObject({ syscall: request, code: errno });
  });

  test("EBUSY: a group can't leave its container while another process has inherited its device", async () => {
    using scene = new ByGroup();
    const { group } = scene;
    const device = group.openDevice(nvmeBdf());
    const holder: ChildProcess = spawn("sleep", ["60"], { stdio: ["ignore", "ignore", "ignore", device.fd] });
    await once(holder, "spawn");
    expect(thrownBy(() => group.unsetContainer())).toEqual(sysError("VFIO_GROUP_UNSET_CONTAINER", "EBUSY"));
    holder.kill("SIGKILL");
    await once(holder, "exit");
  });
});

/** The ways to reach a PCI function. Drivers get a DeviceIo and a DmaSpace and never know which way it was. */

import { ArgumentError, UnsupportedError } from "../core/errors.js";
import { closeAll } from "../core/lifetime/close-all.js";
import type { Resource } from "../core/lifetime/resource.js";
import { DmaSpace } from "../dma/space.js";
import { assertIommu } from "../iommufd/attach-device.js";
import { IoasMapper } from "../iommufd/ioas-mapper.js";
import { Iommufd } from "../iommufd/iommufd.js";
import { NoiommuIoasMapper } from "../iommufd/noiommu-mapper.js";
import { VfioDevice } from "../vfio/device.js";
import type { DeviceIo } from "../vfio/device-io.js";
import { isJoinable } from "../vfio/joinable.js";
import { VfioContainer } from "../vfio-legacy/container.js";
import { ContainerMapper } from "../vfio-legacy/container-mapper.js";
import { VfioGroup } from "../vfio-legacy/group.js";
import { NoiommuGroupMapper } from "../vfio-legacy/noiommu-mapper.js";
import { VFIO_TYPE1v2_IOMMU } from "../vfio-legacy/uapi.js";
import { VfioUserClient } from "../vfio-user/client/client.js";
import { VfioUserDevice } from "../vfio-user/client/device.js";
import { VfioUserMapper } from "../vfio-user/client/mapper.js";
import type { VfioUserOptions } from "../vfio-user/client/options.js";
import { ConfigSpace, PciCommand, PciRegister } from "./config-space.js";

/** Backends that are tried where none is asked for, in this order. */
export const backendNames = ["iommufd", "type1"] as const;
/** Those, and the ones that have to be asked for. */
export const allBackendNames = [...backendNames, "iommufd-compat", "noiommu", "vfio-user"] as const;
/**
 * `iommufd-compat`: container requests answered by an iommufd, the device by its group. `noiommu`: no IOMMU at all
 * (vfio.enable_unsafe_noiommu_mode): addresses are physical and nothing keeps a device from other memory. `vfio-user`: a
 * device that a program serves at a socket, opened by the address `vfio-user:PATH`.
 */
export type BackendName = (typeof allBackendNames)[number];

/** An opened function: its two interfaces, and everything that was opened for them, in closing order. */
export interface OpenedBackend {
  readonly io: DeviceIo;
  readonly space: DmaSpace;
  /** The device first, so that it can't DMA any more when its mappings go. */
  readonly resources: readonly Resource[];
  /** Runs after they are closed. */
  readonly after?: () => void;
  /** What there is to say of how it was opened. */
  readonly remark?: string;
}

const openers: Readonly<Record<BackendName, (bdf: string, token: string | undefined) => OpenedBackend>> = {
  iommufd: openIommufd,
  type1: openType1,
  "iommufd-compat": openCompat,
  noiommu: openNoiommu,
  "vfio-user": () => {
    throw new ArgumentError('a device behind a vfio-user server is opened by its socket: "vfio-user:/path"');
  },
};

/** What {@link openBackend} decided, and why. */
export interface BackendChoice extends OpenedBackend {
  readonly name: BackendName;
  /** One sentence for people. */
  readonly reason: string;
}

/**
 * Opens a function through the backend asked for, or else the first that works.
 * @param token of the physical function, a UUID
 * @throws the backend's own error where one was asked for; UnsupportedError with every backend's reason
 */
export function openBackend(bdf: string, wanted?: BackendName, token?: string): BackendChoice {
  if (wanted !== undefined) {
    const open = openers[wanted];
    if (open === undefined) {
      throw new ArgumentError(
        `backend must be one of ${allBackendNames.join(", ")}, got ${JSON.stringify(wanted)}`,
      );
    }
    const opened = open(bdf, token);
    const remark = opened.remark === undefined ? "" : `; ${opened.remark}`;
    return { ...opened, name: wanted, reason: `${wanted} was asked for${remark}` };
  }
  const failures: { name: BackendName; error: unknown }[] = [];
  for (const name of backendNames) {
    try {
      const opened = openers[name](bdf, token);
      const because = failures.map((failure) => `${failure.name} can't be used: ${messageOf(failure.error)}`);
      return {
        ...opened,
        name,
        reason: because.length > 0 ? because.join("; ") : `${name} works and comes first`,
      };
    } catch (error) {
      failures.push({ name, error });
    }
  }
  const reasons = failures.map(({ name, error }) => `${name}: ${messageOf(error)}`).join("; ");
  throw new UnsupportedError(`${bdf} can't be opened through any backend. ${reasons}`, {
    cause: new AggregateError(
      failures.map(({ error }) => error),
      reasons,
    ),
  });
}

/**
 * Opens a function into an address space that exists, with all that is mapped there.
 * @param token of the physical function, a UUID
 * @throws ArgumentError (a backend was asked for that isn't the space's), SysError: EADDRINUSE (iommufd) or EINVAL (type1)
 *   where something is mapped that the device's IOMMU can't translate
 */
export function joinSpace(bdf: string, space: DmaSpace, wanted?: BackendName, token?: string): BackendChoice {
  space.lease.assertOpen();
  const { mapper } = space;
  if (wanted !== undefined && wanted !== mapper.name) {
    throw new ArgumentError(`this DMA space is of backend ${mapper.name}, not ${wanted}`);
  }
  const reason = "the DMA space it was to join is of this backend";
  const { name } = mapper;
  if (isJoinable(mapper) && isBackendName(name)) {
    const { io, leave } = mapper.attach(bdf, token);
    // Not the space itself: the function that runs after it is closed must not keep it from being collected.
    const chooser = mapper.extensions?.chooser;
    const after = (): void => {
      leave();
      chooser?.reset();
    };
    chooser?.reset();
    return { io, space, resources: [io], after, name, reason };
  }
  throw new UnsupportedError(`a device can't join a DMA space of ${mapper.name}`);
}

/** Opens the device that a vfio-user server has. @throws as VfioUserClient.connect() */
export function openVfioUser(path: string, options: VfioUserOptions): BackendChoice {
  return opening((opened) => {
    const client = opened(VfioUserClient.connect(path, options));
    const device = opened(new VfioUserDevice(client));
    const space = opened(new DmaSpace(new VfioUserMapper(client)));
    // What vfio-pci does when a device is opened: whoever gets it finds its registers switched on.
    const config = new ConfigSpace(device);
    const enable = (): void => {
      const command = config.read16(PciRegister.command);
      config.write16(PciRegister.command, command | PciCommand.memorySpace | PciCommand.ioSpace);
    };
    enable();
    client.onReconnect(() => {
      if (!device.closed) enable();
    });
    const reason = "the address names a vfio-user socket";
    return { io: device, space, resources: [device, space, client], name: "vfio-user", reason };
  });
}

/** Closes what was opened so far when a later step fails. */
function opening<T>(steps: (opened: <R extends Resource>(resource: R) => R) => T): T {
  const resources: Resource[] = [];
  try {
    return steps((resource) => {
      resources.unshift(resource);
      return resource;
    });
  } catch (error) {
    closeAll(resources, "undoing a failed open");
    throw error;
  }
}

function isBackendName(name: string): name is BackendName {
  return allBackendNames.some((known) => known === name);
}

function openIommufd(bdf: string, token: string | undefined): OpenedBackend {
  return openCdev(bdf, token, false);
}

function openCdev(bdf: string, token: string | undefined, noiommu: boolean): OpenedBackend {
  return opening((opened) => {
    const iommufd = opened(Iommufd.open());
    // The kernel would attach it to an IOAS all the same.
    assertIommu(bdf, noiommu);
    const ioas = opened(iommufd.allocIoas());
    const device = opened(VfioDevice.openCdev(bdf));
    device.bind(iommufd, { token });
    device.attach(ioas);
    const space = opened(new DmaSpace(noiommu ? new NoiommuIoasMapper(ioas) : new IoasMapper(ioas)));
    return { io: device, space, resources: [device, space, ioas, iommufd] };
  });
}

function openType1(bdf: string, token: string | undefined): OpenedBackend {
  return opening((opened) => {
    const container = opened(VfioContainer.open());
    return openGroup(bdf, token, opened, container, (ready) => new ContainerMapper(ready));
  });
}

function openCompat(bdf: string, token: string | undefined): OpenedBackend {
  return opening((opened) => {
    const iommufd = opened(Iommufd.open());
    const container = opened(VfioContainer.ofIommufd(iommufd));
    const name = "iommufd-compat";
    const result = openGroup(bdf, token, opened, container, (ready) => new ContainerMapper(ready, name));
    return { ...result, resources: [...result.resources, iommufd] };
  });
}

function openGroup(
  bdf: string,
  token: string | undefined,
  opened: <R extends Resource>(resource: R) => R,
  container: VfioContainer,
  makeMapper: (container: VfioContainer) => ContainerMapper | NoiommuGroupMapper,
  noiommu = false,
): OpenedBackend {
  const group = opened(VfioGroup.openFor(bdf));
  group.setContainer(container);
  const type1 = container.checkExtension(VFIO_TYPE1v2_IOMMU) ? "type1v2" : "type1";
  container.setIommu(noiommu ? "noiommu" : type1);
  const device = opened(group.openDevice(bdf, { token }));
  const mapper = makeMapper(container);
  mapper.groups.add(group);
  const space = opened(new DmaSpace(mapper));
  return { io: device, space, resources: [device, space, group, container] };
}

/** By character device, where memory is pinned; else by group. */
function openNoiommu(bdf: string, token: string | undefined): OpenedBackend {
  let why: unknown;
  try {
    return { ...openCdev(bdf, token, true), remark: "by character device" };
  } catch (error) {
    why = error;
  }
  const opened = opening((keep) => {
    const container = keep(VfioContainer.open());
    const makeMapper = (ready: VfioContainer): NoiommuGroupMapper => new NoiommuGroupMapper(ready);
    return openGroup(bdf, token, keep, container, makeMapper, true);
  });
  return { ...opened, remark: `by group, since by character device: ${messageOf(why)}` };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

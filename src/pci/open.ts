/** Chooses the backend that opens a PCI function. This is the only file that knows all of them. */
import { checkFunction, show } from "../core/check.js";
import { ArgumentError, UnsupportedError } from "../core/errors.js";
import { checkLeased } from "../core/lifetime/lease.js";
import type { Leased } from "../core/lifetime/resource.js";
import type { DmaMapper } from "../dma/mapper.js";
import type { DmaSpace } from "../dma/space.js";
import { isJoinable, type JoinedDevice, takesGiven } from "../vfio/joinable.js";
import type { VfioUserOptions } from "../vfio-user/client/options.js";
import { type Backend, messageOf, type OpenedBackend } from "./backends/backend.js";
import {
  backendOf,
  checkDescriptors,
  type DeviceDescriptors,
  joinGiven,
  openGiven,
} from "./backends/given.js";
import { iommufd } from "./backends/iommufd.js";
import { iommufdCompat } from "./backends/iommufd-compat.js";
import { joinLent, openLent } from "./backends/lent.js";
import { noiommu } from "./backends/noiommu.js";
import { type1 } from "./backends/type1.js";
import { vfioUser } from "./backends/vfio-user.js";

/** Names of the backends that are tried if the caller names none, in this order. */
export const backendNames = [iommufd.name, type1.name] as const;
/** Names of all backends. Those that {@link backendNames} lacks are used only if the caller names them. */
export const allBackendNames = [...backendNames, iommufdCompat.name, noiommu.name, vfioUser.name] as const;
/**
 * `iommufd-compat`: an iommufd answers a container's requests; the device is opened by its group. `noiommu`: there is no IOMMU
 * (vfio.enable_unsafe_noiommu_mode), addresses are physical, and the device can access all memory. `vfio-user`: another
 * program serves the device at a socket; its address is `vfio-user:PATH`.
 */
export type BackendName = (typeof allBackendNames)[number];

/** Backends that are tried if the caller names none, in this order. */
const tried: readonly Backend[] = [iommufd, type1];
/** Backends that open functions of this host. */
const local: readonly Backend[] = [...tried, iommufdCompat, noiommu];

/** The choice of {@link openBackend}, and its reason. */
export interface BackendChoice extends OpenedBackend {
  /** A {@link BackendName}, or the name of the caller's own mapper. */
  readonly name: string;
  /** Why it was chosen, in words for people. */
  readonly reason: string;
}

/**
 * Opens a function through the named backend, or else through the first that works.
 * @param bdf domain:bus:device.function
 * @param token of the physical function, a UUID
 * @throws the backend's own error if one was named; otherwise UnsupportedError with every backend's reason
 */
export function openBackend(bdf: string, wanted?: BackendName, token?: string): BackendChoice {
  if (wanted !== undefined) return openNamed(bdf, wanted, token);
  const failures: { name: string; error: unknown }[] = [];
  for (const { name, open } of tried) {
    try {
      const opened = open(bdf, token);
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

function openNamed(bdf: string, wanted: BackendName, token: string | undefined): BackendChoice {
  if (wanted === vfioUser.name) {
    throw new ArgumentError('a vfio-user server\'s device is opened by its socket: give "vfio-user:/path"');
  }
  const backend = local.find(({ name }) => name === wanted);
  if (backend === undefined) {
    throw new ArgumentError(`backend must be one of ${allBackendNames.join(", ")}, got ${show(wanted)}`);
  }
  const opened = backend.open(bdf, token);
  const remark = opened.remark === undefined ? "" : `; ${opened.remark}`;
  return { ...opened, name: wanted, reason: `${wanted} was asked for${remark}` };
}

/**
 * Opens a function in an existing address space, with everything that is mapped there. The space's mapper does so; it may be
 * the caller's own.
 * @param bdf domain:bus:device.function
 * @param token of the physical function, a UUID
 * @throws ArgumentError: the named backend isn't the space's; UnsupportedError: its mapper attaches no devices; SysError:
 *   EADDRINUSE (iommufd) or EINVAL (type1) if the device's IOMMU can't translate something that is mapped
 */
export function joinSpace(bdf: string, space: DmaSpace, wanted?: BackendName, token?: string): BackendChoice {
  const mapper = mapperFor(space, wanted);
  if (!isJoinable(mapper)) throw new UnsupportedError(`a device can't join a DMA space of ${mapper.name}`);
  return joined(space, mapper.attach(bdf, token), []);
}

/**
 * {@link joinSpace} of a function whose node another process opened.
 * @param from its descriptors, or the socket of the server that lends it
 * @throws ArgumentError: the backend, or the descriptors, aren't the space's; as joinSpace(), joinGiven() and joinLent()
 */
export function joinSpaceGiven(
  bdf: string,
  space: DmaSpace,
  wanted: BackendName | undefined,
  from: { readonly descriptors: DeviceDescriptors } | { readonly socket: string },
  token: string | undefined,
): BackendChoice {
  const mapper = mapperFor(space, wanted);
  const { name } = mapper;
  if (!takesGiven(mapper))
    throw new UnsupportedError(`a device can't join a DMA space of ${name} by descriptors from elsewhere`);
  if ("socket" in from) {
    const { loan, ...device } = joinLent(bdf, token, from.socket, mapper);
    return joined(space, device, [loan]);
  }
  const given = checkDescriptors(from.descriptors);
  if (backendOf(given) !== name)
    throw new ArgumentError(
      `the descriptors of ${bdf} are for ${backendOf(given)}, and the DMA space is of ${name}`,
    );
  return joined(space, joinGiven(bdf, token, given, mapper), []);
}

/** @throws ClosedError, ArgumentError if the named backend isn't the space's */
function mapperFor(space: DmaSpace, wanted: BackendName | undefined): DmaMapper {
  space.lease.assertOpen();
  const { mapper } = space;
  if (wanted === undefined || wanted === mapper.name) return mapper;
  throw new ArgumentError(`this DMA space is of backend ${mapper.name}, not ${wanted}`);
}

/** @param held closes after the device */
function joined(space: DmaSpace, { io, leave }: JoinedDevice, held: readonly Leased[]): BackendChoice {
  checkLeased("io, which attach() returned,", io, "a DeviceIo");
  checkFunction("leave, which attach() returned,", leave);
  // The function must not refer to the space, which would then never be garbage collected.
  const { name, extensions } = space.mapper;
  const chooser = extensions?.chooser;
  const after = (): void => {
    leave();
    chooser?.reset();
  };
  chooser?.reset();
  const reason = "the DMA space it was to join is of this backend";
  return { io, space, resources: [io, ...held], after, name, reason };
}

/**
 * Opens a function by descriptors that another process opened.
 * @throws ArgumentError: they are of another function, or another backend than `wanted`; as openGiven()
 */
export function openDescriptors(
  bdf: string,
  wanted: BackendName | undefined,
  descriptors: DeviceDescriptors | undefined,
  token: string | undefined,
): BackendChoice {
  const given = checkDescriptors(descriptors);
  if (wanted !== undefined && wanted !== backendOf(given))
    throw new ArgumentError(`the descriptors of ${bdf} are for ${backendOf(given)}, not for ${wanted}`);
  return { ...openGiven(bdf, token, given), reason: "its descriptors were given" };
}

/** Opens a function that a server lends. @param socket path of the server's @throws as openLent() */
export function openBorrowed(
  bdf: string,
  wanted: BackendName | undefined,
  socket: string,
  token: string | undefined,
): BackendChoice {
  return { ...openLent(bdf, token, socket, wanted), reason: `the server at ${socket} lends it` };
}

/** Opens the device of a vfio-user server. @throws as VfioUserClient.connect() */
export function openVfioUser(path: string, options: VfioUserOptions): BackendChoice {
  const { name, open } = vfioUser;
  return { ...open(path, options), name, reason: "the address names a vfio-user socket" };
}

/** Whether the mapper of an address space is one of this package's. */
export function isOwnBackend({ backend }: DmaSpace): boolean {
  return allBackendNames.some((known) => known === backend);
}

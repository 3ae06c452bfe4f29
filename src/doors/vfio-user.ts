/**
 * The client side of vfio-user: a device behind a UNIX socket, served by another process. The server is in
 * `iova/emulator`.
 *
 * @packageDocumentation
 */

export type { ListenOptions, Subscription } from "../core/listeners.js";
export type { DmaMapper } from "../dma/mapper.js";
export type { DeviceIo } from "../vfio/device-io.js";
export type { LoggedRange } from "../vfio/dma-logging.js";
export type {
  MigrationControl,
  MigrationState,
  MigrationStream,
  MigrationSupport,
  PrecopyInfo,
} from "../vfio/migration.js";
export { type ServerState, VfioUserClient } from "../vfio-user/client/client.js";
export { VfioUserDevice } from "../vfio-user/client/device.js";
export { VfioUserDmaLogging } from "../vfio-user/client/dma-logging.js";
export type { Answer, ClientDma } from "../vfio-user/client/exchange.js";
export { type IoEventPlace, VfioUserIoEventFd } from "../vfio-user/client/io-events.js";
export { VfioUserMapper } from "../vfio-user/client/mapper.js";
export { VfioUserMigration, VfioUserMigrationData } from "../vfio-user/client/migration.js";
export type { ReconnectOptions, VfioUserOptions } from "../vfio-user/client/options.js";
export { type VfioUserMessageTrace, VfioUserProtocolError } from "../vfio-user/protocol/channel.js";
export type { VfioUserCapabilities } from "../vfio-user/protocol/version.js";

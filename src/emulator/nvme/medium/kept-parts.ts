/** What controllers of a subsystem have besides namespaces, and where it outlives them: targets of RPMB, and boot partitions. */
import { statSync } from "node:fs";
import { ConfigError } from "../../../core/errors.js";
import { BootPartitions, keptBootPartitions } from "./boot-partitions.js";
import { KeptFile } from "./kept-file.js";
import { RpmbTarget, rpmbState } from "./rpmb-target.js";

interface KeptConfig {
  /** Path of the medium; undefined for one in memory. */
  readonly file?: string | undefined;
  readonly rpmbTargets: number;
  readonly bootPartitionBytes: number;
}

/** Targets of RPMB and boot partitions. With a medium in a file each change of them is in a file beside it before it succeeds. */
export class KeptParts {
  /** By number. */
  readonly rpmb: readonly RpmbTarget[];
  readonly bootPartitions: BootPartitions | undefined;
  private readonly rpmbFile: KeptFile<ReturnType<typeof rpmbState>> | undefined;
  private readonly bootFile: KeptFile<ReturnType<typeof keptBootPartitions>> | undefined;

  /** @throws ConfigError if there is no medium yet, but files beside it: they belong to another */
  constructor({ file, rpmbTargets, bootPartitionBytes }: KeptConfig) {
    if (file !== undefined) {
      // Without the option a file stays as it is.
      if (rpmbTargets > 0) this.rpmbFile = new KeptFile(file, "rpmb", "RPMB targets", rpmbState);
      if (bootPartitionBytes > 0)
        this.bootFile = new KeptFile(file, "boot", "boot partitions", keptBootPartitions);
      const isNew = (statSync(file, { throwIfNoEntry: false })?.size ?? 0) === 0;
      const left = [this.rpmbFile, this.bootFile].find((one) => isNew && one?.exists === true);
      if (left !== undefined)
        throw new ConfigError(
          `${left.path} belongs to a medium that ${file} no longer is: bring that medium back, or move ${left.path} away`,
        );
    }
    const keepRpmb = (): boolean => this.rpmbFile?.write(this.rpmb.map((target) => target.save())) ?? true;
    this.rpmb = Array.from({ length: rpmbTargets }, (_, i) => new RpmbTarget(i, keepRpmb));
    if (bootPartitionBytes > 0)
      this.bootPartitions = new BootPartitions(
        bootPartitionBytes,
        this.rpmb[0],
        (state) => this.bootFile?.write(state) ?? true,
      );
  }

  /**
   * Reads what the files hold.
   * @throws ConfigError (a file is damaged, or holds more than there is room for), SysError; nothing changes, and no file
   */
  load(): void {
    const { rpmb, bootPartitions, rpmbFile, bootFile } = this;
    const targets = rpmbFile?.read();
    const boot = bootFile?.read();
    if (targets !== undefined && targets.length > rpmb.length)
      throw new ConfigError(
        `${rpmbFile?.path} holds ${targets.length} RPMB targets, and there would be ${rpmb.length}: set rpmbTargets (--rpmb) to ${targets.length} or more`,
      );
    if (boot !== undefined && bootPartitions?.fits(boot) === false)
      throw new ConfigError(
        `${bootFile?.path} holds more than boot partitions of ${bootPartitions.sizeBytes} bytes have room for: set bootPartitionBytes (--boot-partitions) to the former size or more`,
      );
    for (const [i, target] of (targets ?? []).entries()) rpmb[i]?.load(target);
    // The power was off.
    for (const target of rpmb) target.reset();
    if (boot !== undefined) bootPartitions?.restore(boot);
  }
}

/** `iova nvme rpmb`: the Replay Protected Memory Block, by nvme-cli's actions. */
import type { NvmeRpmb } from "../../../nvme/admin/rpmb.js";
import {
  RPMB_KEY_BYTES,
  RPMB_SECTOR_BYTES,
  type RpmbConfiguration,
  rpmbConfiguration,
} from "../../../nvme/spec/rpmb.js";
import { rpmbActions, rpmbDescriptions } from "../../described/nvme/rpmb.js";
import { type Arguments, type Ask, commands, type Result } from "../command.js";
import { received } from "./data.js";

type RpmbArguments = Arguments<"cmd" | "key" | "keyfile" | "msg" | "msgfile" | "address" | "blocks">;
type Action = (rpmb: NvmeRpmb, ask: Ask) => Promise<Result>;

const MOST = 0xffff_ffff;

async function keyOf(args: RpmbArguments): Promise<Uint8Array | undefined> {
  const text = args.text("key");
  if (text !== undefined && args.text("keyfile") !== undefined)
    throw args.wrong("--key and --keyfile can't be combined");
  const bytes = text === undefined ? await args.file("keyfile") : Buffer.from(text);
  const isHex = text !== undefined && /^[0-9a-f]{64}$/i.test(text);
  const key = isHex ? Buffer.from(text, "hex") : bytes;
  if (key !== undefined && key.length !== RPMB_KEY_BYTES)
    throw args.wrong(`the key has ${key.length} bytes; RPMB keys have ${RPMB_KEY_BYTES}`);
  return key;
}

/** The data to write, as many whole sectors as --blocks says. */
async function messageOf(args: RpmbArguments): Promise<Uint8Array> {
  const text = args.text("msg");
  if (text !== undefined && args.text("msgfile") !== undefined)
    throw args.wrong("--msg and --msgfile can't be combined");
  const data = text === undefined ? await args.file("msgfile") : Buffer.from(text);
  if (data === undefined) return args.missing("msgfile FILE");
  const blocks = args.number("blocks", MOST, 1) ?? data.length / RPMB_SECTOR_BYTES;
  if (!Number.isInteger(blocks) || data.length < blocks * RPMB_SECTOR_BYTES) {
    throw args.wrong(
      `the data has ${data.length} bytes, which is no whole number of sectors of ${RPMB_SECTOR_BYTES}, or less than --blocks`,
    );
  }
  return data.subarray(0, blocks * RPMB_SECTOR_BYTES);
}

function configurationResult(configuration: RpmbConfiguration): Result {
  const { bootPartitionProtection, bootPartition0Locked, bootPartition1Locked } = configuration;
  return {
    json: {
      bp_protection: bootPartitionProtection,
      bp0_locked: bootPartition0Locked,
      bp1_locked: bootPartition1Locked,
      write_protection_control: configuration.writeProtectionControl,
    },
  };
}

async function prepared(args: RpmbArguments): Promise<Action> {
  const given = args.text("cmd") ?? "info";
  const action = rpmbActions.find((each) => each === given);
  args.asks = action === "program-key" || action === "write-data" || action === "write-config";
  const key = await keyOf(args);
  const needed = (): Uint8Array => key ?? args.missing("key KEY or --keyfile FILE");
  const address = args.number("address") ?? 0;
  switch (action) {
    case "info":
      return async ({ properties }) => ({
        json: {
          targets: properties.targets,
          authentication: properties.authentication,
          size: properties.sizeBytes,
          access_size: properties.accessBytes,
        },
      });
    case "program-key": {
      const programmed = needed();
      return async (rpmb, ask) => {
        await ask(`This programs the key of RPMB target ${rpmb.target}, which can never be changed`);
        await rpmb.programKey(programmed);
        return { json: { target: rpmb.target }, text: `programmed the key of target ${rpmb.target}` };
      };
    }
    case "read-counter":
      return async (rpmb) => {
        const counter = await rpmb.readCounter(key);
        return { json: { write_counter: counter }, text: `Write Counter is: ${counter}` };
      };
    case "read-data": {
      const blocks = args.number("blocks", MOST, 1) ?? args.missing("blocks N");
      return async (rpmb) => await received(args.text("msgfile"), await rpmb.read(address, blocks, key));
    }
    case "write-data": {
      const [data, sign] = [await messageOf(args), needed()];
      const sectors = data.length / RPMB_SECTOR_BYTES;
      return async (rpmb, ask) => {
        const where = `${sectors} sectors from ${address} of RPMB target ${rpmb.target}`;
        await ask(`This overwrites ${where}`);
        await rpmb.write(address, data, sign);
        return { json: { target: rpmb.target, address, sectors }, text: `wrote ${where}` };
      };
    }
    case "read-config":
      return async (rpmb) => {
        const configuration = await rpmb.readConfiguration(key);
        const shown = configurationResult(configuration);
        return await received(args.text("msgfile"), rpmbConfiguration.encode(configuration), shown);
      };
    case "write-config": {
      const [data, sign] = [await messageOf(args), needed()];
      if (data.length !== RPMB_SECTOR_BYTES)
        throw args.wrong(`a configuration has ${RPMB_SECTOR_BYTES} bytes, got ${data.length}`);
      const configuration = rpmbConfiguration.decode(data);
      return async (rpmb, ask) => {
        await ask(
          "This writes the Device Configuration Block; its protection of boot partitions can't be taken back",
        );
        await rpmb.writeConfiguration(configuration, sign);
        return configurationResult(configuration);
      };
    }
    default:
      throw args.wrong(`--cmd ${given}: expected one of ${rpmbActions.join(", ")}`);
  }
}

export const rpmbCommands = commands(rpmbDescriptions, {
  async rpmb(args) {
    const target = args.number("target", 6) ?? 0;
    const action = await prepared(args);
    return async (nvme, ask) => await action(nvme.security.rpmb(target), ask);
  },
});

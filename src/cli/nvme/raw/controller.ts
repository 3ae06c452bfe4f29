/** `iova nvme get-reg`, `set-reg`, `reset` and `subsystem-reset`. */
import { UnsupportedError } from "../../../core/errors.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { NvmeRegister } from "../../../nvme/spec/registers.js";
import { controllerDescriptions } from "../../described/nvme/controller.js";
import { type Arguments, commands, type Result } from "../command.js";
import { type RegisterDescription, registers } from "../commands/registers.js";
import { textOf } from "../commands/regs.js";

/** Registers that the driver has in use. */
const ofDriver: ReadonlySet<string> = new Set(["CC", "AQA", "ASQ", "ACQ", "NSSR", "CMBMSC"]);
const DOORBELLS = 0x1000;

function registerOf(args: Arguments<"offset">): RegisterDescription {
  const given = args.text("offset") ?? args.missing("offset");
  const named = registers.find(({ name }) => name === given.toUpperCase());
  if (named !== undefined) return named;
  if (!/^\d/.test(given)) throw args.wrong(`--offset ${given}: expected a number, or the name of a register`);
  const offset = args.needed("offset", 0x7fff_fffc);
  if (offset % 4 !== 0) throw args.wrong(`--offset ${given} is no multiple of 4`);
  return (
    registers.find((each) => each.offset === offset) ?? {
      name: `0x${offset.toString(16)}`,
      title: "",
      offset,
      bits: 32,
    }
  );
}

/** @throws UnsupportedError if the controller lacks the register */
function assertPresent(nvme: NvmeController, { name, present }: RegisterDescription): void {
  if (present?.(nvme.device.bar(0).read64(NvmeRegister.CAP)) === false)
    throw new UnsupportedError(`${nvme.bdf} has no register ${name} (CAP)`);
}

function result(nvme: NvmeController, register: RegisterDescription): Result {
  const { offset, bits, name } = register;
  const bar = nvme.device.bar(0);
  const value = bits === 64 ? bar.read64(offset) : BigInt(bar.read32(offset));
  const key = `register: 0x${offset.toString(16).padStart(2, "0")}`;
  return { json: { [key]: { name: name.toLowerCase(), value } }, text: textOf({ register, value }) };
}

const done = (what: string): Result => ({ json: { result: what }, text: what });

export const controllerCommands = commands(controllerDescriptions, {
  getRegister(args) {
    const register = registerOf(args);
    return async (nvme) => {
      assertPresent(nvme, register);
      return result(nvme, register);
    };
  },
  setRegister(args) {
    const register = registerOf(args);
    const { name, offset, bits } = register;
    if (ofDriver.has(name) || offset >= DOORBELLS)
      throw args.wrong(
        `--offset ${name}: the driver uses this register; iova repl reaches it without the driver`,
      );
    const value = args.big("value", 2n ** BigInt(bits) - 1n) ?? args.missing("value");
    return async (nvme, ask) => {
      assertPresent(nvme, register);
      await ask(`This writes 0x${value.toString(16)} to ${name}`);
      const bar = nvme.device.bar(0);
      if (bits === 64) bar.write64(offset, value);
      else bar.write32(offset, Number(value));
      return result(nvme, register);
    };
  },
  reset: () => async (nvme, ask) => {
    await ask("This resets the controller");
    await nvme.reset();
    return done(`${nvme.bdf} was reset`);
  },
  subsystemReset: () => async (nvme, ask) => {
    await ask("This resets the NVM subsystem with all its controllers");
    await nvme.reset("subsystem");
    return done(`the NVM subsystem of ${nvme.bdf} was reset`);
  },
});

/** `iova nvme get-reg`, `set-reg`, `reset` and `subsystem-reset`. */
import { flag, value } from "../description.js";
import { changes, reads } from "./common.js";

const offset = value("N", "offset of the register in BAR 0, or its name, such as csts", { short: "O" });

export const controllerDescriptions = {
  getRegister: reads("get-reg", "one register of the running controller", {
    needs: "-O N",
    options: { offset, "human-readable": flag("changes nothing: fields are always printed", "H") },
    example: ["-O csts", "prints the controller's status"],
    aliases: { "get-property": [] },
  }),
  setRegister: changes("set-reg", "set a register of the running controller", {
    needs: "-O N -V VALUE",
    text: "Sets a register, and reads it back. Those that the driver needs (CC, queues, doorbells) are refused.",
    options: { offset, value: value("VALUE", "what to write", { short: "V" }) },
    example: ["-O intms -V 1", "masks the first interrupt"],
    aliases: { "set-property": [] },
  }),
  reset: changes("reset", "reset the controller (CC.EN)", {
    options: {},
    example: ["", "resets it, and starts it again"],
  }),
  subsystemReset: changes("subsystem-reset", "reset the NVM subsystem with all its controllers (NSSR)", {
    options: {},
    example: ["", "resets everything that belongs to it"],
  }),
};

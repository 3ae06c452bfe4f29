/** `iova nvme resv-register`, `resv-acquire`, `resv-release` and `resv-report`. */
import { flag, type OptionTable, value } from "../description.js";
import { changes, namespaceOption, reads } from "./common.js";

const text =
  "Opening the controller resets its Host Identifier, by which the controller knows who holds a reservation: give the same --hostid to " +
  "each of these subcommands.";

const common = <const O extends OptionTable>(more: O) => ({
  "namespace-id": namespaceOption,
  hostid: value("DIGITS", "Host Identifier to set first: 16 or 32 hexadecimal digits"),
  ...more,
});
const crkey = value("KEY", "current reservation key", { short: "c" });
const iekey = flag("ignore the existing key", "i");
const rtype = value(
  "N",
  "type of the reservation: 1 write exclusive, 2 exclusive access, 3 and 4 registrants only, 5 and 6 all registrants",
  {
    short: "t",
  },
);

export const reservationDescriptions = {
  register: changes("resv-register", "register, unregister or replace a reservation key", {
    needs: "-k KEY",
    text,
    options: common({
      crkey,
      nrkey: value("KEY", "new reservation key", { short: "k" }),
      rrega: value("N", "0 register, 1 unregister, 2 replace (default 0)", { short: "r" }),
      cptpl: value("N", "through a power loss: 0 as before, 2 ends, 3 persists (default 0)", { short: "p" }),
      iekey,
    }),
    example: ["-k 0x11", "registers the key 0x11"],
  }),
  acquire: changes("resv-acquire", "acquire or preempt a reservation", {
    needs: "-c KEY -t N",
    text,
    options: common({
      crkey,
      prkey: value("KEY", "key to preempt", { short: "p" }),
      rtype,
      racqa: value("N", "0 acquire, 1 preempt, 2 preempt and abort (default 0)", { short: "a" }),
    }),
    example: ["-c 0x11 -t 1", "lets only this host write"],
  }),
  release: changes("resv-release", "release a reservation, or clear all registrations", {
    needs: "-c KEY",
    text,
    options: common({ crkey, rtype, rrela: value("N", "0 release, 1 clear (default 0)", { short: "a" }) }),
    example: ["-c 0x11 -t 1", "releases it"],
  }),
  report: reads("resv-report", "registered controllers, and the reservation", {
    options: common({ eds: flag("changes nothing: extended where the controller has it", "e") }),
    example: ["", "prints them"],
  }),
};

/** `iova nvme list-ctrl`, `create-ns`, `attach-ns`, ...: namespaces, controllers, and lists of Identify. */
import { value } from "../description.js";
import { changes, destroys, reads } from "./common.js";

const nsid = value("N", "the namespace", { short: "n" });
const controllers = value("LIST", "controller ids, with commas (default: this controller)", { short: "c" });
const none = {} as const;

export const namespaceDescriptions = {
  controllers: reads("list-ctrl", "controllers of the subsystem, or of a namespace", {
    options: {
      cntid: value("N", "lowest controller id", { short: "c" }),
      "namespace-id": value("N", "only those that it is attached to", { short: "n" }),
    },
    example: ["-n 1", "lists the controllers that namespace 1 is attached to"],
  }),
  create: changes("create-ns", "create a namespace", {
    needs: "-s BLOCKS",
    text: "Creates a namespace, which attach-ns attaches to controllers.",
    options: {
      nsze: value("BLOCKS", "size", { short: "s" }),
      ncap: value("BLOCKS", "capacity (default: the size)", { short: "c" }),
      "nsze-si": value("BYTES", "size with a decimal unit, such as 1.5T, in place of --nsze", { short: "S" }),
      "ncap-si": value("BYTES", "the same for the capacity", { short: "C" }),
      flbas: value("N", "LBA format; bit 4: metadata follows each block (default 0)", { short: "f" }),
      "block-size": value("BYTES", "the first LBA format of this size without metadata", { short: "b" }),
      dps: value("N", "protection type 0 to 3; bit 3: in the first bytes", { short: "d" }),
      nmic: value("N", "1: several controllers may share it", { short: "m" }),
      "anagrp-id": value("N", "ANA group", { short: "a" }),
      "nvmset-id": value("N", "NVM set", { short: "i" }),
      "endg-id": value("N", "endurance group", { short: "e" }),
      csi: value("N", "command set: 0 NVM, 2 zoned", { short: "y" }),
      lbstm: value("N", "storage tag mask", { short: "l" }),
      phndls: value("LIST", "reclaim unit handles of its placement handles, with commas", { short: "p" }),
    },
    example: ["-S 100G -b 4096", "creates one of 100 GB with blocks of 4 KiB"],
  }),
  delete: destroys("delete-ns", "delete a namespace with all its data", {
    needs: "-n N",
    options: { "namespace-id": value("N", "the namespace; 0xffffffff is all of them", { short: "n" }) },
    example: ["-n 2", "deletes namespace 2"],
  }),
  attach: changes("attach-ns", "attach a namespace to controllers", {
    needs: "-n N",
    options: { "namespace-id": nsid, controllers },
    example: ["-n 2 -c 0,1", "attaches namespace 2 to two controllers"],
  }),
  detach: changes("detach-ns", "detach a namespace from controllers", {
    needs: "-n N",
    options: { "namespace-id": nsid, controllers },
    example: ["-n 2", "detaches it from this controller"],
  }),
  primary: reads("primary-ctrl-caps", "queues and interrupts that virtual functions can have", {
    options: none,
    example: ["", "prints them"],
  }),
  secondary: reads("list-secondary", "secondary controllers, with their states and resources", {
    options: {
      cntid: value("N", "lowest controller id", { short: "c" }),
      "num-entries": value("N", "at most so many", { short: "e" }),
    },
    example: ["", "lists the controllers of virtual functions"],
  }),
  virtualization: changes("virt-mgmt", "resources and states of secondary controllers", {
    needs: "-c N -a N",
    options: {
      cntlid: value("N", "the controller", { short: "c" }),
      rt: value("N", "resource: 0 queues, 1 interrupts", { short: "r" }),
      act: value("N", "1 allocate to the primary, 7 offline, 8 assign, 9 online", { short: "a" }),
      nr: value("N", "number of resources", { short: "n" }),
    },
    example: ["-c 1 -r 0 -n 2 -a 8", "gives controller 1 two queue pairs"],
  }),
  sets: reads("id-nvmset", "NVM sets", {
    options: { "nvmset-id": value("N", "lowest id", { short: "i" }) },
    example: ["", "lists them"],
  }),
  uuids: reads("id-uuid", "UUIDs that vendor-specific features and logs use", {
    options: none,
    example: ["", "lists them"],
  }),
  commandSets: reads("id-iocs", "I/O command sets that can be used together", {
    options: { "controller-id": value("N", "of another controller", { short: "c" }) },
    example: ["", "lists the combinations"],
  }),
  domains: reads("id-domain", "domains, with their capacities", {
    options: { "dom-id": value("N", "lowest id", { short: "d" }) },
    example: ["", "lists them"],
  }),
  enduranceGroups: reads("list-endgrp", "endurance groups", {
    options: { "endgrp-id": value("N", "lowest id", { short: "i" }) },
    example: ["", "lists their ids"],
  }),
  granularity: reads("id-ns-granularity", "preferred steps of a namespace's size", {
    options: none,
    example: ["", "prints them"],
  }),
};

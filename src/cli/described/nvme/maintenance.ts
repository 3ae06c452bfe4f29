/** `iova nvme fw-download`, `sanitize`, `device-self-test`, `security-send`, ...: maintenance of a controller. */
import { flag, value } from "../description.js";
import { changes, destroys, reads } from "./common.js";

const firmware = value("FILE", "the image", { short: "f", offer: "file" });

const security = {
  secp: value("N", "security protocol: 0 information, 1 to 6 TCG, 0xea NVMe", { short: "p" }),
  spsp: value("N", "specific to the protocol (default 0)", { short: "s" }),
  nssf: value("N", "NVMe security specific field (default 0)", { short: "N" }),
  "namespace-id": value("N", "the namespace (default 0)", { short: "n" }),
} as const;

const directive = {
  "namespace-id": value("N", "the namespace (default: the only one)", { short: "n" }),
  "dir-type": value("N", "type: 0 identify, 1 streams, 2 data placement", { short: "D" }),
  "dir-oper": value("N", "operation", { short: "O" }),
  "dir-spec": value("N", "specific to the operation (default 0)", { short: "S" }),
} as const;

const received = {
  "raw-binary": flag("write the bytes unchanged", "b"),
} as const;

export const maintenanceDescriptions = {
  download: changes("fw-download", "send a firmware image, to see whether the controller takes it", {
    needs: "-f FILE",
    text: "A controller forgets the image at the reset that ends this run: fw-commit --fw sends and commits it.",
    options: { fw: firmware },
    example: ["-f image.bin", "sends the image"],
  }),
  commit: changes("fw-commit", "commit a firmware image to a slot, or activate one", {
    needs: "-a N",
    text: "Says which reset the firmware needs. The one that ends this run is a controller reset.",
    options: {
      fw: value("FILE", "an image to send first", { short: "f", offer: "file" }),
      action: value(
        "N",
        "0 replace, 1 replace and activate, 2 activate, 3 activate now, 6 and 7 boot partition",
        {
          short: "a",
        },
      ),
      slot: value("N", "slot 1 to 7 (default 0: the controller chooses)", { short: "s" }),
      bpid: value("N", "boot partition 0 or 1", { short: "b" }),
    },
    example: ["-f image.bin -a 1 -s 2", "sends an image, and activates it in slot 2"],
  }),
  sanitizeNamespace: destroys("sanitize-ns", "erase a namespace (NVMe 2.1)", {
    needs: "-n N -a ACTION",
    options: {
      "namespace-id": value("N", "the namespace", { short: "n" }),
      sanact: value("ACTION", "1 exit failure, 4 crypto erase, 5 exit verification", {
        short: "a",
        offer: ["1", "4", "5"],
      }),
      ause: flag("allow exit failure after a failed operation", "u"),
      emvs: flag("enter the media verification state when done", "e"),
    },
    example: ["-n 1 -a 4", "erases namespace 1 by its keys"],
  }),
  sanitize: destroys("sanitize", "erase everything in the NVM subsystem", {
    needs: "-a ACTION",
    text: "Starts the operation, which goes on through resets; sanitize-log shows how far it is.",
    options: {
      sanact: value(
        "ACTION",
        "1 exit failure, 2 block erase, 3 overwrite, 4 crypto erase, 5 exit verification",
        {
          short: "a",
          offer: ["1", "2", "3", "4", "5"],
        },
      ),
      ause: flag("allow exit failure after a failure", "u"),
      "no-dealloc": flag("don't deallocate blocks afterwards", "d"),
      owpass: value("N", "overwrite: passes, 1 to 16 (default 1)", { short: "n" }),
      ovrpat: value("N", "overwrite: pattern of 32 bits (default 0)", { short: "p" }),
      oipbp: flag("overwrite: invert the pattern with each pass", "i"),
      emvs: flag("enter the media verification state afterwards", "e"),
    },
    example: ["-a 2", "starts a block erase"],
  }),
  selfTest: changes("device-self-test", "run a self-test, or abort one", {
    needs: "-s CODE",
    text: "Waits for a short test, which a reset would abort. An extended one goes on after this run.",
    options: {
      "self-test-code": value(
        "CODE",
        "1 short, 2 extended, 0xe the vendor's, 0xf abort; 0 shows the one that runs",
        {
          short: "s",
        },
      ),
      "namespace-id": value("N", "0 the controller alone (default: with all namespaces)", { short: "n" }),
      wait: flag("wait for any test", "w"),
    },
    example: ["-s 1", "runs a short test"],
  }),
  securitySend: changes("security-send", "Security Send", {
    needs: "-p N -f FILE",
    options: {
      ...security,
      file: value("FILE", "what to send; - is standard input", { short: "f", offer: "file" }),
    },
    example: ["-p 1 -s 1 -f packet.bin", "sends a packet of TCG's protocol"],
  }),
  securityReceive: reads("security-recv", "Security Receive", {
    needs: "-p N",
    options: {
      ...security,
      ...received,
      size: value("BYTES", "most bytes to receive (default 512)", { short: "x" }),
    },
    example: ["-p 0", "lists the protocols, as bytes"],
  }),
  directiveSend: changes("dir-send", "Directive Send", {
    needs: "-D N -O N",
    options: {
      ...directive,
      "target-dir": value("N", "identify: the type to enable or disable", { short: "T" }),
      endir: value("N", "identify: 1 enables, 0 disables", { short: "e" }),
      "input-file": value("FILE", "data to send", { short: "i", offer: "file" }),
    },
    example: ["-D 0 -O 1 -T 1 -e 1", "enables streams"],
  }),
  directiveReceive: changes("dir-receive", "Directive Receive", {
    needs: "-D N -O N",
    text: "Asks only where it allocates streams (--dir-type 1 --dir-oper 3).",
    options: {
      ...directive,
      ...received,
      "data-len": value("BYTES", "bytes to receive (default 4096)", { short: "l" }),
      "req-resource": value("N", "streams to allocate", { short: "r" }),
    },
    example: ["-D 0 -O 1", "what the namespace supports"],
  }),
  lockdown: changes("lockdown", "prohibit a command or a feature, or allow it again", {
    needs: "-o N -p N",
    options: {
      ofi: value("N", "opcode or feature identifier", { short: "o" }),
      prhbt: value("N", "1 prohibits, 0 allows", { short: "p" }),
      scp: value("N", "what --ofi is: 0 admin opcode, 2 feature, 3 and 4 of NVMe-MI (default 0)", {
        short: "s",
      }),
      ifc: value("N", "where: 0 admin queue, 1 also out of band, 2 only there (default 0)", { short: "f" }),
      uuid: value("N", "index of a UUID (default 0)", { short: "U" }),
    },
    example: ["-o 0x80 -p 1", "prohibits Format NVM until power is lost"],
  }),
  capacity: destroys("capacity-mgmt", "create and delete endurance groups and NVM sets", {
    needs: "-O N",
    options: {
      operation: value(
        "N",
        "0 select a configuration, 1 create and 2 delete a group, 3 create and 4 delete a set",
        {
          short: "O",
        },
      ),
      "element-id": value("N", "configuration, endurance group or NVM set", { short: "i" }),
      "cap-lower": value("N", "low 32 bits of the capacity in bytes", { short: "l" }),
      "cap-upper": value("N", "high 32 bits", { short: "u" }),
    },
    example: ["-O 1 -u 1", "creates an endurance group of 4 GiB"],
  }),
  events: reads("events", "asynchronous events, as they come", {
    text: "Prints a line for each event, or with --json an object, until Ctrl-C. Reads the log page that an event names, so that the next comes.",
    options: {
      count: value("N", "end after so many events"),
      seconds: value("N", "end after so many seconds"),
    },
    example: ["--count 1", "waits for one event"],
  }),
};

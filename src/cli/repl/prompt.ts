/** The prompt of `iova repl` on a terminal. */
import { once } from "node:events";
import { homedir } from "node:os";
import { join } from "node:path";
import { type REPLServer, start } from "node:repl";
import { visibleLines } from "../../core/visible.js";
import type { PciDevice } from "../../pci/device.js";
import { replNames } from "../described/repl.js";
import { listText } from "../printed/help.js";
import { print, printOverPrompt } from "../terminal.js";
import { shown } from "./text.js";

/** Node's prompt, which shows values as `iova repl` does. */
export class Prompt {
  private readonly server: REPLServer;

  constructor(device: PciDevice) {
    const { vendorId, deviceId } = device.function;
    const id = [vendorId, deviceId].map((each) => each.toString(16).padStart(4, "0")).join(":");
    print(`${device.bdf}, ${id}, through ${device.backend}. ".names" lists what there is.`);
    this.server = start({
      prompt: `${visibleLines(device.bdf)}> `,
      ignoreUndefined: true,
      // What is typed shares its Uint8Array and Error with this package.
      useGlobal: true,
      writer: shown,
    });
    this.server.defineCommand("names", {
      help: "List what can be used by name",
      action: () => this.say(listText(replNames)),
    });
    // Not Node's own file: what runs there isn't meant for a device. Without a file there is no history, and all else works.
    this.server.setupHistory(join(homedir(), ".iova_repl_history"), () => {});
  }

  /** Prints lines above what is being typed. */
  say(lines: string): void {
    printOverPrompt(lines);
    this.server.displayPrompt(true);
  }

  /** Resolves when the operator leaves it. */
  async run(context: Readonly<Record<string, unknown>>): Promise<void> {
    Object.assign(this.server.context, context);
    await once(this.server, "exit");
  }
}

/** Talks to the QEMU that the guest runs in. */
import { readdirSync, readFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

const PORTS = "/sys/class/virtio-ports";
/** Name of the port, in test/machines.ts. */
const PORT_NAME = "iova.qmp";

/** A message from QEMU: greeting, answer (`return` or `error`) or event. */
type Message = Readonly<Record<string, unknown>>;

/** The monitor of the QEMU that this guest runs in. It speaks QEMU's protocol (QMP) over a virtio port. */
export class QemuMonitor {
  private text = "";
  /** Events that no call has taken yet. */
  private readonly events: Message[] = [];

  private constructor(private readonly port: FileHandle) {}

  /** @throws Error if this machine has no such port */
  static async open(): Promise<QemuMonitor> {
    const port = readdirSync(PORTS).find(
      (one) => readFileSync(`${PORTS}/${one}/name`, "utf8").trim() === PORT_NAME,
    );
    if (port === undefined) throw new Error(`this machine has no port ${PORT_NAME}`);
    const monitor = new QemuMonitor(await open(`/dev/${port}`, "r+"));
    try {
      await monitor.run("qmp_capabilities");
    } catch (error) {
      // An earlier test file of this boot has done so.
      if (!String(error).includes("already complete")) throw error;
    }
    return monitor;
  }

  /** @returns what the command returns @throws Error with QEMU's message */
  async run(command: string, args: Message = {}): Promise<unknown> {
    await this.port.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    for (;;) {
      const message = await this.read();
      if ("return" in message) return message["return"];
      if ("error" in message) throw new Error(`QEMU: ${command}: ${JSON.stringify(message["error"])}`);
      if ("event" in message) this.events.push(message);
    }
  }

  /** Waits until QEMU has removed the device with this id from the machine. */
  async deleted(id: string): Promise<void> {
    const says = ({ event, data }: Message): boolean =>
      event === "DEVICE_DELETED" &&
      typeof data === "object" &&
      data !== null &&
      "device" in data &&
      data.device === id;
    while (!this.events.some(says)) this.events.push(await this.read());
  }

  async close(): Promise<void> {
    await this.port.close();
  }

  /** Reads one line. It reads only when a caller waits: a pending read would keep the port from closing. */
  private async read(): Promise<Message> {
    for (;;) {
      const end = this.text.indexOf("\n");
      if (end >= 0) {
        const line = this.text.slice(0, end);
        this.text = this.text.slice(end + 1);
        const message: unknown = JSON.parse(line);
        if (typeof message !== "object" || message === null) throw new Error(`QEMU said ${line}`);
        return { ...message };
      }
      const { bytesRead, buffer } = await this.port.read(Buffer.alloc(4096), 0, 4096, null);
      if (bytesRead === 0) throw new Error("QEMU's monitor has gone");
      this.text += buffer.toString("utf8", 0, bytesRead);
    }
  }
}

/** Runs the driver: `node dist/src/main.js ADDRESS`. */
import { PciDevice } from "iova";
import { TemplateDriver } from "./driver.js";

const [address] = process.argv.slice(2);
if (address === undefined) throw new Error("expected a PCI address such as 0000:01:00.0, or vfio-user:PATH");
using device = PciDevice.open(address);
using driver = new TemplateDriver(device);
console.log(`template ${driver.version}: 1 + 2 + 3 = ${await driver.sum(Uint8Array.of(1, 2, 3))}`);

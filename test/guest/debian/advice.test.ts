/** doctor's advice on this machine, followed until the demo runs. */
import { adviceSuite, ordinaryAdviceSuite } from "../../support/advice-suite.js";

adviceSuite({ backends: ["type1"], problems: ["modules.vfio-pci", "nodes.container"] });
ordinaryAdviceSuite(["type1"]);

/** What doctor() finds on this machine. */
import { doctorSuite } from "../../support/doctor-suite.js";

doctorSuite("no-vfio");

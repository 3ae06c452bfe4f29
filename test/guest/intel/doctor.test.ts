/** What doctor() finds on this machine, and the command for an ordinary user and in a namespace without nodes. */
import { doctorSuite, restrictedDoctorSuite } from "../../support/doctor-suite.js";

doctorSuite("intel");
restrictedDoctorSuite();

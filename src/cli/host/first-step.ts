/** What `iova` without a command says of this host: what to do first. */
import { IovaError } from "../../core/errors.js";
import { visible } from "../../core/visible.js";
import { type DoctorReport, doctor } from "../../host/doctor.js";

const EMULATED = "Without a device: iova emulate nvme --socket /tmp/nvme.sock";

/** Two lines; on systems that can have no device, why. */
export function firstStep(): string {
  try {
    return `First on this host: ${stepOf(doctor())}\n${EMULATED}`;
  } catch (error) {
    if (error instanceof IovaError) return `${error.message}\n${EMULATED}`;
    throw error;
  }
}

/** What a report makes the first thing to do. */
export function stepOf({ checks, devices }: DoctorReport): string {
  const ready = devices.find(({ usable }) => usable);
  if (ready !== undefined)
    return `iova show ${ready.bdf}. It can be used now, through ${ready.backends.join(", ")}.`;
  const [problem] = checks.filter(({ state }) => state === "problem");
  if (problem !== undefined)
    return `iova doctor, which says how to mend what keeps devices from being used. ${problem.title}: ${visible(problem.found)}`;
  return devices.length === 0
    ? "iova list, to choose a device, then sudo npx iova bind BDF"
    : `iova doctor ${devices[0]?.bdf}`;
}

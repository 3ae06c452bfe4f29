/** `iova nvme smart`: the SMART / Health Information log. */
import type { SmartLog } from "../../../nvme/spec/log-pages.js";
import { BROADCAST_NSID } from "../../../nvme/spec/opcodes.js";
import { parseCommandLine } from "../../command-line.js";
import { smartDescription } from "../../described/nvme/information.js";
import { print } from "../../terminal.js";
import { controllerOptions, numberOption, targetOperand, wantsJson } from "../arguments.js";
import { withController } from "../open.js";
import { decimalBytes, type Json, pairs, printJson } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";

/** Bytes of a data unit. */
const UNIT_BYTES = 512_000n;
const ZERO_CELSIUS = 273;

/** `nvme smart-log -o json`. */
export function smartJson(log: SmartLog): Record<string, Json> {
  const sensors = log.temperatureSensors.flatMap((kelvin, index) =>
    kelvin === 0 ? [] : [[`temperature_sensor_${index + 1}`, kelvin] as const],
  );
  return {
    critical_warning: log.criticalWarning,
    temperature: log.compositeTemperature,
    avail_spare: log.availableSpare,
    spare_thresh: log.availableSpareThreshold,
    percent_used: log.percentageUsed,
    endurance_grp_critical_warning_summary: log.enduranceGroupCriticalWarning,
    data_units_read: String(log.dataUnitsRead),
    data_units_written: String(log.dataUnitsWritten),
    host_read_commands: String(log.hostReadCommands),
    host_write_commands: String(log.hostWriteCommands),
    controller_busy_time: String(log.controllerBusyTime),
    power_cycles: String(log.powerCycles),
    power_on_hours: String(log.powerOnHours),
    unsafe_shutdowns: String(log.unsafeShutdowns),
    media_errors: String(log.mediaErrors),
    num_err_log_entries: String(log.errorLogEntries),
    warning_temp_time: log.warningTemperatureTime,
    critical_comp_time: log.criticalTemperatureTime,
    ...Object.fromEntries(sensors),
    thm_temp1_trans_count: log.thermalTransitions1,
    thm_temp2_trans_count: log.thermalTransitions2,
    thm_temp1_total_time: log.thermalTime1,
    thm_temp2_total_time: log.thermalTime2,
  };
}

const warnings = [
  "spare below threshold",
  "temperature",
  "reliability degraded",
  "read only",
  "backup failed",
  "persistent memory region",
];

export function smartText(log: SmartLog): string {
  const critical = warnings.filter((_, bit) => (log.criticalWarning & (1 << bit)) !== 0);
  const celsius = (kelvin: number): string => `${kelvin - ZERO_CELSIUS} °C (${kelvin} K)`;
  const units = (count: bigint): string => `${count} (${decimalBytes(count * UNIT_BYTES)})`;
  const json = smartJson(log);
  const notes: Readonly<Record<string, string>> = {
    critical_warning: critical.length === 0 ? "0" : `${log.criticalWarning} (${critical.join(", ")})`,
    avail_spare: `${log.availableSpare} %`,
    spare_thresh: `${log.availableSpareThreshold} %`,
    percent_used: `${log.percentageUsed} %`,
    data_units_read: units(log.dataUnitsRead),
    data_units_written: units(log.dataUnitsWritten),
    controller_busy_time: `${log.controllerBusyTime} min`,
    warning_temp_time: `${log.warningTemperatureTime} min`,
    critical_comp_time: `${log.criticalTemperatureTime} min`,
    thm_temp1_total_time: `${log.thermalTime1} s`,
    thm_temp2_total_time: `${log.thermalTime2} s`,
  };
  return pairs(
    Object.entries(json).map(([name, value]) => [
      name,
      notes[name] ??
        (name.startsWith("temperature") && typeof value === "number" ? celsius(value) : String(value)),
    ]),
  );
}

async function run(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(smartDescription, argv);
  const target = targetOperand("smart", positionals);
  const nsid = numberOption("smart", "namespace-id", values["namespace-id"], 0, BROADCAST_NSID);
  const json = wantsJson("smart", values);
  const log = await withController(target, controllerOptions("smart", values), (nvme) =>
    nvme.logs.smart(nsid ?? BROADCAST_NSID),
  );
  if (json) printJson(smartJson(log));
  else print(`SMART / Health Information: ${target}\n${smartText(log)}`);
}

export const smart: NvmeSubcommand = { description: smartDescription, run };

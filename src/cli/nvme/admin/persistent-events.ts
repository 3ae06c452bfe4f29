/** The Persistent Event log under nvme-cli's JSON keys, with each event's own data decoded: NVMe Base 2.x, section "Persistent Event". */
import { type FieldType, u8, u16, u32, u64 } from "../../../core/struct.js";
import type { PersistentEvent, PersistentEventHeader } from "../../../nvme/admin/log-lists.js";
import { PersistentEventType, smartLog } from "../../../nvme/spec/log-pages.js";
import { FeatureId } from "../../../nvme/spec/opcodes.js";
import { at } from "../../../nvme/spec/record.js";
import { smartJson } from "../commands/smart.js";
import { nameOf } from "../names.js";
import type { Json } from "../output.js";

/** A field, and where it is in the event's data. */
type Fields = Readonly<
  Record<string, { readonly offset: number; readonly type: FieldType<number> | FieldType<bigint> }>
>;

/** Fields of events of fixed form, under nvme-cli's names. */
const layouts: Readonly<Record<number, Fields>> = {
  [PersistentEventType.firmwareCommit]: {
    old_fw_rev: at(0, u64),
    new_fw_rev: at(8, u64),
    fw_commit_action: at(16, u8),
    fw_slot: at(17, u8),
    sct_fw: at(18, u8),
    sc_fw: at(19, u8),
    vu_assign_fw_commit_rc: at(20, u16),
  },
  [PersistentEventType.timestampChange]: { prev_ts: at(0, u64), ml_secs_since_reset: at(8, u64) },
  [PersistentEventType.hardwareError]: { nss_hw_err_code: at(0, u16) },
  [PersistentEventType.changeNamespace]: {
    nsmgt_cdw10: at(0, u32),
    nsze: at(8, u64),
    nscap: at(24, u64),
    flbas: at(32, u8),
    dps: at(33, u8),
    nmic: at(34, u8),
    ana_grp_id: at(36, u32),
    nvmset_id: at(40, u16),
    nsid: at(44, u32),
  },
  [PersistentEventType.formatStart]: { nsid: at(0, u32), fna: at(4, u8), format_nvm_cdw10: at(8, u32) },
  [PersistentEventType.formatCompletion]: {
    nsid: at(0, u32),
    smallest_fpi: at(4, u8),
    format_nvm_status: at(5, u8),
    compln_info: at(6, u16),
    status_field: at(8, u32),
  },
  [PersistentEventType.sanitizeStart]: {
    SANICAP: at(0, u32),
    sani_cdw10: at(4, u32),
    sani_cdw11: at(8, u32),
  },
  [PersistentEventType.sanitizeCompletion]: {
    sani_prog: at(0, u16),
    sani_status: at(2, u16),
    cmpln_info: at(4, u16),
  },
  [PersistentEventType.thermalExcursion]: { over_temp: at(0, u8), threshold: at(1, u8) },
};

const typeName = (type: number): string => `${nameOf(PersistentEventType, type) ?? "Reserved"} Event`;

const revision = (word: Uint8Array): string => {
  const text = [...word]
    .map((byte) => (byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "."))
    .join("");
  return `${new DataView(word.buffer, word.byteOffset).getBigUint64(0, true)} (${text})`;
};

/** Fields of a form; those that the data is too short for are left out. */
function fieldsOf(data: Uint8Array, fields: Fields): Record<string, Json> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return Object.fromEntries(
    Object.entries(fields)
      .filter(([, { offset, type }]) => offset + type.sizeBytes <= data.length)
      .map(([name, { offset, type }]) => [name, type.read(view, offset)]),
  );
}

const controllerState: Fields = {
  ctrl_id: at(0, u16),
  fw_act: at(2, u8),
  op_in_prog: at(3, u8),
  ctrl_power_cycle: at(16, u32),
  power_on_ml_secs: at(20, u64),
  ctrl_time_stamp: at(28, u64),
};
const CONTROLLER_STATE_BYTES = 36;

/** An event's own data. */
function details({ type, data }: PersistentEvent): Record<string, Json> {
  switch (type) {
    case PersistentEventType.smart:
      return data.length < smartLog.sizeBytes ? {} : smartJson(smartLog.decode(data));
    case PersistentEventType.firmwareCommit: {
      const fields = fieldsOf(data, layouts[type] ?? {});
      if (data.length < 16) return fields;
      return {
        ...fields,
        old_fw_rev: revision(data.subarray(0, 8)),
        new_fw_rev: revision(data.subarray(8, 16)),
      };
    }
    case PersistentEventType.powerOnOrReset: {
      if (data.length < 8) return {};
      const count = Math.floor((data.length - 8) / CONTROLLER_STATE_BYTES);
      const states = Array.from({ length: count }, (_, index) =>
        fieldsOf(data.subarray(8 + index * CONTROLLER_STATE_BYTES), controllerState),
      );
      // nvme-cli has the fields of the last controller only.
      return { fw_rev: revision(data.subarray(0, 8)), ...states.at(-1), controllers: states };
    }
    case PersistentEventType.setFeature: {
      const { cdw10 = 0, value = 0 } = fieldsOf(data, { cdw10: at(4, u32), value: at(8, u32) });
      const feature = Number(cdw10) & 0xff;
      return { feature, name: nameOf(FeatureId, feature) ?? "Unknown", value };
    }
    default: {
      const layout = layouts[type];
      if (layout !== undefined) return fieldsOf(data, layout);
      return { data: Buffer.from(data).toString("hex") };
    }
  }
}

/** Bytes of an event's header in all. */
const EVENT_HEADER_BYTES = 24;

/** `nvme persistent-event-log -o json`. */
export function persistentEventsJson(log: {
  readonly header: PersistentEventHeader;
  readonly events: readonly PersistentEvent[];
}): Json {
  const { header, events } = log;
  const supported = Object.values(PersistentEventType).filter(
    (type) => (((header.supportedEvents[type >>> 3] ?? 0) >>> (type & 7)) & 1) === 1,
  );
  return {
    log_id: header.lid,
    total_num_of_events: header.events,
    total_log_len: header.totalBytes,
    log_revision: header.revision,
    log_header_len: header.headerBytes,
    timestamp: header.timestamp,
    power_on_hours: String(header.powerOnHours),
    power_cycle_count: header.powerCycles,
    pci_vid: header.vid,
    pci_ssvid: header.ssvid,
    sn: header.sn,
    mn: header.mn,
    subnqn: header.subnqn,
    gen_number: header.generation,
    rci: header.reportingContext,
    ...Object.fromEntries(
      supported.map((type) => [`bitmap_${type.toString(16)}`, `Support ${typeName(type)}`]),
    ),
    list_of_event_entries: events.map((event, index) => ({
      event_number: index,
      event_type: `${typeName(event.type)}(0x${event.type.toString(16)})`,
      event_type_rev: event.revision,
      event_header_len: EVENT_HEADER_BYTES - 3,
      ctrl_id: event.cntlid,
      event_time_stamp: event.time.getTime(),
      port_id: event.portId,
      vu_info_len: event.vendorInfo.length,
      event_len: event.vendorInfo.length + event.data.length,
      ...details(event),
    })),
  };
}

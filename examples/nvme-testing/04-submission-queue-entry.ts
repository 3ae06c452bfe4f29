/**
 * A submission queue entry word by word: what each field does, and what the controller says to a wrong one. NVMe Base, "Submission
 * Queue Entry".
 *
 *   word 0   opcode (7:0), FUSE (9:8), PSDT (15:14), command id (31:16)
 *   word 1   namespace id
 *   words 6 to 9    data pointer: PRP1, PRP2
 *   words 10 to 15  CDW10 to CDW15, each command's own
 */
import { AdminOpcode, NvmeStatus } from "iova/nvme";
import { Bench, claim, entryOf, post, send, take } from "./bench.js";

await using bench = await Bench.open();
const admin = await bench.start();
const page = bench.alloc(4096);
const identify = { opcode: AdminOpcode.identify, prp1: page.iova, cdw10: 1 };
const hex = (status: number): string => `status ${status.toString(16)}h`;

// The command id is the host's: any 16 bits but FFFFh, and only unique among those outstanding.
for (const cid of [0, 1, 0x7fff, 0xfffe]) {
  const { cid: said, status } = await send(admin, { ...identify, cid });
  claim(`command id ${cid} comes back`, said === cid && status === 0, said);
}

// A PRP1 with an offset: the data begin there, and go on in PRP2's page.
const second = bench.alloc(4096);
page.bytes.fill(0xee);
const split = await send(admin, { ...identify, prp1: page.iova + 2048n, prp2: second.iova });
claim(
  "data of two halves are described by PRP1 with an offset and PRP2",
  split.status === 0,
  hex(split.status),
);
claim(
  "nothing before the offset was written",
  page.view(0, 2048).every((byte) => byte === 0xee),
);

// A PRP1 within a dword is an error. Controllers before 1.2 may ignore the bits.
const odd = await send(admin, { ...identify, prp1: page.iova + 1n, prp2: second.iova });
claim("an odd PRP1 is refused, or its low bits are ignored", odd.status !== 0 || page.view(0, 1)[0] !== 0xee);

// An opcode that there isn't.
const unknown = await send(admin, { opcode: 0x7f });
claim(
  "an unknown opcode is an Invalid Command Opcode",
  unknown.status === NvmeStatus.invalidOpcode,
  hex(unknown.status),
);

// A namespace that there can't be.
const nowhere = await send(admin, { ...identify, cdw10: 0, nsid: 0xffff_fff0 });
claim(
  "an impossible namespace is an Invalid Namespace or Format",
  nowhere.status === NvmeStatus.invalidNamespace,
  hex(nowhere.status),
);

// FUSE is reserved in admin commands.
const fused = entryOf(identify);
fused[0] = (fused[0] ?? 0) | (1 << 8);
post(admin, fused);
admin.ringDoorbell();
const refused = await take(admin.completionQueue);
admin.completionQueue.ringDoorbell();
claim(
  "a fused admin command is an Invalid Field in Command, or FUSE is ignored",
  refused !== undefined && [0, NvmeStatus.invalidField].includes(refused.status),
  hex(refused?.status ?? -1),
);

await bench.stop();
for (const buffer of [page, second]) buffer.close();

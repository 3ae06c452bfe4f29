/** Abort, of commands that are there and of others. */
import { hexDigits } from "../../../../core/hex-digits.js";
import { AdminOpcode } from "../../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import { subjectOf } from "../check.js";
import { expect } from "../findings.js";

const { abort } = AdminOpcode;

export const aborts = subjectOf("aborts", [
  [
    "ACL + 1 Aborts at once are all completed",
    "Base: Abort command",
    async (bench) => {
      const { acl } = await bench.controller();
      const queue = await bench.start();
      const count = Math.min(acl + 1, 16);
      const cids = Array.from({ length: count }, () =>
        bench.post(queue, { opcode: abort, cdw: [0xfff0_0000] }),
      );
      queue.sq.ringDoorbell();
      for (const cid of cids) if (queue.outstanding.has(cid)) await bench.completed(queue, cid);
      return `${count}`;
    },
  ],
  [
    "Abort of a command in a queue that there isn't aborts nothing",
    "Base: Abort command",
    async (bench) => {
      const { status, dw0 } = await bench.send(await bench.admin(), { opcode: abort, cdw: [0x1_fff0] });
      const isRight = status === NvmeStatus.invalidField || (status === 0 && (dw0 & 1) === 1);
      expect(isRight, `status ${hexDigits(status, 3)}h, DW0 ${dw0}`);
    },
  ],
  [
    "an Asynchronous Event Request can be aborted",
    "Base: Abort command",
    async (bench) => {
      const queue = await bench.start();
      const cid = bench.post(queue, { opcode: AdminOpcode.asyncEventRequest });
      queue.sq.ringDoorbell();
      await bench.controller();
      const { dw0 } = await bench.ok(queue, { opcode: abort, cdw: [((cid << 16) | 0) >>> 0] });
      if ((dw0 & 1) === 1) return "it wasn't";
      const { status } = queue.outstanding.has(cid) ? await bench.completed(queue, cid) : { status: 7 };
      expect(status === NvmeStatus.commandAbortRequested, `status ${hexDigits(status, 3)}h`);
      return undefined;
    },
  ],
]);

/** Runs programs on their own terminal, which Python provides because Node.js can't. */
import { type InputOutcome, runWithInput } from "./run.js";

const PROGRAM = `
import os, pty, sys
answer, argv = sys.argv[1].encode(), sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    os.execv(argv[0], argv)
seen = b""
asked = False
while True:
    try:
        part = os.read(fd, 4096)
    except OSError:
        break
    if not part:
        break
    seen += part
    if not asked and b"[y/N]" in seen:
        asked = True
        os.write(fd, answer)
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(status))
`;

/** Runs a Node program, and types `answer` where it asks. What the terminal shows is standard output. */
export function onTerminal(answer: string, ...args: readonly string[]): Promise<InputOutcome> {
  return runWithInput("python3", ["-c", PROGRAM, answer, process.execPath, ...args]);
}

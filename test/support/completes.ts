/** Types at the prompt of a shell, on a terminal that Python provides, and says what the shell makes of it. */
import { runWithInput } from "./run.js";

const PROGRAM = `
import os, pty, sys
setup, typed, argv = sys.argv[1], sys.argv[2], sys.argv[3:]
pid, fd = pty.fork()
if pid == 0:
    os.environ.update(TERM="dumb", PS1="", HISTFILE="")
    os.execvp(argv[0], argv)
seen = b""
def until(mark):
    global seen
    while mark not in seen:
        try:
            part = os.read(fd, 4096)
        except OSError:
            sys.exit("the shell ended: " + seen.decode())
        seen += part
    seen = seen.split(mark, 1)[1]
os.write(fd, (setup + "; echo re''ady\\n").encode())
until(b"ready\\r\\n")
os.write(fd, (typed + "\\t").encode())
# To the beginning of the line, and to its end: the shell prints the words of the line.
os.write(fd, b"\\x01printf '<%s>' \\x05; echo; echo do''ne\\n")
while b"done\\r\\n" not in seen:
    seen += os.read(fd, 4096)
lines = [line for line in seen.replace(b"\\r", b"\\n").split(b"\\n") if line.startswith(b"<")]
sys.stdout.buffer.write(lines[-1] if lines else b"")
os.close(fd)
`;

/**
 * @param setup commands that load the completion
 * @param typed the beginning of a command line, to which a tab is added
 * @returns the command line's words after the tab, each as `<word>`
 */
export async function completedOnTerminal(
  shell: readonly string[],
  setup: string,
  typed: string,
): Promise<string> {
  const { status, stdout, stderr } = await runWithInput("python3", ["-c", PROGRAM, setup, typed, ...shell]);
  if (status !== 0) throw new Error(`${shell[0]} ended with ${status}: ${stderr}`);
  return stdout;
}

/** The completions, run by the shells that are here: what they offer, and what they make of a line on a terminal. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { descriptions } from "../../../../src/cli/described/all.js";
import { nvmeDescriptions } from "../../../../src/cli/described/nvme.js";
import { bashCompletion } from "../../../../src/cli/printed/completion/bash.js";
import { fishCompletion } from "../../../../src/cli/printed/completion/fish.js";
import { zshCompletion } from "../../../../src/cli/printed/completion/zsh.js";
import { completedOnTerminal } from "../../../support/completes.js";
import { skipWithout } from "../../../support/needs.js";
import { run } from "../../../support/run.js";

// Each is a process, which starts slowly on a busy machine.
vi.setConfig({ testTimeout: 600_000, hookTimeout: 600_000 });

const folder = mkdtempSync(join(tmpdir(), "iova-completion-"));
const socket = join(folder, "nvme.sock");
const server = createServer();
const script = (shell: string): string => join(folder, `iova.${shell}`);

beforeAll(async () => {
  writeFileSync(script("bash"), bashCompletion());
  writeFileSync(script("zsh"), zshCompletion());
  writeFileSync(script("fish"), fishCompletion());
  await new Promise<void>((resolve) => server.listen(socket, resolve));
});

afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** What each shell offers after a beginning, a word a line, as its completion's own function says it. */
const offers: Readonly<Record<string, (line: string) => readonly [program: string, ...args: string[]]>> = {
  bash: (line) => [
    "bash",
    "--norc",
    "-c",
    `source ${script("bash")}; COMP_LINE=$1 COMP_POINT=\${#1}; _iova; printf '%s\\n' "\${COMPREPLY[@]}"`,
    "bash",
    line,
  ],
  zsh: (line) => [
    "zsh",
    "-f",
    "-c",
    // Without a terminal, zsh has no completion to hand the words to.
    `compdef() { }; _describe() { print -rl -- "\${(@P)3}" }; _files() { print -l -- \${PREFIX}*; }
     compset() { PREFIX=\${PREFIX#$2} }
     source ${script("zsh")}; words=("\${(@s: :)1}"); CURRENT=$#words; PREFIX=$words[CURRENT]; _iova |
       sed -e 's/\\\\:/\\x01/g' -e 's/:.*//' -e 's/\\x01/:/g'`,
    "zsh",
    line,
  ],
  fish: (line) => [
    "fish",
    "--no-config",
    "-c",
    `source ${script("fish")}; complete -C ${JSON.stringify(line)}`,
  ],
};

/** Functions of this host, as the shells find them. */
function functionsHere(): string[] {
  try {
    return readdirSync("/sys/bus/pci/devices").sort();
  } catch {
    return [];
  }
}

describe.each(Object.entries(offers))("the completion for %s", (shell, offer) => {
  beforeEach((context) => skipWithout(context, shell));

  async function offered(line: string): Promise<string[]> {
    const [program, ...args] = offer(line);
    const { stdout, stderr } = await run(program, args);
    expect(stderr).toBe("");
    const words = stdout.split("\n").flatMap((each) => each.split("\t", 1)[0] || []);
    // bash and zsh leave the choice among what begins like the word to the shell, or are called without it.
    const current = line.split(" ").at(-1) ?? "";
    return shell === "zsh" ? words.filter((word) => word.startsWith(current)) : words;
  }

  test("is read by the shell without a complaint", async () => {
    const flags = shell === "fish" ? ["--no-execute"] : ["-n"];
    const { status, stderr } = await run(shell, [...flags, script(shell)]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  test("offers the commands, and those of nvme", async () => {
    expect((await offered("iova ")).sort()).toEqual(descriptions.map(({ name }) => name).sort());
    const names = nvmeDescriptions.flatMap(({ name, aliases }) => [
      name.slice(5),
      ...Object.keys(aliases ?? {}),
    ]);
    expect((await offered("iova nvme ")).sort()).toEqual(names.sort());
    expect(await offered("iova unb")).toEqual(["unbind"]);
  });

  test("offers every option of every command", async () => {
    const lists = await Promise.all(
      [...descriptions, ...nvmeDescriptions].map(async ({ name, options }) => {
        if (name === "nvme") return;
        const wanted = [...Object.keys(options), "help"].map((option) => `--${option}`);
        const found = (await offered(`iova ${name} -`)).map((option) => option.replace(/=$/, ""));
        expect({ name, options: found.sort() }).toEqual({ name, options: wanted.sort() });
      }),
    );
    expect(lists.length).toBeGreaterThan(20);
  });

  test("offers the addresses of the functions of this host, after options and their values", async () => {
    const here = functionsHere();
    expect((await offered("iova bind ")).sort()).toEqual(here);
    expect((await offered("iova unbind --timeout 500 ")).sort()).toEqual(here);
    expect((await offered("iova nvme read ")).sort()).toEqual([...here, "vfio-user:"]);
  });

  test("offers words where only they can stand", async () => {
    expect((await offered("iova nvme feature get 0000:00:03.0 --sel ")).sort()).toEqual([
      "current",
      "default",
      "saved",
      "supported",
    ]);
    expect((await offered("iova nvme feature ")).sort()).toEqual(["get", "set"]);
    expect(await offered("iova nvme get-feature x ")).toEqual([]);
    expect((await offered("iova completion ")).sort()).toEqual(["bash", "fish", "zsh"]);
    expect(await offered("iova bind --timeout ")).toEqual([]);
  });
});

const terminals: Readonly<Record<string, readonly [argv: readonly string[], setup: string]>> = {
  bash: [["bash", "--norc", "--noprofile", "-i"], `source ${script("bash")}`],
  zsh: [
    ["zsh", "-f", "-i"],
    `bindkey -e; autoload -U compinit; compinit -u -d ${join(folder, "dump")}; source ${script("zsh")}`,
  ],
};

describe.each(Object.entries(terminals))("a tab at the prompt of %s", (shell, [argv, setup]) => {
  beforeEach((context) => skipWithout(context, shell, "python3"));

  test.each([
    ["iova unb", "<iova><unbind>"],
    ["iova bind --tim", "<iova><bind><--timeout>"],
    ["iova nvme read --data-file=", "<iova><nvme><read><--data-file=FOLDER/nvme.sock>"],
    ["iova show vfio-user:", "<iova><show><vfio-user:FOLDER/nvme.sock>"],
  ])("completes %s", async (line, expected) => {
    const typed = /[:=]$/.test(line) ? `${line}${socket.slice(0, -5)}` : line;
    const completed = await completedOnTerminal(argv, setup, typed);
    expect(completed).toBe(expected.replace("FOLDER", folder));
  });

  test("completes the address of a function, with its colons", async (context) => {
    const [first] = functionsHere();
    if (first === undefined) return context.skip("this machine has no PCI functions");
    // Up to where only this one fits.
    const end = [...first].findIndex(
      (_, at) => functionsHere().filter((each) => each.startsWith(first.slice(0, at + 1))).length === 1,
    );
    const completed = await completedOnTerminal(argv, setup, `iova show ${first.slice(0, end + 1)}`);
    expect(completed).toBe(`<iova><show><${first}>`);
  });
});

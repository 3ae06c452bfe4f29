/** Users and groups that the files of a host lack: this machine's getent and id, and programs that answer as a directory's would. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HostNames } from "../../../src/host/facts/users.js";
import { NameService } from "../../../src/host/names/service.js";
import { planWith } from "../../../src/host/permissions.js";
import { ArgumentError, TimeoutError } from "../../../src/index.js";
import { pciFunction } from "../../support/example-hosts.js";
import { type HostTree, hostTree, program, type TreeFiles } from "../../support/host-tree.js";

/** A host whose files know alice, and whose directory knows carol and two groups, one of which has alice, too. */
const withDirectory: TreeFiles = {
  "/etc/passwd": "alice:x:1000:1000::/home/alice:/bin/sh\n",
  "/etc/group": "alice:x:1000:\nlocal:x:50:alice,carol\n",
  "/usr/bin/getent": program(`
echo "getent $*" >> calls
case "$1 $2" in
"passwd carol" | "passwd Carol" | "passwd 70001") echo "carol:*:70001:70000:Carol:/home/carol:/bin/sh" ;;
"group drivers" | "group 70002") echo "drivers:*:70002:alice,carol" ;;
"group staff" | "group 70000") echo "staff:*:70000:" ;;
*) exit 2 ;;
esac`),
  "/usr/bin/id": program(`
case "$2" in
carol) echo "70000 50 70002" ;;
alice) echo "1000 50 70002" ;;
*) echo "id: '$2': no such user" >&2; exit 1 ;;
esac`),
};

function namesOf(tree: HostTree, timeoutMs?: number): HostNames {
  return HostNames.read(tree.root, new NameService({ root: tree.root.path, timeoutMs }));
}

describe("this machine's getent", () => {
  const service = new NameService();

  test("finds a user and a group by name and by number", () => {
    const root = { name: "root", uid: 0, gid: 0 };
    expect([service.user("root"), service.user("0")]).toEqual([root, root]);
    expect([service.group("root"), service.group("0")]).toMatchObject([
      { name: "root", gid: 0 },
      { name: "root", gid: 0 },
    ]);
    const groups = execFileSync("id", ["-G", "root"], { encoding: "utf8" }).trim().split(" ").map(Number);
    expect(service.groupIds("root")).toEqual(groups);
  });

  test("finds nothing for names that nobody has", () => {
    for (const name of ["nobody-of-this-name", "", "-s", "--help", "root\n", "root:x", "a\0b"]) {
      expect([service.user(name), service.group(name), service.groupIds(name)]).toEqual(
        Array(3).fill(undefined),
      );
    }
    expect(service.failure).toBeUndefined();
  });

  test("is asked for users whom the files lack", () => {
    using tree = hostTree({ "/etc/passwd": "", "/etc/group": "" });
    const names = HostNames.read(tree.root, service);
    expect(names.find("root")).toMatchObject({
      name: "root",
      uid: 0,
      spelling: { inRules: 'OWNER="0"' },
      groupNames: ["root"],
    });
    expect([names.user(0), names.groupName(0)]).toEqual(["root", "root"]);
    expect(() => names.find("nobody-of-this-name")).toThrow(
      'there is no user "nobody-of-this-name" in /etc/passwd or known to getent',
    );
  });
});

describe("a host with a directory", () => {
  test("has its users with all their groups, and rules name those by number", () => {
    using tree = hostTree(withDirectory);
    const names = namesOf(tree);
    const carol = {
      name: "carol",
      spelling: { inRules: 'RUN+="/bin/chown 70001 $devnode"' },
      uid: 70001,
      gids: [70000, 50, 70002],
      groupNames: ["staff", "local", "drivers"],
    };
    expect(names.find("carol")).toMatchObject(carol);
    expect(names.find("70001")).toMatchObject(carol);
    expect([names.user(70001), names.groupName(70002), names.user(4711)]).toEqual([
      "carol",
      "drivers",
      "4711",
    ]);
    const drivers = names.group("drivers");
    const spelling = { inRules: 'RUN+="/bin/chown :70002 $devnode"' };
    expect(drivers).toMatchObject({ name: "drivers", gid: 70002, members: ["alice", "carol"], spelling });
    expect(names.group("70002")).toBeUndefined();
  });

  test("gives a user of the files the directory's groups, too", () => {
    using tree = hostTree(withDirectory);
    expect(namesOf(tree).find("alice")).toMatchObject({
      spelling: { inRules: 'RUN+="/bin/chown 1000 $devnode"' },
      groupNames: ["alice", "local", "drivers"],
    });
  });

  test("is asked once for each name", () => {
    using tree = hostTree(withDirectory);
    const names = namesOf(tree);
    for (let i = 0; i < 3; i++) names.user(70001);
    for (let i = 0; i < 3; i++) names.user(4711);
    names.user(1000);
    expect(readFileSync(join(tree.root.path, "calls"), "utf8")).toBe(
      "getent passwd 70001\ngetent passwd 4711\n",
    );
  });

  test("is asked by iova permissions, which needs the name as the directory spells it", () => {
    using tree = hostTree({ ...withDirectory, ...pciFunction("0000:01:00.0", { group: "1" }) });
    const plan = (whom: { user: string } | { group: string }): string =>
      JSON.stringify(
        planWith({ ...whom, devices: ["0000:01:00.0"], root: tree.root.path }, () => namesOf(tree)),
      );
    expect(plan({ user: "carol" })).toContain("/bin/chown 70001 $devnode");
    expect(plan({ group: "drivers" })).toContain("/bin/chown :70002 $devnode");
    expect(plan({ user: "alice" })).toContain("/bin/chown 1000 $devnode");
    expect(() => plan({ user: "Carol" })).toThrow('is also called "carol"');
    expect(() => plan({ user: "dave" })).toThrow('there is no user "dave" in /etc/passwd or known to getent');
    expect(() => plan({ group: "dave" })).toThrow(
      'there is no group "dave" in /etc/group or known to getent',
    );
  });

  test("that doesn't answer is named in the error about a user, and keeps no known user waiting", () => {
    using tree = hostTree({
      ...withDirectory,
      "/usr/bin/getent": program('echo "getent $*" >> calls\nexec sleep 60'),
    });
    const names = namesOf(tree, 100);
    expect([names.user(70001), names.groupName(70002)]).toEqual(["70001", "70002"]);
    expect(() => names.find("carol")).toThrow(TimeoutError);
    expect(() => names.find("carol")).toThrow(
      "getent passwd 70001: no answer within 100 ms (a service that nsswitch.conf",
    );
    expect(names.find("alice")).toMatchObject({ uid: 1000, groupNames: ["alice", "local"] });
    expect(readFileSync(join(tree.root.path, "calls"), "utf8")).toBe("getent passwd 70001\n");
  });
});

test("a host without getent has the users of its files", () => {
  using tree = hostTree({ "/etc/passwd": "alice:x:5:5::/:/bin/sh\n" });
  const names = namesOf(tree);
  expect(names.find("alice")).toMatchObject({ uid: 5, gids: [5] });
  expect(() => names.find("carol")).toThrow(ArgumentError);
});

test("for the files of another host, this host's getent isn't asked", () => {
  using tree = hostTree({ "/etc/passwd": "" });
  expect(() => HostNames.read(tree.root).find("root")).toThrow(
    'there is no user "root" in /etc/passwd: give',
  );
});

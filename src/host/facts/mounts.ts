/** Mounted file systems, from /proc/self/mounts (fstab(5)). */

/** One mounted file system. */
export interface Mount {
  readonly target: string;
  readonly type: string;
  readonly options: readonly string[];
}

/** Parses `source target type options ...` lines; blanks in names are `\040`. Never throws. */
export function parseMounts(text: string): Mount[] {
  return text.split("\n").flatMap((line) => {
    const [, target, type, options = ""] = line.split(" ");
    return target === undefined || type === undefined
      ? []
      : [{ target: unescaped(target), type, options: options.split(",") }];
  });
}

function unescaped(text: string): string {
  return text.replace(/\\([0-3][0-7]{2})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

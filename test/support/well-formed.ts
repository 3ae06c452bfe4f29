/** Checks the pages that commands write. */

/** @returns the number of tags. Throws where tags aren't closed in order, or an attribute or text isn't escaped: the page is XML but for its DOCTYPE. */
export function checkWellFormed(html: string): number {
  const open: string[] = [];
  let count = 0;
  const rest = html.replace("<!DOCTYPE html>", "").replace(/<style>[\s\S]*?<\/style>/, "");
  const text = rest.replace(
    /<(\/?)([a-zA-Z][\w-]*)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/g,
    (_, end, name, _attributes, self) => {
      count++;
      if (end === "/") {
        const last = open.pop();
        if (last !== name) throw new Error(`</${name}> closes <${last}>`);
      } else if (self !== "/") open.push(name);
      return "";
    },
  );
  if (open.length > 0) throw new Error(`<${open.join("><")}> never closed`);
  const stray = /[<>]|&(?!#\d+;)/.exec(text);
  if (stray !== null) throw new Error(`not escaped: ${text.slice(stray.index - 20, stray.index + 20)}`);
  return count;
}

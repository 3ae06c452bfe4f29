/** Colours, on terminals only. NO_COLOR (https://no-color.org) and TERM=dumb switch them off. */
import { visible } from "../core/visible.js";

const codes = { green: 32, yellow: 33, red: 31, dim: 2, bold: 1 } as const;

/** A colour or weight of text. */
export type Colour = keyof typeof codes;

/** Text with a colour. */
export interface Coloured {
  readonly text: string;
  readonly colour: Colour;
}

/** Whether a stream shows colours. */
export function showsColours(stream: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv): boolean {
  const { NO_COLOR, TERM } = env;
  return stream.isTTY === true && (NO_COLOR === undefined || NO_COLOR === "") && TERM !== "dumb";
}

/** A line of parts, each made safe for a terminal before it gets its colour. */
export function painted(parts: readonly (string | Coloured)[], withColours: boolean): string {
  return parts
    .map((part) => {
      if (typeof part === "string") return visible(part);
      const text = visible(part.text);
      return withColours ? `\x1b[${codes[part.colour]}m${text}\x1b[0m` : text;
    })
    .join("");
}

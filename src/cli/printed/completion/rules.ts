/** What a shell needs to know to complete a command line, made of descriptions. */
import { descriptions } from "../../described/all.js";
import type { CommandDescription, Offer } from "../../described/description.js";
import { nvmeDescriptions } from "../../described/nvme.js";

/** A word, and what it means. */
export type Word = readonly [word: string, text: string];

/** What is known of one command, under one of its names. */
export interface CompletionRules {
  /** `bind` or `nvme read`. */
  readonly command: string;
  readonly options: readonly Word[];
  /** What can stand after an option (`--timeout`, `-t`), or as an operand: `@1`, `@2`; `@*` for all after. */
  readonly kinds: readonly (readonly [place: string, kind: string])[];
}

export const commandWords: readonly Word[] = descriptions.map(({ name, summary }) => [name, summary]);

export const subcommandWords: readonly Word[] = nvmeDescriptions.flatMap(({ name, aliases, summary }) =>
  [name.replace("nvme ", ""), ...Object.keys(aliases ?? {})].map((each): Word => [each, summary]),
);

export const rules: readonly CompletionRules[] = [
  ...descriptions.filter(({ name }) => name !== "nvme").map((each) => rulesOf(each.name, each, 0)),
  ...nvmeDescriptions.flatMap((each) => [
    rulesOf(each.name, each, 0),
    // A name that stands for more may stand for the first operand.
    ...Object.entries(each.aliases ?? {}).map(([alias, words]) =>
      rulesOf(`nvme ${alias}`, each, words.length > 0 && !words[0]?.startsWith("-") ? 1 : 0),
    ),
  ]),
];

/** @param skipped operands that the name stands for */
function rulesOf(command: string, { options, offers }: CommandDescription, skipped: number): CompletionRules {
  const places = offers.slice(skipped);
  return {
    command,
    options: [
      ...Object.entries(options).map(
        ([name, option]): Word => [
          `--${name}${option.type === "string" && option.joined === true ? "=" : ""}`,
          option.text,
        ],
      ),
      ["--help", "print help"],
    ],
    kinds: [
      ...Object.entries(options).flatMap(([name, option]) => {
        if (option.type === "boolean") return [];
        const kind = kindOf(option.offer);
        const names = [`--${name}`, ...(option.short === undefined ? [] : [`-${option.short}`])];
        return names.map((each): [string, string] => [each, kind]);
      }),
      ...places.slice(0, -1).map((each, index): [string, string] => [`@${index + 1}`, kindOf(each)]),
      ...places.slice(-1).map((each): [string, string] => ["@*", kindOf(each)]),
    ],
  };
}

function kindOf(offer: Offer): string {
  return typeof offer === "string" ? offer : `words ${offer.join(" ")}`;
}

/** A TypeDoc plugin: names a guide by its first heading instead of its file. */
import { readFileSync } from "node:fs";
import { Converter } from "typedoc";

/** @param {import("typedoc").Application} app */
export function load(app) {
  app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (_context, document) => {
    const file = document.project.files.getReflectionPath(document);
    if (file === undefined) return;
    const [, title] = /^# (.+)$/m.exec(readFileSync(file, "utf8")) ?? [];
    if (title !== undefined) document.name = title;
  });
}

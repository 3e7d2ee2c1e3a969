// One style sheet from many, with the rules that some page or script can use.
//   node bundle_css.mjs SITE SHEET...   prints {"css": ..., "noscript": ...}
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import postcss from "postcss";
import { PurgeCSS } from "purgecss";

const [site, ...sheets] = process.argv.slice(2);
const read = (sheet) => readFileSync(sheet, "utf8")
  .replace(/@import "([^"]+)";/g, (_, path) => read(resolve(dirname(sheet), path)));
const words = (text) => text.match(/[\w-]+/g) ?? [];
// Of a page, its elements and scripts: words of its prose are no names.
const names = (page) => words((page.match(/<script.*?<\/script>|<[^>]+>/gs) ?? []).join("\n")
  .replace(/ (alt|aria-label|content|d|href|src|title)="[^"]*"/g, " $1"));
const [{ css }] = await new PurgeCSS().purge({
  content: [`${site}/**/*.html`, `${site}/_static/**/!(search-sections|minisearch).js`, `${site}/live/live*.{js,py}`],
  extractors: [{ extensions: ["html"], extractor: names }],
  css: [{ raw: sheets.map(read).join("\n") }],
  fontFace: true,
  keyframes: true,
  variables: true,
  // What browsers and scripts add to an element, and no file names.
  safelist: { standard: [":is", ":where", ":not", ":has", "::details-content"], greedy: [/data-theme/, /data-mode/] },
});

const all = postcss.parse(css);
all.walkComments((comment) => comment.remove());
all.walk((node) => {
  Object.assign(node.raws, { before: "", after: "", between: node.type === "decl" ? ":" : "" });
});
// Each @font-face keeps its woff2, which every browser of today reads.
all.walkDecls("src", (src) => { src.value = src.value.match(/url\([^)]*woff2[^)]*\) *format\([^)]*\)/)?.[0] ?? src.value; });

// Without scripts nobody sets data-theme: these rules then follow the system's own scheme.
const noscript = postcss.root();
for (const theme of ["light", "dark"]) {
  const media = postcss.atRule({ name: "media", params: `(prefers-color-scheme: ${theme})` });
  all.walkRules(new RegExp(`data-theme="?${theme}`), (rule) => {
    if (rule.parent.type === "root")
      media.append(rule.clone({ selector: rule.selector.replaceAll(new RegExp(`\\[data-theme="?${theme}"?\\]`, "g"), "[data-theme]") }));
  });
  noscript.append(media);
}
process.stdout.write(JSON.stringify({ css: all.toString(), noscript: noscript.toString() }));

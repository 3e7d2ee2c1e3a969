// Draws formulas: a JSON line {tex, display} comes in, a JSON line {html} or {error} goes out.
import katex from "katex";
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  const { tex, display } = JSON.parse(line);
  let answer;
  try {
    // Each complaint is an error; letters outside TeX's fonts (½, subscripts of text) are none.
    const strict = (code) => (/^(unknownSymbol|symbolNotInFont|unicodeTextInMathMode)$/.test(code) ? "ignore" : "error");
    const html = katex.renderToString(tex, { displayMode: display, output: "htmlAndMathml", strict });
    // Without the TeX again, and what only XML needs.
    answer = { html: html.replace(/<semantics>(.*?)<annotation.*<\/semantics>/s, "$1").replace(/ xmlns="[^"]*MathML"/, "") };
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}

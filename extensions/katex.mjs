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
    answer = { html: html.replace(/<annotation.*?<\/annotation>/s, "") }; // the TeX again
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}

// Figures in fewer bytes: node thin_figures.mjs FILE... writes each anew.
import { readFileSync, writeFileSync } from "node:fs";
import { optimize } from "svgo";

const plugins = [{
  name: "preset-default",
  // No style rule of a figure names an id; light_pages reads its size in points.
  params: { overrides: { cleanupIds: { force: true }, cleanupNumericValues: { convertToPx: false } } },
}];
for (const path of process.argv.slice(2)) {
  // A hundredth of a point is a hundredth of a pixel at most.
  writeFileSync(path, optimize(readFileSync(path, "utf8"), { path, plugins, floatPrecision: 2 }).data);
}

// Figures in fewer bytes: texts of SVG files by their paths as JSON on the way in and out.
import { readFileSync } from "node:fs";
import { optimize } from "svgo";

const plugins = [{
  name: "preset-default",
  params: {
    overrides: {
      cleanupIds: { force: true }, // no style rule of a figure names an id
      cleanupNumericValues: { convertToPx: false }, // light_pages reads its size in points
      mergeStyles: false, // write_epub leaves out the dark colours alone
    },
  },
}];
const figures = JSON.parse(readFileSync(0, "utf8"));
for (const path in figures)
  // A hundredth of a point is a hundredth of a pixel at most.
  figures[path] = optimize(figures[path], { path, plugins, floatPrecision: 2 }).data;
process.stdout.write(JSON.stringify(figures));

// One bar that splits into Σa² and Tr J, for one row after another, at any spread of the scores.
import { chart, explore, h, line, measures, mix, normals, short, slider, steps } from "./parts.js";

const ROWS = 1000, KEYS = 128;
// 0.1 to 100 in even ratios; two of them are rounded.
const SPREADS = steps(190, (i) => ({ 112: 6, 150: 24 })[i] ?? 10 ** ((i - 63) / 63));
const DRAWS = steps(ROWS, (i) => i);
const across = (spread) => (100 * (Math.log10(spread) + 1)) / 3;
const say = (spread) => spread.toPrecision(2).replace(/^1\.0e\+2$/, "100");

export function draws(seed) {
  const drawn = normals(seed, ROWS * KEYS);
  return DRAWS.map((i) => drawn.subarray(i * KEYS, (i + 1) * KEYS));
}

// Σa² and Tr J of one row, and mean and median of Tr J over all of them.
export function numbers(rows, spread, i) {
  const traces = Float64Array.from(rows, (row) => measures(row, spread)[1]);
  const [collapse, trace] = measures(rows[i], spread), mean = traces.reduce((a, b) => a + b) / ROWS;
  traces.sort();
  return { collapse, trace, mean, median: (traces[ROWS / 2 - 1] + traces[ROWS / 2]) / 2 };
}

function render({ model, el }) {
  const rows = draws(model.get("seed")), seen = [];
  const xs = model.get("spreads").map(across), down = (name) => model.get(name).map((trace) => 100 - 100 * trace);
  const spread = slider({
    label: "spread σ", values: SPREADS, say,
    stops: [[0.1, "0.1"], [1, "1"], [6, "6"], [24, "24"], [100, "100"]],
    onmove: (sigma) => move({ sigma }),
  });
  let current;
  const next = h("button", { type: "button", onclick: () => move({ row: (current + 1) % ROWS }) }, "new row");
  const picture = chart("Tr J against the spread of the scores", "curve");
  picture.path("band").setAttribute("d", `${line(xs, down("high"))}${line([...xs].reverse(), down("low").reverse()).replace("M", "L")}Z`);
  picture.path("median").setAttribute("d", line(xs, down("median")));
  picture.path("mean").setAttribute("d", line(xs, down("mean")));
  const alive = picture.path("bar alive"), collapsed = picture.path("bar collapsed"), dots = picture.path("dots");
  const values = ["this row: Σa²", "Tr J", "median Tr J", "mean Tr J"].map((name) => [name, h("b")]);
  picture.word("Σa²\ncollapsed", 98, 6, "right");
  picture.word("Tr J\nalive", 2, 80);
  picture.word("1", -0.5, 0, "right");
  picture.word("0", -0.5, 93, "right");
  el.append(picture.node,
    spread.node, h("p", { class: "values" }, ...values.map(([name, value]) => h("span", {}, `${name} `, value))), next);
  const draw = ({ sigma, row }, before) => {
    current = row;
    if (!seen.includes(row)) seen.push(row);
    const now = numbers(rows, sigma, row), x = across(sigma), y = 100 - 100 * now.trace;
    alive.setAttribute("d", `M${x} 100V${y}`);
    collapsed.setAttribute("d", `M${x} ${y}V0`);
    dots.setAttribute("d", seen.map((i) => `M${x} ${100 - 100 * measures(rows[i], sigma)[1]}h0`).join(""));
    el.style.setProperty("--tint", mix("blue", "orange", Math.min(1, Math.max(0, Math.log(sigma) / Math.log(6)))));
    [now.collapse.toFixed(3), ...[now.trace, now.median, now.mean].map(short)].forEach((text, i) => { values[i][1].textContent = text; });
    spread.set(sigma);
    return sentence(now, sigma, before && before.row !== row);
  };
  const move = explore({
    name: "split", el, draw, numbers: { sigma: { values: SPREADS, start: 6 }, row: { values: DRAWS, start: 0 } },
  });
}

export function sentence({ trace, mean, median }, sigma, isNew) {
  const ratio = mean / median;
  const parted = ratio > 1.05 ? `The mean is ${ratio > 1000 ? "over 1000" : short(ratio)} times the median: a minority of open rows keeps it up.`
    : ratio < 0.95 ? "The mean is below the median: rows that have decided pull it down." : "Mean and median are nearly the same.";
  const state = trace < 0.1 ? "has all but decided" : trace > 0.9 ? "is open" : "is half decided";
  return `${isNew ? "A new row" : "This row"} ${state} at spread ${say(sigma)}: ${short(trace)} of the bar is Tr J, the rest Σa². ${parted}`;
}

export default { render };

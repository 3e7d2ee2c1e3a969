// One row's lead and the length of its gradient, among a hundred rows, as the head gets wider.
import { chart, explore, h, line, normals, short, slider, softmax, steps } from "./parts.js";

const N = 128, WIDEST = 4096, DOTS = 100;
const across = (lead) => Math.min(100, 5 * lead); // 0 to 20
const down = (length) => Math.min(100, Math.max(0, 10 * (2 - Math.log10(length)))); // 10⁻⁸ to 100
const FLOOR = 1e-8;

// A row of normal scores z, its upstream gradient g, and the keys' components across the query, of
// which only the sum of the squares of the first 0, 1, 2 … is needed.
export function drawn(seed) {
  const noise = normals(seed, 2 * N + WIDEST - 1), squares = new Float64Array(WIDEST);
  for (let i = 1; i < WIDEST; i++) squares[i] = squares[i - 1] + noise[2 * N + i - 1] ** 2;
  return { z: noise.slice(0, N), g: noise.slice(N, 2 * N), squares };
}

// Lead, length of ∂L/∂q and the two largest weights, for a query of the length √width.
export function gradient({ z, g, squares }, width, scale) {
  const spread = scale * Math.sqrt(width), a = softmax(z, spread);
  let top = 0, second = -1;
  for (let i = 1; i < N; i++) {
    if (z[i] > z[top]) [top, second] = [i, top];
    else if (second < 0 || z[i] > z[second]) second = i;
  }
  const mean = a.reduce((sum, weight, i) => sum + weight * g[i], 0);
  let along = 0, norm = 0, left = 0; // Jg sums to 0: the leader's entry is what the others leave
  for (let i = 0; i < N; i++) {
    if (i === top) continue;
    const jg = a[i] * (g[i] - mean);
    left -= jg;
    norm += jg * jg;
    along += jg * (z[i] - z[top]);
  }
  const length = scale * Math.hypot(along, Math.sqrt((norm + left * left) * squares[width - 1]));
  return { lead: spread * (z[top] - z[second]), length, weights: [a[top], a[second]] };
}

// What the data say of all rows at a width.
export function all(get, dk) {
  const i = get("widths").indexOf(dk);
  return Object.fromEntries(["rms", "median", "share", "scaled_rms", "scaled_median"].map((name) => [name, get(name)[i]]));
}

export function sentence({ lead, length, weights }, scaled, every, { dk, row }) {
  const size = (x) => (x < FLOOR ? "less than 10⁻⁸" : short(x));
  return `Row ${row} at width ${dk}, raw: the largest score leads by ${short(lead)}, the second token has a weight of ${size(weights[1])}, `
    + `and the gradient’s length is ${size(length)}; with the factor ${short(scaled.length)}. `
    + `Of 1000 rows the RMS is ${short(every.rms)} and the median ${short(every.median)}, with the factor ${short(every.scaled_rms)} and ${short(every.scaled_median)}. `
    + `Raw, ${short(100 * every.share)} % of the rows carry nine tenths of the energy.`;
}

function render({ model, el }) {
  const { get } = model, widths = get("widths"), rows = steps(DOTS, drawn);
  const picture = chart("lead and length of the gradient, row by row", "map");
  const dots = ["dot blue", "dot orange"].map(picture.path), [root, typical, mean] = ["line blue", "line", "line dashed"].map(picture.path);
  const picked = ["dot ring", "dot picked"].map(picture.path), names = [["with the factor", 55], ["median", 82], ["RMS", 100]].map(([text, x]) => picture.word(text, x, 0, "name"));
  [[100, "100"], [1, "1"], [0.01, "0.01"], [1e-4, "10⁻⁴"], [1e-6, "10⁻⁶"], [FLOOR, "10⁻⁸"]].forEach(([x, text]) => picture.word(text, -1, down(x), "left"));
  [0, 5, 10, 15, 20].forEach((x) => picture.word(x < 20 ? String(x) : "20+", across(x), 102, "tick"));
  const parts = ["orange", "second", "others"].map((kind) => h("i", { class: kind }));
  const width = slider({
    label: "width dₖ", values: widths, stops: [4, 64, 256, 1024, 4096].map((x) => [x, String(x)]), say: String, onmove: (dk) => move({ dk }),
  });
  let now = {};
  const again = h("button", { type: "button", onclick: () => move({ row: (now.row + 1) % 1000 }) }, "draw another row");
  el.append(
    h("p", {}, "Length of a row’s gradient (log scale) by its lead: ", h("b", { class: "orange" }, "raw"), ", ", h("b", { class: "blue" }, "with the factor")),
    picture.node, h("p", { class: "axis" }, "lead of the largest score over the second"),
    h("div", { class: "bar", "aria-hidden": "true" }, ...parts), h("p", { class: "axis" }, "this row’s raw weights: largest, second, all others"),
    h("div", { class: "controls" }, width.node, again),
  );
  const place = ({ lead, length }) => `M${across(lead).toFixed(2)} ${down(length).toFixed(2)}h0`;
  const draw = (state) => {
    now = { ...state };
    const one = rows[state.row] ??= drawn(state.row), factor = 1 / Math.sqrt(state.dk);
    const raw = gradient(one, state.dk, 1), found = all(get, state.dk);
    [factor, 1].forEach((scale, i) => dots[i].setAttribute("d", rows.slice(0, DOTS).map((row) => place(gradient(row, state.dk, scale))).join("")));
    for (const dot of picked) dot.setAttribute("d", place(raw));
    [[root, found.scaled_median], [typical, found.median], [mean, found.rms]].forEach(([path, length], i) => {
      path.setAttribute("d", line([0, 100], [down(length), down(length)]));
      names[i].style.top = `${down(length)}%`;
    });
    [...raw.weights, 1 - raw.weights[0] - raw.weights[1]].forEach((share, i) => { parts[i].style.width = `${100 * Math.max(0, share)}%`; });
    width.set(state.dk);
    return sentence(raw, gradient(one, state.dk, factor), found, state);
  };
  const move = explore({
    name: "rows", el, draw, numbers: { dk: { values: widths, start: 1024 }, row: { values: steps(1000, (i) => i), start: 6 } },
  });
}

export default { render };

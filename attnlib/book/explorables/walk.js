// A score as a walk of d_k steps: sixteen keys, one query, three divisors.
import { chart, explore, h, line, measures, normals, short, slider, softmax, steps } from "./parts.js";

const LONGEST = 4096, KEYS = 16, POINTS = 128;
const WIDTHS = [...new Set(steps(97, (i) => Math.round(2 ** (i / 8))))];
const SEEDS = steps(1000, (i) => i);
const POWERS = { "not divided": 0, "÷ √dₖ": 0.5, "÷ dₖ": 1 };

// The running sums of q·k, for the seed's query and each of its keys.
export function walks(seed) {
  const drawn = normals(seed, (KEYS + 1) * LONGEST);
  return steps(KEYS, (key) => {
    const sums = new Float64Array(LONGEST + 1);
    for (let c = 0; c < LONGEST; c++) sums[c + 1] = sums[c] + drawn[c] * drawn[(key + 1) * LONGEST + c];
    return sums;
  });
}

// A row of scores after d_k steps, divided by a power of d_k.
export function row(sums, width, power) {
  const scores = sums.map((walk) => walk[width] / width ** power);
  const mean = scores.reduce((a, b) => a + b) / KEYS;
  const spread = Math.sqrt(scores.reduce((total, score) => total + (score - mean) ** 2, 0) / KEYS);
  return { weights: softmax(scores), spread, takingPart: 1 / measures(scores)[0] };
}

function render({ model, el }) {
  let seed, sums;
  const width = slider({
    label: "width dₖ", values: WIDTHS, stops: [1, 16, 64, 256, 4096].map((d) => [d, String(d)]), say: String,
    onmove: (dk) => move({ dk }),
  });
  const again = h("button", { type: "button", onclick: () => move({ draw: (seed + 1) % SEEDS.length }) }, "resample");
  const fan = chart("running sums of sixteen scores", "fan");
  const bounds = fan.path("bound"), paths = fan.path("walk"), first = fan.path("first");
  bounds.setAttribute("d", line(steps(101, (x) => x), steps(101, (x) => 50 - 1.6 * Math.sqrt(x)))
    + line(steps(101, (x) => x), steps(101, (x) => 50 + 1.6 * Math.sqrt(x))));
  const above = fan.word("", 100, 34, "end"), below = fan.word("", 100, 66, "end"), last = fan.word("", 100, 100, "foot");
  fan.word("0 steps", 0, 100);
  const rows = Object.keys(POWERS).map((name, kind) => {
    const bars = steps(KEYS, () => h("i")), spread = h("b"), part = h("b");
    const words = h("p", {}, h("b", { class: "name" }, name), h("br"), "spread ", spread, h("br"), "take part ", part);
    return { bars, spread, part, node: h("div", { class: `row kind${kind}` }, words, h("div", {}, ...bars)) };
  });
  el.append(fan.node, ...rows.map((r) => r.node), h("div", { class: "controls" }, width.node, again));
  const draw = ({ dk, draw }, before) => {
    if (seed !== draw) [seed, sums] = [draw, walks(draw)];
    const now = Object.values(POWERS).map((power) => row(sums, dk, power));
    const at = steps(Math.min(dk, POINTS) + 1, (i) => Math.round((i * dk) / Math.min(dk, POINTS)));
    const xs = at.map((c) => (100 * c) / dk), scale = 16 / Math.sqrt(dk);
    const drawn = sums.map((walk) => line(xs, at.map((c) => 50 - scale * walk[c])));
    const winner = now[0].weights.indexOf(Math.max(...now[0].weights));
    first.setAttribute("d", drawn[winner]);
    paths.setAttribute("d", drawn.join(""));
    above.textContent = `√${dk} = ${short(Math.sqrt(dk))}`;
    below.textContent = `−${short(Math.sqrt(dk))}`;
    last.textContent = `${dk} ${dk === 1 ? "step" : "steps"}`;
    now.forEach(({ weights, spread, takingPart }, i) => {
      weights.forEach((weight, j) => { rows[i].bars[j].style.transform = `scaleY(${weight})`; });
      rows[i].spread.textContent = short(spread);
      rows[i].part.textContent = takingPart.toFixed(1);
    });
    width.set(dk);
    return sentence(now, dk, before && before.draw !== draw);
  };
  const move = explore({
    name: "walk", el, draw, numbers: { dk: { values: WIDTHS, start: 64 }, draw: { values: SEEDS, start: 1 } },
  });
}

export function sentence([raw, root, whole], dk, isNew) {
  const start = isNew ? "Another query, other keys: with" : "With";
  if (dk === 1) return `${start} one step there is nothing to divide: the three rows are the same.`;
  return `${start} ${dk} steps these scores spread by ${short(raw.spread)}; √${dk} is ${short(Math.sqrt(dk))}. `
    + `Not divided, ${raw.takingPart.toFixed(1)} of ${KEYS} keys take part; divided by √dₖ, ${root.takingPart.toFixed(1)}; `
    + `divided by dₖ, ${whole.takingPart.toFixed(1)}.`;
}

export default { render };

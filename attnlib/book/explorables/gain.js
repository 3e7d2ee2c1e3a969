// Where nine settings put the median row, while queries become longer.
import { explore, h, short, slider, steps } from "./parts.js";

const KINDS = ["collapse", "sensitivity"], SHORTEST = 1 / 128;
const ACROSS = [(x) => (100 * Math.log(x / SHORTEST)) / Math.log(128), (x) => (100 * x) / 3];
const TICKS = [[0.01, 0.1, 1], [0, 1, 2, 3]];

// Collapse and sensitivity of every setting at a length, and at the first.
export function places(get, length) {
  const i = get("lengths").indexOf(length);
  return KINDS.map((kind) => get(kind).map((values) => ({ now: values[i], start: values[0] })));
}

export function sentence(names, [collapse, sensitivity], length) {
  const of = (name) => names.indexOf(name);
  const root = of("1/√dₖ"), flat = of("1/dₖ"), raw = of("raw"), norm = names.findIndex((name) => name.startsWith("QK"));
  const at = (i) => `Σa² ${short(collapse[i].now)} and S ${short(sensitivity[i].now)}`;
  const way = ({ start, now }) => `${short(start)} to ${short(now)}`;
  if (length === 1) return `At the start 1/√dₖ is at ${at(root)}, raw scores at ${at(raw)}.`;
  const end = collapse[flat].now === collapse[root].start && collapse[root].now === collapse[raw].start
    ? " Now 1/dₖ is where 1/√dₖ started, and this where raw scores started." : "";
  return `Queries ${short(length)} times as long take 1/√dₖ from Σa² ${way(collapse[root])}, S from ${way(sensitivity[root])}; `
    + `raw scores have an S of ${short(sensitivity[raw].now)} left. ${names[norm]} stays at ${at(norm)}.${end}`;
}

function render({ model, el }) {
  const { get } = model, lengths = get("lengths"), names = get("names");
  const first = places(get, lengths[0]), all = lengths.map((length) => places(get, length));
  const u = (kind, x, width) => h("u", { class: kind, style: `left: ${x}%; width: ${width}%` });
  // Behind each setting's point: the way it takes, its start, and where raw and 1/√dₖ start.
  const track = (i, k) => {
    const xs = all.map((found) => ACROSS[k](found[k][i].now)), low = Math.min(...xs), dot = h("b");
    const guides = ["raw", "1/√dₖ"].map((name) => u("guide", ACROSS[k](first[k][names.indexOf(name)].start), 0));
    return { dot, node: h("div", { class: "track" }, ...guides, u("way", low, Math.max(...xs) - low), u("start", xs[0], 0), dot) };
  };
  const rows = names.map((name, i) => {
    const tracks = steps(2, (k) => track(i, k)), numbers = h("span");
    const colour = { raw: "orange", "1/√dₖ": "blue", "1/dₖ": "green" }[name];
    const style = colour ? `--tint: var(--${colour})` : "";
    return { tracks, numbers, node: h("div", { class: "row", style }, h("p", {}, name, h("br"), numbers), ...tracks.map(({ node }) => node)) };
  });
  const axis = steps(2, (k) => h("div", { class: "axis" }, ...TICKS[k].map((x) => h("span", { style: `left: ${ACROSS[k](x)}%` }, String(x)))));
  const length = slider({
    label: "queries longer by a factor of", values: lengths, stops: [1, 2, 4, 8].map((x) => [x, String(x)]), say: short, onmove: (length) => move({ length }),
  });
  el.append(length.node,
    h("div", { class: "row" }, h("p", {}, "Σa², S"), h("p", {}, "collapse Σa²"), h("p", {}, "sensitivity S")),
    ...rows.map(({ node }) => node), h("div", { class: "row" }, h("p"), ...axis));
  const draw = (state) => {
    const now = places(get, state.length);
    rows.forEach(({ tracks, numbers }, i) => {
      tracks.forEach(({ dot }, k) => { dot.style.left = `${ACROSS[k](now[k][i].now)}%`; });
      numbers.textContent = `${now[0][i].now.toFixed(3)}, ${now[1][i].now.toFixed(2)}`;
    });
    length.set(state.length);
    return sentence(names, now, state.length);
  };
  const move = explore({ name: "gain", el, draw, numbers: { length: { values: lengths, start: lengths.at(-1) } } });
}

export default { render };

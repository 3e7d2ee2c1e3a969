// The 72 heads of a trained model, of which one shows its row, with and without the factor.
import { chart, choice, explore, h, slider, steps } from "./parts.js";

const HEADS = 12, LAYERS = 6, CRITICAL = Math.sqrt(2 * Math.log(20));
const across = (i) => (100 * i) / (LAYERS * HEADS - 1);
const down = (spread) => 100 - (100 * Math.log(spread / 0.2)) / Math.log(500); // 0.2 to 100
const RISE = down(1) - down(Math.sqrt(32));

// What the data say of a head; they lie by factor (0 without, 1 with) and by head.
export function shown(get, { layer, head, sentence, factor }) {
  const of = (name) => get(name)[factor][HEADS * layer + head];
  const tokens = get("tokens"), second = tokens.lastIndexOf("[CLS]");
  const cut = sentence ? [second] : [0, second];
  return {
    names: tokens.slice(...cut), weights: of("weights").slice(...cut).map((weight) => weight / 1000),
    row: [of("spreads")[sentence], of("entropies")[sentence]], median: [of("median_spreads"), of("median_entropies")],
    beyond: get("median_spreads")[factor].filter((spread) => spread > CRITICAL).length,
  };
}

export function sentence({ names, weights, row: [, entropy], beyond }, { layer, head, factor }, other) {
  const [first, second] = steps(names.length, (i) => i).sort((i, j) => weights[j] - weights[i]);
  const gets = (i) => {
    const place = names.indexOf(names[i]), again = place < names.lastIndexOf(names[i]);
    return `${again ? (place === i ? "the first " : "a later ") : ""}“${names[i]}” ${weights[i].toFixed(3)}`;
  };
  const rest = weights[second] ? `, then ${gets(second)}` : "";
  const verdict = weights[first] > 0.9 ? `decided${factor ? ", although its scores are divided" : ""}`
    : entropy > 0.9 ? "wide open" : "undecided";
  return `${factor ? "With" : "Without"} the factor, in head ${head} of layer ${layer}, “it” gives ${gets(first)} of its weight${rest}. `
    + `The row is ${verdict}: its entropy is ${entropy.toFixed(3)} of the largest (${factor ? "factor removed" : "as trained"}: ${other.row[1].toFixed(3)}). `
    + `Beyond the dashed line: ${beyond} of 72 heads.`;
}

function render({ model, el }) {
  const { get } = model;
  const go = (i) => move({ layer: Math.floor(i / HEADS), head: i % HEADS });
  const which = slider({
    label: "layer", values: steps(LAYERS * HEADS, (i) => i), stops: steps(LAYERS, (i) => [HEADS * i, String(i)]),
    say: (i) => `${Math.floor(i / HEADS)}, head ${i % HEADS}`, onmove: go,
  });
  const picture = chart("median spread of each head", "map");
  const path = (kind, d) => picture.path(kind).setAttribute("d", d);
  const places = get("median_spreads")[1].map((spread, i) => [across(i), down(spread)]);
  const dots = (rise) => places.map(([x, y]) => `M${x} ${y - rise}h0`).join("");
  path("line", `M0 ${down(1)}H100`);
  path("line dashed", `M0 ${down(CRITICAL)}H100`);
  path("dot ghost", dots(0) + dots(RISE));
  path("bars", get("deciles").map(([low, high], i) => `M${across(i)} ${down(low)}V${down(high)}`).join(""));
  path("dot", dots(0));
  const picked = ["dot ring", "dot"].map(picture.path);
  for (const spread of [1, 10, 100]) picture.word(String(spread), -1, down(spread), "tick");
  let rise;
  const near = ({ clientX, clientY }) => {
    const { left, top, width, height } = picture.node.getBoundingClientRect();
    const far = places.map(([x, y]) => Math.hypot(left + (x * width) / 100 - clientX, top + ((y - rise) * height) / 100 - clientY));
    go(far.indexOf(Math.min(...far)));
  };
  picture.node.onpointermove = (event) => event.buttons && near(event);
  picture.node.onclick = (event) => {
    near(event);
    which.node.querySelector("input").focus({ preventScroll: true });
  };
  const text = choice({ label: "sentence", names: get("sentences"), onmove: (sentence) => move({ sentence }) });
  const factor = choice({ label: "factor", names: ["1/√32, as trained", "removed"], onmove: (i) => move({ factor: 1 - i }) });
  const rows = [0, 1].map((sentence) => {
    const columns = shown(get, { layer: 0, head: 0, factor: 1, sentence }).names.map((name) => {
      const number = h("span"), bar = h("i"), mark = h("u");
      return { number, bar, mark, node: h("div", {}, number, h("div", {}, bar, mark), h("span", { class: name === "it" ? "asks" : "" }, name)) };
    });
    return { columns, node: h("div", { class: "row" }, ...columns.map(({ node }) => node)) };
  });
  const values = steps(4, () => h("b"));
  el.append(
    h("p", {}, "Spread σ of each head’s median row, log scale; dashed: freezing begins"),
    h("div", { class: "plot" }, picture.node, which.node),
    h("div", { class: "controls" }, factor.node, text.node), ...rows.map(({ node }) => node),
    h("p", { class: "values" }, ...["this row", "median of 101 rows"].map((name, i) =>
      h("span", {}, `${name}: spread `, values[2 * i], ", entropy ", values[2 * i + 1]))),
  );
  const draw = (state) => {
    const now = shown(get, state), other = shown(get, { ...state, factor: 1 - state.factor });
    const i = HEADS * state.layer + state.head, colours = ["var(--orange)", "var(--blue)"];
    rise = state.factor ? 0 : RISE;
    el.style.setProperty("--tint", colours[state.factor]);
    el.style.setProperty("--other", colours[1 - state.factor]);
    el.style.setProperty("--rise", `${-rise}px`);
    for (const dot of picked) dot.setAttribute("d", `M${places[i]}h0`);
    rows.forEach(({ node }, j) => { node.hidden = j !== state.sentence; });
    rows[state.sentence].columns.forEach(({ number, bar, mark }, j) => {
      number.textContent = now.weights[j] < 0.01 ? "" : now.weights[j].toFixed(3);
      bar.style.transform = `scaleY(${now.weights[j]})`;
      mark.style.bottom = `${100 * other.weights[j]}%`;
      mark.hidden = other.weights[j] < 0.01;
    });
    [...now.row, ...now.median].forEach((value, j) => { values[j].textContent = j % 2 ? value.toFixed(3) : value; });
    which.set(i);
    text.set(state.sentence);
    factor.set(1 - state.factor);
    return sentence(now, state, other);
  };
  const number = (count, start) => ({ values: steps(count, (i) => i), start });
  const move = explore({
    name: "heads", el, draw, numbers: { layer: number(LAYERS, 3), head: number(HEADS, 1), sentence: number(2, 0), factor: number(2, 1) },
  });
}

export default { render };

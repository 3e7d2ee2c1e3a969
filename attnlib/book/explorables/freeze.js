// The map of freezing: a row of raw scores at a width and a length, on the exact mean of Σa².
import { chart, explore, h, line, measures, normals, s, short, slider, steps } from "./parts.js";

const across = (width) => 10 * Math.log2(width), down = (n) => (100 / 14) * (16 - Math.log2(n));

// Of the row's first n scores, for a query of the length √d_k: the ten largest weights, what all the
// others have together, and Σa².
export function row(noise, width, n) {
  const scores = noise.subarray(0, n), sigma = Math.sqrt(width), top = [];
  for (const z of scores) {
    if (z <= top[9]) continue;
    top.push(z);
    top.sort((a, b) => b - a).splice(10);
  }
  const power = (z) => Math.exp(sigma * (z - top[0])), powers = top.map(power);
  let rest = 0;
  for (const z of scores) if (z < top.at(-1)) rest += power(z);
  const sum = powers.reduce((a, b) => a + b) + rest;
  return { weights: powers.map((x) => x / sum), rest: rest / sum, collapse: measures(scores, sigma)[0] };
}

// What is exact there: the mean of Σa², the mean with the factor, the width of the border.
export function exact(model, { dk, n }) {
  const i = model.get("lengths").indexOf(n), means = model.get("mean")[i];
  return { mean: means[model.get("widths").indexOf(dk)], divided: means[0], border: model.get("border")[i] };
}

// Where one value of a list ends and the next begins, from 0 to 100.
const edges = (places) => [places[0], ...places.slice(1).map((x, i) => (x + places[i]) / 2), places.at(-1)];

function render({ model, el }) {
  const [widths, lengths, border] = ["widths", "lengths", "border"].map(model.get), xs = edges(widths.map(across)), ys = edges(lengths.map(down));
  const map = chart("mean Σa² by width and number of tokens", "map");
  model.get("mean").forEach((means, i) => means.forEach((value, j) => map.node.firstChild.append(s("rect", {
    x: xs[j], y: ys[i + 1], width: xs[j + 1] - xs[j], height: ys[i] - ys[i + 1], opacity: value,
  }))));
  map.path("half").setAttribute("d", line(border.map(across), lengths.map(down)));
  map.path("estimate").setAttribute("d", line(lengths.map((n) => across(2 * Math.log(n))), lengths.map(down)));
  [1, 4, 16, 64, 256, 1024].forEach((width) => map.word(String(width), across(width), 101, "tick"));
  [4, 64, 1024, 65536].forEach((n) => map.word(String(n), -1, down(n), "left"));
  map.word("half frozen", across(border.at(-1)) + 1, 0);
  const home = map.node.appendChild(h("u")), knob = map.node.appendChild(h("b", { class: "knob" }));
  map.node.onclick = (event) => {
    const box = map.node.getBoundingClientRect();
    move({ dk: 1024 ** ((event.clientX - box.left) / box.width), n: 4 * 16384 ** ((box.bottom - event.clientY) / box.height) });
  };
  map.node.onpointermove = (event) => event.buttons && map.node.onclick(event);
  map.node.onpointerdown = (event) => map.node.setPointerCapture(event.pointerId);

  const sliders = [["dk", "width dₖ", widths, [1, 8, 32, 64, 128, 1024]], ["n", "tokens n", lengths, [4, 128, 2048, 65536]]]
    .map(([key, label, values, stops]) => slider({
      label, values, stops: stops.map((x) => [x, String(x)]), say: String, onmove: (x) => move({ [key]: x }),
    }));
  let seed, noise;
  const again = h("button", { type: "button", onclick: () => move({ row: (seed + 1) % 1000 }) }, "new row");
  const bars = steps(11, () => h("i"));
  el.append(
    map.node, h("div", { class: "bars" }, ...bars),
    h("div", { class: "names" }, h("span", {}, "ten largest weights"), h("span", {}, "all others")),
    h("div", { class: "controls" }, ...sliders.map(({ node }) => node), again),
  );
  const draw = (state, before) => {
    if (seed !== state.row) [seed, noise] = [state.row, normals(state.row, lengths.at(-1))];
    const now = row(noise, state.dk, state.n);
    knob.style.left = `${across(state.dk)}%`;
    knob.style.top = home.style.top = `${down(state.n)}%`;
    bars.forEach((bar, i) => { bar.style.transform = `scaleY(${now.weights[i] ?? (i < 10 ? 0 : now.rest)})`; });
    sliders[0].set(state.dk);
    sliders[1].set(state.n);
    return sentence({ ...now, ...exact(model, state) }, state, exact(model, before ?? state).mean);
  };
  const move = explore({
    name: "freeze", el, draw,
    numbers: { dk: { values: widths, start: 64 }, n: { values: lengths, start: 128 }, row: { values: steps(1000, (i) => i), start: 6 } },
  });
}

export function sentence({ weights, collapse, mean, divided, border }, { dk, n }, was) {
  const side = (x) => (x > 0.5 ? "more" : "less");
  const apart = side(mean) === side(collapse) ? "" : `, this one ${side(collapse)}`;
  const root = dk === 1 ? "Here the factor changes nothing."
    : `Divided by √${dk} the row would be at the left edge, where the mean is ${short(divided)}.`;
  return `Width ${dk} among ${n} tokens: this row gives ${short(weights[0])} to one token, `
    + `and its Σa² is ${short(collapse)}; the mean there is ${short(mean)}${was === mean ? "" : ` (before: ${short(was)})`}. `
    + `Rows of ${n} are half frozen at width ${short(border)}: here they are ${side(mean)} than half frozen on average${apart}. ${root}`;
}

export default { render };

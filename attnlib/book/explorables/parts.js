// What the figures share. Frozen: a change here changes all of them.

const fill = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};
export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// Where in a list a number is, or the value closest to it.
export const nearest = (values, x) =>
  values.reduce((best, value, i) => (Math.abs(value - x) < Math.abs(values[best] - x) ? i : best), 0);

export const steps = (count, value) => Array.from({ length: count }, (_, i) => value(i));

// Three digits, as a person would write them.
export const short = (x) => {
  const [digits, power] = x.toExponential(2).split("e");
  if (x === 0 || power > -5) return String(+x.toPrecision(3));
  return `${digits} × 10⁻${[...power.slice(1)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]).join("")}`;
};

// A colour between two of the palette: blue, orange, green.
export const mix = (from, to, share) => `color-mix(in oklab, var(--${to}) ${(100 * share).toFixed(1)}%, var(--${from}))`;

// A slider over a list of values; stops are [value, text] and can be clicked.
export function slider({ label, values, stops, say, onmove }) {
  const shown = h("b"), last = values.length - 1;
  const input = h("input", { type: "range", min: 0, max: last, "aria-label": label, oninput: () => onmove(values[input.value]) });
  const marks = stops.map(([value, text]) => {
    const go = () => { onmove(value); input.focus({ preventScroll: true }); };
    const place = `left: calc(.5rem + ${nearest(values, value) / last} * (100% - 1rem))`;
    return h("button", { type: "button", style: place, "aria-label": `${label} ${text}`, onclick: go }, text);
  });
  const node = h("div", { class: "slider" }, h("p", {}, `${label} `, shown), input, h("div", { class: "stops" }, ...marks));
  return { node, set(value) {
    input.value = nearest(values, value);
    shown.textContent = say(value);
    input.setAttribute("aria-valuetext", say(value));
  } };
}

// One of several words.
export function choice({ label, names, onmove }) {
  const inputs = names.map((_, i) => h("input", { type: "radio", name: label, onchange: () => onmove(i) }));
  const words = names.map((name, i) => h("label", {}, inputs[i], h("span", {}, name)));
  const node = h("fieldset", {}, h("legend", {}, label), ...words);
  return { node, set(i) { inputs[i].checked = true; } };
}

// A chart whose coordinates run from 0 to 100 to the right and down; words stand above it in HTML.
export function chart(label, kind) {
  const svg = s("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
  const node = h("div", { class: `chart ${kind}`, role: "img", "aria-label": label }, svg);
  return {
    node,
    path(kind) { return svg.appendChild(s("path", { class: kind })); },
    word(text, x, y, kind = "") {
      return node.appendChild(h("span", { class: kind, style: `left: ${x}%; top: ${y}%` }, text));
    },
  };
}
export const line = (xs, ys) => xs.map((x, i) => `${i ? "L" : "M"}${x.toFixed(2)} ${ys[i].toFixed(2)}`).join("");

// Holds a figure's state: numbers by name, each { values, start }. draw(state, before) shows it and
// returns a sentence; before is the state of the last rest. At rest the sentence is spoken once, and
// the state goes into the page's address, from where it is read again.
export function explore({ name, el, numbers, draw }) {
  const state = {}, said = h("p", { class: "said", "aria-hidden": "true" }), status = h("p", { role: "status" });
  let before, timer, frame;
  const put = (change) => {
    for (const [key, { values }] of Object.entries(numbers)) {
      if (Number.isFinite(change[key])) state[key] = values[nearest(values, change[key])];
    }
  };
  const show = () => { frame = 0; said.textContent = draw(state, before); };
  const address = () => Object.entries(state).map(([key, value]) => `${key}=${+value.toPrecision(4)}`).join("&");
  const settle = () => { status.textContent = said.textContent; before = { ...state }; };
  const rest = () => {
    settle();
    try { history.replaceState(history.state, "", `#${name}?${address()}`); } catch { /* not in every frame */ }
  };
  const move = (change) => {
    put(change);
    frame ||= requestAnimationFrame(show);
    clearTimeout(timer);
    timer = setTimeout(rest, 700);
  };
  const read = () => {
    const [which, query] = location.hash.slice(1).split("?");
    if (which !== name || query === undefined) return;
    put(Object.fromEntries([...new URLSearchParams(query)].map(([key, value]) => [key, parseFloat(value)])));
    requestAnimationFrame(() => { show(); settle(); el.scrollIntoView({ block: "center" }); });
  };
  put(Object.fromEntries(Object.entries(numbers).map(([key, { start }]) => [key, start])));
  addEventListener("hashchange", () => el.isConnected && read());
  el.append(said, status);
  show();
  settle();
  read();
  return move;
}

// attnlib's softmax, and Σa² and Tr J of its weights.
export function softmax(scores, scale = 1) {
  const top = Math.max(...scores), powers = Array.from(scores, (score) => Math.exp(scale * (score - top)));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

export function measures(scores, scale = 1) {
  let top = 0, losers = 0, squares = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i] > scores[top]) top = i;
  for (let i = 0; i < scores.length; i++) {
    if (i === top) continue;
    const power = Math.exp(scale * (scores[i] - scores[top]));
    losers += power;
    squares += power * power;
  }
  const sum = 1 + losers; // the winner's power is 1, and its 1 − a is what the losers have
  return [(1 + squares) / sum ** 2, (losers + losers * sum - squares) / sum ** 2];
}

// The numbers of normals() in __init__.py: mulberry32, then pairs as Box and Muller make them.
export function normals(seed, size) {
  const uniform = (i) => {
    const state = (Math.imul(seed, 0x9e3779b9) + Math.imul(i, 0x6d2b79f5)) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const drawn = new Float64Array(size);
  for (let i = 0; i < size; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform(i + 1))), angle = 2 * Math.PI * uniform(i + 2);
    drawn[i] = radius * Math.cos(angle);
    if (i + 1 < size) drawn[i + 1] = radius * Math.sin(angle);
  }
  return drawn;
}

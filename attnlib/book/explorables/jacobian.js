// Four weights of softmax(βs) and their sixteen derivatives, while one score or β moves.
import { chart, explore, h, line, short, slider, softmax, steps } from "./parts.js";

const SCORES = steps(101, (i) => (i - 50) / 10), BETAS = steps(41, (i) => 2 ** ((i - 16) / 8));
const FOUR = [0, 1, 2, 3];
const across = (score) => 10 * (score + 5), down = (weight) => 100 - 100 * weight;
const sub = (i) => "₁₂₃₄"[i], signed = (text) => text.replace("-", "−"), digits = (x) => signed(short(x));
const fixed = (x) => signed(Math.abs(x) < 0.0005 ? "0.000" : x.toFixed(3));
const total = (values) => values.reduce((a, b) => a + b, 0);
const without = (j) => FOUR.filter((i) => i !== j);

// The weights a, what the others have (1 − a), J = β(diag a − aaᵀ), and 1 − Σa².
export function rates(scores, beta) {
  const a = softmax(scores, beta), others = FOUR.map((j) => total(without(j).map((i) => a[i])));
  const J = FOUR.map((i) => FOUR.map((j) => beta * a[i] * (i === j ? others[i] : -a[j])));
  return { a, others, J, open: total(FOUR.map((i) => a[i] * others[i])) };
}

// The weights on the way of score j.
export const ways = (scores, j, beta) => SCORES.map((x) => softmax(scores.map((score, i) => (i === j ? x : score)), beta));

// The rate of weight j itself, and of the one that loses most when score j rises.
export function formulas({ a, others, J }, j, beta) {
  const i = without(j).reduce((i, k) => (a[k] > a[i] ? k : i));
  return [[j, "β aⱼ(1 − aⱼ)", beta, others[j]], [i, "−β aⱼaᵢ", -beta, a[i]]].map(([i, symbols, factor, other]) =>
    `∂a${sub(i)}/∂s${sub(j)} = ${symbols} = ${[factor, a[j], other].map(digits).join(" · ")} = ${digits(J[i][j])}`);
}

export function sentence({ a, J, open }, j) {
  const rate = J[j][j], weight = `${rate < 0.01 ? "hardly " : ""}moves weight ${j + 1}, which is ${short(a[j])}: the rate is ${short(rate)}`;
  const verdict = FOUR.every((i) => J[i][i] < 0.01) ? " No rate exceeds 0.01."
    : rate > 0.25 ? " At β = 1 no rate exceeds 0.25." : "";
  return `Score ${j + 1} ${weight}. What it gains, the others lose. `
    + `Coloured in the square is 1 − Σa² = ${short(open)}.${verdict}`;
}

function render({ model, el }) {
  let j, key;
  const score = slider({ // the axis of the curves
    label: "score", values: SCORES, stops: [-5, -2, 0, 2, 5].map((x) => [x, digits(x)]),
    say: (x) => `s${sub(j)} = ${digits(x)}`, onmove: (x) => move({ [key]: x }),
  });
  const sharpness = slider({
    label: "sharpness β", values: BETAS, stops: [0.25, 1, 2, 4, 8].map((x) => [x, short(x)]), say: short, onmove: (beta) => move({ beta }),
  });

  const curves = chart("the weights against the score, with tangents", "curves");
  const square = chart("square with the weights as sides", "square");
  const [now, falls, rises, tangents, dots] = ["now", "falls", "rises", "tangents", "dots"].map(curves.path);
  const [rest, column] = ["rest", "column"].map(square.path);
  const names = FOUR.map((i) => curves.word(`a${sub(i)}`, 0, 0));
  const weights = FOUR.map(() => h("th", { scope: "row" })), cells = FOUR.map(() => FOUR.map(() => h("td")));
  const picks = FOUR.map((i) => h("button", { type: "button", onclick: () => move({ score: i + 1 }) }, `s${sub(i)}`));
  const table = h("table", {}, h("caption", {}, "J: how fast weights move with scores"),
    h("tr", {}, h("th", {}, "score"), ...picks.map((pick) => h("th", { scope: "col" }, pick))),
    ...FOUR.map((i) => h("tr", {}, weights[i], ...cells[i])));
  const lines = ["rises", "falls"].map((kind) => h("p", { class: kind }));
  square.word("both sides: the weights", 0, -12);
  el.append(curves.node, score.node, sharpness.node, h("div", { class: "pair" }, table, square.node), ...lines);

  const draw = (state) => {
    j = state.score - 1;
    key = `s${state.score}`;
    const { beta } = state, scores = FOUR.map((i) => state[`s${i + 1}`]), x = scores[j];
    const found = rates(scores, beta), { a, J } = found, way = ways(scores, j, beta), xs = SCORES.map(across);
    const put = (path, kinds, d) => path.setAttribute("d", kinds.map(d).join(""));
    const curve = (i) => line(xs, way.map((weights) => down(weights[i])));
    put(falls, without(j), curve);
    put(rises, [j], curve);
    put(now, [x], (x) => `M${across(x)} 0V100`);
    const run = 0.7 * Math.min(1, 0.3 / J[j][j]), ends = [-run, run];
    put(tangents, FOUR, (i) => line(ends.map((dx) => across(x + dx)), ends.map((dx) => down(a[i] + dx * J[i][j]))));
    put(dots, a, (y) => `M${across(x)} ${down(y)}h0`);
    // Names stand at the ends of the curves, none on another.
    let top = 100;
    for (const i of without(j).sort((i, k) => a[i] - a[k])) {
      top = Math.min(top, down(way[0][i])) - 9;
      names[i].style = `left: .3rem; top: ${Math.max(0, top)}%`;
    }
    names[j].style = `right: .3rem; top: ${Math.min(90, down(way.at(-1)[j]) + 3)}%`;

    const edges = a.map((_, i) => 100 * total(a.slice(0, i)));
    const area = (i) => (k) => (i === k ? "" : `M${edges[k]} ${edges[i]}h${100 * a[k]}v${100 * a[i]}h${-100 * a[k]}Z`);
    put(rest, FOUR, (i) => without(j).map(area(i)).join(""));
    put(column, FOUR, (i) => area(i)(j));
    FOUR.forEach((i) => {
      picks[i].setAttribute("aria-pressed", i === j);
      weights[i].textContent = `a${sub(i)} ${fixed(a[i])}`;
      cells[i].forEach((cell, k) => {
        cell.textContent = fixed(J[i][k]);
        cell.className = k === j ? "here" : "";
        cell.style.setProperty("--share", `${Math.min(60, 240 * Math.abs(J[i][k])).toFixed(1)}%`);
      });
    });
    formulas(found, j, beta).forEach((text, i) => { lines[i].textContent = text; });
    score.set(x);
    sharpness.set(beta);
    return sentence(found, j);
  };
  const numbers = { score: { values: [1, 2, 3, 4], start: 2 }, beta: { values: BETAS, start: 1 } };
  model.get("scores").forEach((start, i) => { numbers[`s${i + 1}`] = { values: SCORES, start }; });
  const move = explore({ name: "jacobian", el, draw, numbers });
}

export default { render };

// The sentence with two banks: whom a token attends to, by the divisor of its scores.
import { choice, explore, h, measures, mix, nearest, slider, softmax, steps } from "./parts.js";

const DIVISORS = steps(251, (i) => 2 ** (i / 50)); // 1 to 32; the middle one is √32
const ROOT = DIVISORS[125];
const say = (divisor) => (divisor === ROOT ? "√32 = 5.66" : String(+divisor.toFixed(2)));

export function row(scores, divisor) {
  const [collapse, trace] = measures(scores, 1 / divisor);
  return { weights: softmax(scores, 1 / divisor), collapse, trace, takingPart: 1 / collapse };
}

export function sentence(names, scores, { token, divisor }, before) {
  const { weights, trace, takingPart } = row(scores[token], divisor);
  const best = Math.max(...weights), who = names[weights.indexOf(best)];
  const how = divisor === 1 ? "not divided" : `divided by ${say(divisor)}`;
  let change = "";
  if (before && before.token === token && before.divisor !== divisor) {
    const old = row(scores[token], before.divisor).takingPart.toFixed(1);
    if (old !== takingPart.toFixed(1)) change = ` (before: ${old})`;
  }
  const verdict = best > 0.9 ? `The row is decided: only ${trace.toFixed(3)} is left of Tr J.`
    : takingPart > 0.8 * weights.length ? "Nearly everyone has the same say." : "Several have a say.";
  return `${names[token]} asks, its scores are ${how}: ${who} gets ${best.toFixed(3)} of the weight, `
    + `and ${takingPart.toFixed(1)} of ${weights.length} tokens take part${change}. ${verdict}`;
}

function render({ model, el }) {
  const tokens = model.get("tokens"), scores = model.get("scores");
  const names = tokens.map((token, i) => {
    if (tokens.indexOf(token) === tokens.lastIndexOf(token)) return `“${token}”`;
    return `the ${i === tokens.indexOf(token) ? "first" : "second"} “${token}”`;
  });
  const ask = choice({ label: "Who asks?", names: tokens, onmove: (token) => move({ token }) });
  const divide = slider({
    label: "divisor", values: DIVISORS, stops: [[1, "1"], [ROOT, "√32"], [32, "32"]], say,
    onmove: (divisor) => move({ divisor }),
  });
  const bars = tokens.map(() => h("i")), marks = tokens.map(() => h("u")), numbers = tokens.map(() => h("span"));
  const rows = tokens.map((token, i) => h("div", {}, h("span", {}, token), h("div", {}, bars[i], marks[i]), numbers[i]));
  const collapse = h("b"), trace = h("b"), part = h("i");
  const split = h("div", { class: "split" }, h("span", {}, "Σa² ", collapse), h("span", {}, "Tr J ", trace), h("div", {}, part));
  el.append(ask.node, divide.node, h("div", { class: "bars" }, ...rows), split);
  const draw = (state, before) => {
    const now = row(scores[state.token], state.divisor), usual = softmax(scores[state.token], 1 / ROOT);
    const place = nearest(DIVISORS, state.divisor) / 125;
    el.style.setProperty("--tint", place < 1 ? mix("orange", "blue", place) : mix("blue", "green", place - 1));
    now.weights.forEach((weight, i) => {
      bars[i].style.transform = `scaleX(${weight})`;
      marks[i].style.left = `${100 * usual[i]}%`;
      numbers[i].textContent = weight.toFixed(3);
    });
    part.style.transform = `scaleX(${now.collapse})`;
    collapse.textContent = now.collapse.toFixed(3);
    trace.textContent = now.trace.toFixed(3);
    ask.set(state.token);
    divide.set(state.divisor);
    return capital(sentence(names, scores, state, before));
  };
  const move = explore({
    name: "bank", el, draw,
    numbers: { divisor: { values: DIVISORS, start: ROOT }, token: { values: tokens.map((_, i) => i), start: 3 } },
  });
}
const capital = (words) => words[0].toUpperCase() + words.slice(1);

export default { render };

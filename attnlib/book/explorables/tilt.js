// Whether the variance of scaled scores stays level over the width, when entries are correlated.
import { chart, choice, explore, h, line, short, slider, steps } from "./parts.js";

const KINDS = ["q only", "both", "both, opposite signs", "both, decaying"], LOW = 0.1, HIGH = 300;
const down = (x) => 100 - (100 * Math.log(Math.min(HIGH, Math.max(LOW, x)) / LOW)) / Math.log(HIGH / LOW);

// By width: the mean of σ²/dₖ over rows, and the effective width.
export function law(get, { kind, rho }) {
  const of = (name) => get(name)[kind][get("rhos").indexOf(rho)];
  return { means: of("mean"), effective: of("effective") };
}

export const isLevel = ({ means }) => means.at(-1) < 1.15 * means.at(-2);

export function sentence(now, widths, { kind, rho }) {
  const { means, effective } = now, widest = widths.at(-1), scatter = Math.sqrt(2 / effective.at(-1));
  const what = rho === 0 ? "No correlation" : `Correlation ${rho} in ${KINDS[kind]}`;
  const verdict = isLevel(now) ? "the line becomes level" : "the line tilts in spite of the factor";
  return `${what}: the mean of σ²/dₖ is ${short(means[0])} at width ${widths[0]}, ${short(means.at(-2))} at ${widths.at(-2)} and ${short(means.at(-1))} at ${widest}; `
    + `${verdict}. At ${widest} the effective width is ${short(effective.at(-1))}, and the rows’ standard deviation is ${Math.round(100 * scatter)} % of that mean.`;
}

function render({ model, el }) {
  const { get } = model, widths = get("widths"), xs = steps(widths.length, (i) => (100 * i) / (widths.length - 1));
  const picture = chart("mean of σ²/dₖ by width", "map");
  const others = steps(KINDS.length, () => picture.path("other")), scatter = picture.path("scatter"), curve = picture.path("curve"), dots = picture.path("curve dot");
  widths.forEach((width, i) => picture.word(String(width), xs[i], 102, "tick"));
  [0.1, 1, 10, 100].forEach((x) => picture.word(String(x), -1, down(x), "left"));
  const where = choice({ label: "correlated in", names: KINDS, onmove: (kind) => move({ kind }) });
  const rho = slider({
    label: "correlation ρ", values: get("rhos"), stops: [0, 0.3, 0.6, 0.9].map((x) => [x, String(x)]), say: String, onmove: (rho) => move({ rho }),
  });
  el.append(
    h("p", {}, "Mean of σ²/dₖ over rows by width, both log scale; bars: one standard deviation of the rows"), picture.node,
    h("p", { class: "axis" }, "key width dₖ"), where.node, rho.node,
  );
  const draw = (state) => {
    const now = law(get, state), path = ({ means }) => line(xs, means.map(down));
    el.style.setProperty("--tint", `var(--${isLevel(now) ? "blue" : "orange"})`);
    others.forEach((other, kind) => other.setAttribute("d", path(law(get, { ...state, kind }))));
    curve.setAttribute("d", path(now));
    dots.setAttribute("d", now.means.map((mean, i) => `M${xs[i].toFixed(2)} ${down(mean).toFixed(2)}h0`).join(""));
    scatter.setAttribute("d", now.means.map((mean, i) => {
      const share = Math.sqrt(2 / now.effective[i]);
      return `M${xs[i].toFixed(2)} ${down(mean * (1 - share)).toFixed(2)}V${down(mean * (1 + share)).toFixed(2)}`;
    }).join(""));
    where.set(state.kind);
    rho.set(state.rho);
    return sentence(now, widths, state);
  };
  const move = explore({
    name: "tilt", el, draw, numbers: { kind: { values: steps(KINDS.length, (i) => i), start: 1 }, rho: { values: get("rhos"), start: 0.3 } },
  });
}

export default { render };

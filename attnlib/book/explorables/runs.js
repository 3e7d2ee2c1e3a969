// Every stored run of a head that learns to retrieve: its accuracy, look by look, and where it ends.
import { chart, choice, explore, h, line } from "./parts.js";

const ARMS = ["scaled", "1/d_k", "raw"], FACTORS = ["1/√dₖ", "1/dₖ", "none"], COLOURS = ["blue", "green", "orange"];
const WITH = ["With 1/√dₖ", "With 1/dₖ", "Without a factor"];
const OPTIMIZERS = ["sgd", "adam"], NAMES = ["SGD", "Adam"];
const KEYS = ["dk", "task", "arm", "optimizer"];
const sorted = (values) => [...values].sort((a, b) => a - b);

// The runs, and what can be chosen. A task is a number of tokens and a number of steps.
export function read(get) {
  const codes = get("n").map((n, i) => 1e4 * n + get("steps")[i]), kinds = sorted(new Set(codes));
  const runs = get("correct").map((correct, i) => ({
    dk: get("d_k")[i],
    task: kinds.indexOf(codes[i]),
    arm: ARMS.indexOf(get("arm")[i]),
    optimizer: OPTIMIZERS.indexOf(get("optimizer")[i]),
    curve: correct.map((count) => count / get("samples")),
  }));
  const values = Object.fromEntries(KEYS.map((key) => [key, sorted(new Set(runs.map((run) => run[key])))]));
  return { runs, values, tasks: kinds.map((code) => [Math.floor(code / 1e4), code % 1e4]) };
}

export const group = (runs, at) => runs.filter((run) => KEYS.every((key) => run[key] === at[key]));

// The stored setting closest to the one asked for; it keeps what was chosen last.
export function closest({ runs, values }, asked, kept) {
  const away = (run, key) => Math.abs(values[key].indexOf(run[key]) - values[key].indexOf(asked[key]));
  const far = (run) => KEYS.reduce((sum, key) => sum + (key === kept ? 100 : 1) * away(run, key), 0);
  const best = runs.reduce((a, b) => (far(b) < far(a) ? b : a));
  return Object.fromEntries(KEYS.map((key) => [key, best[key]]));
}

// By which steps some runs have reached one half, and where they end, both in order.
export function summary(runs, length) {
  const looks = runs.map(({ curve }) => (length * curve.findIndex((share) => share >= 0.5)) / (curve.length - 1));
  return { count: runs.length, reached: sorted(looks.filter((step) => step > 0)), ends: sorted(runs.map(({ curve }) => curve.at(-1))) };
}

function halves({ count, reached }, verb) {
  const first = reached[0], last = reached.at(-1), some = reached.length;
  const who = some === 0 ? "none of" : some === count ? "all" : `${some} of`;
  const when = some === 0 ? "" : first === last ? `, by step ${first}` : `, the first by step ${first}, the last by step ${last}`;
  return `${who} ${count}${verb ? ` runs ${some > 1 ? "reach" : "reaches"} one half` : ""}${when}`;
}

export function sentence({ runs, tasks }, at) {
  const [n, length] = tasks[at.task], now = summary(group(runs, at), length), [low, ...more] = now.ends, high = more.at(-1);
  const other = at.arm === 0 ? 2 : 0, those = group(runs, { ...at, arm: other });
  return `${WITH[at.arm]}, width ${at.dk}, ${n} tokens, ${NAMES[at.optimizer]}: ${halves(now, true)}. `
    + `At the end they find ${low.toFixed(3)}${low < high ? ` to ${high.toFixed(3)}` : ""} of the targets; guessing finds ${(1 / n).toFixed(3)}.`
    + (those.length ? ` ${WITH[other]}: ${halves(summary(those, length))}.` : "");
}

function render({ model, el }) {
  const stored = read(model.get), { runs, tasks, values } = stored;
  let at, asked;
  const ask = (change, kept) => {
    asked = { ...at, ...change };
    move(closest(stored, asked, kept));
  };
  const controls = [["dk", "width dₖ", values.dk], ["arm", "factor", FACTORS], ["optimizer", "optimizer", NAMES],
    ["task", "tokens × steps", tasks.map((task) => task.join(" × "))]].map(([key, label, names]) => {
    const one = choice({ label, names, onmove: (i) => ask({ [key]: values[key][i] }, key) });
    const words = [...one.node.querySelectorAll("label")];
    return { node: one.node, set() {
      one.set(values[key].indexOf(at[key]));
      words.forEach((word, i) => word.classList.toggle("absent", !group(runs, { ...at, [key]: values[key][i] }).length));
    } };
  });
  const curves = chart("accuracy, step by step", "runs");
  const others = COLOURS.map((colour) => curves.path(`other ${colour}`)), own = curves.path("own"), tips = curves.path("dots own");
  curves.word("1", -1, -3, "left");
  curves.word("½", -1, 47, "left");
  curves.word("0", -1, 94, "left");
  curves.word("accuracy", 0, -12);
  curves.word("0 steps", 0, 102);
  const foot = curves.word("", 100, 102, "left");

  // Where the runs of a task end: a column for each width, factor and optimizer.
  const ends = chart("accuracy at the end", "ends");
  const cell = (run) => 12.5 * (4 * run.optimizer + values.dk.indexOf(run.dk) + 0.5) + 3.6 * (run.arm - 1);
  const column = ends.path("column"), dots = COLOURS.map((colour) => ends.path(`dots ${colour}`)), chosen = ends.path("dots own");
  NAMES.forEach((name, i) => {
    ends.word(name, 50 * i + 1, 44);
    values.dk.forEach((dk, j) => ends.word(String(dk), 12.5 * (4 * i + j + 0.5), 102, "middle"));
  });
  runs.forEach((run) => {
    const mates = group(runs, run), ys = run.curve.map((share) => 100 - 100 * share);
    run.path = line(ys.map((_, i) => (100 * i) / (ys.length - 1)), ys);
    run.tip = `M100 ${ys.at(-1)}h0`;
    run.dot = `M${cell(run) + 0.4 * (mates.indexOf(run) - (mates.length - 1) / 2)} ${ys.at(-1)}h0`;
  });
  const put = (path, kind, list) => path.setAttribute("d", list.map((run) => run[kind]).join(""));
  const pick = (event) => {
    if (!event.buttons) return;
    const box = ends.node.getBoundingClientRect(), x = (100 * (event.clientX - box.left)) / box.width;
    const [best] = runs.filter((run) => run.task === at.task).sort((a, b) => Math.abs(cell(a) - x) - Math.abs(cell(b) - x));
    if (!group([best], at).length) ask({ dk: best.dk, arm: best.arm, optimizer: best.optimizer }, "task");
  };
  ["pointerdown", "pointermove"].forEach((name) => ends.node.addEventListener(name, pick));

  const list = h("b");
  el.append(curves.node, h("p", {}, "where these runs end: ", list), ends.node, h("div", { class: "controls" }, ...controls.map(({ node }) => node)));
  const draw = (state) => {
    const wish = asked ?? state;
    asked = undefined;
    at = closest(stored, state);
    const length = tasks[at.task][1], here = group(runs, at), same = runs.filter((run) => tasks[run.task][1] === length);
    el.style.setProperty("--tint", `var(--${COLOURS[at.arm]})`);
    others.forEach((path, arm) => put(path, "path", same.filter((run) => run.arm === arm && !here.includes(run))));
    put(own, "path", here);
    put(tips, "tip", here);
    dots.forEach((path, arm) => put(path, "dot", runs.filter((run) => run.task === at.task && run.arm === arm)));
    put(chosen, "dot", here);
    column.setAttribute("d", `M${cell(at) - 1.8} 0h3.6v100h-3.6z`);
    foot.textContent = `${length} steps`;
    list.textContent = summary(here, length).ends.map((end) => end.toFixed(3)).join(" ");
    controls.forEach((control) => control.set());
    return (KEYS.some((key) => wish[key] !== at[key]) ? "That was not run; this is the closest. " : "") + sentence(stored, at);
  };
  const starts = { dk: 64, task: 1, arm: 2, optimizer: 1 };
  const move = explore({
    name: "runs", el, draw,
    numbers: Object.fromEntries(KEYS.map((key) => [key, { values: values[key], start: starts[key] }])),
  });
}

export default { render };

// The cells of a page, changed and run in place: live_button.html calls start() when it is pressed.
const here = (name) => new URL(name, import.meta.url);
const h = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};
let site, cells, main, status, progress, worker, running, giveUp, katex;
const say = (words) => { status.textContent = words; };
const seconds = (since) => ((performance.now() - since) / 1000).toFixed(1);

// --- what a cell shows, in the elements that the build makes of it ------------------------------

const block = (kind, text) => h("div", { class: `output ${kind}` }, h("div", { class: "highlight" }, h("pre", {}, text)));

function parsed(text) {
  const box = h("div", { class: "output text_html" });
  box.innerHTML = text;
  for (const link of box.querySelectorAll("a[href]"))
    link.setAttribute("href", link.getAttribute("href").replace(/\.(ipynb|md)#/, ".html#"));
  for (const script of box.querySelectorAll("script")) // as parsed it would not run
    script.replaceWith(h("script", { type: script.type }, script.text));
  return box;
}

// A figure takes the place of the stored one, and keeps its caption.
function html(cell, text) {
  const figure = cell.figures[cell.shown], box = parsed(text);
  if (!figure?.querySelector(".text_html")) return box;
  cell.shown += 1;
  const copy = figure.cloneNode(true);
  copy.querySelector(".text_html").replaceWith(box);
  return copy;
}

function picture(cell, url) {
  const stored = cell.figures[cell.shown++];
  const copy = stored?.cloneNode(true) ?? h("img", { alt: "" });
  const image = copy.querySelector("img") ?? copy;
  for (const name of ["width", "height", "loading"]) image.removeAttribute(name);
  if (!stored || cells.some((other) => other.edited)) image.alt = `Drawn by changed code. ${image.alt && `As stored: ${image.alt}`}`;
  image.src = url;
  return copy;
}

function svg(cell, text) {
  const themed = text.replace(new RegExp(`(fill|stroke): (${site.dark.join("|")})`, "g"), (_, what, color) => `${what}: var(--${color.slice(1)}, ${color})`)
    .replace(/<svg\b[^>]*>/, (tag) => tag + site.style);
  return picture(cell, URL.createObjectURL(new Blob([themed], { type: "image/svg+xml" })));
}

function formula(tex) {
  const box = h("div", { class: "output text_latex math notranslate nohighlight" });
  katex ??= import("./katex.min.js").then(() => document.head.prepend(h("link", { rel: "stylesheet", href: here("katex.min.css") })));
  katex.then(() => {
    self.katex.render(tex.replace(/^\$+|\$+$/g, ""), box, { displayMode: true, throwOnError: false });
    box.querySelector("annotation")?.remove(); // the TeX again
  });
  return box;
}

// What show_source() writes: links, and code, highlighted where the stored page has the same.
function markdown(cell, text) {
  const box = h("div");
  for (const [i, part] of text.split(/^```\w*\n/m).entries()) {
    const stored = cell.saved.find((node) => node.querySelector?.("pre")?.textContent === part);
    const words = h("p", {}, part.trim()).outerHTML.replace(/\[(.*?)\]\((.*?)\)/g, '<a href="$2">$1</a>');
    if (i % 2) box.append(stored?.cloneNode(true) ?? block("", part));
    else if (part.trim()) box.append(...parsed(words).childNodes);
  }
  return box;
}

const RICHEST_FIRST = {
  "text/html": html,
  "image/svg+xml": svg,
  "image/png": (cell, base64) => picture(cell, `data:image/png;base64,${base64}`),
  "text/latex": (cell, text) => formula(text),
  "text/markdown": markdown,
  traceback: (cell, text) => block("traceback", text),
  "text/plain": (cell, text) => block("text_plain", text),
};

function show(cell, { stream, text = "", data }) {
  if (!cell.output) return;
  if (cell.waiting) cell.output.replaceChildren();
  cell.waiting = false;
  for (const [kind, made] of Object.entries(RICHEST_FIRST))
    if (data?.[kind]) return cell.output.append(made(cell, data[kind]));
  let box = [...cell.output.children].find((child) => child.className === `output stream ${stream}`); // as nb_merge_streams
  if (box) box.querySelector("pre").append(text);
  else cell.output.append(box = block(`stream ${stream}`, text));
  const reply = /^([✓·]) \S+: (not )?right/m.exec(text)?.[1];
  if (reply) box.dataset.reply = reply;
}

// --- a cell's code and its keys -----------------------------------------------------------------

// The one way to change a field that the browser's undo remembers.
const type = (text) => document.execCommand(text ? "insertText" : "delete", false, text);

function indent(area, back) {
  const { value, selectionStart, selectionEnd } = area;
  if (!back && selectionStart === selectionEnd) return type("    ");
  const start = value.lastIndexOf("\n", selectionStart - 1) + 1, lines = value.slice(start, selectionEnd);
  area.setSelectionRange(start, selectionEnd);
  type(back ? lines.replace(/^ {1,4}/gm, "") : lines.replace(/^(?=.)/gm, "    "));
}

function newline(area) {
  const line = area.value.slice(0, area.selectionStart).split("\n").at(-1);
  type("\n" + line.match(/^ */)[0] + (line.endsWith(":") ? "    " : ""));
}

function press(event) {
  const cell = cells.find(({ area }) => area === event.target);
  if (!cell) return;
  event.stopImmediatePropagation(); // the theme has shortcuts
  const { key, shiftKey, ctrlKey, metaKey } = event;
  if (key === "Enter" && (shiftKey || ctrlKey || metaKey)) runTo(cell);
  else if (key === "Enter") newline(cell.area);
  else if (key === "Tab" && !ctrlKey && !metaKey) indent(cell.area, shiftKey);
  else if (key === "Escape") cell.button.focus();
  else return;
  event.preventDefault();
}

function edit(cell, code = cell.area.value) {
  cell.area.value = code;
  cell.area.rows = code.split("\n").length;
  cell.edited = code !== cell.source;
  cell.area.parentElement.classList.toggle("live-edited", cell.edited);
}

// A field lies over the highlighted code, and in its place once they differ.
function makeField(cell, number) {
  const code = cell.place.querySelector(".cell_input pre");
  if (!code) return;
  cell.area = h("textarea", { "aria-label": `Code of cell ${number}`, "aria-describedby": "live-words", spellcheck: "false", autocapitalize: "off", wrap: "off" });
  code.inert = true;
  code.after(cell.area);
  edit(cell, cell.source);
  cell.area.addEventListener("input", () => edit(cell));
  cell.area.addEventListener("scroll", () => { code.scrollLeft = cell.area.scrollLeft; });
  cell.button = h("button", { type: "button", "aria-label": `Run cell ${number}` }, "Run");
  cell.button.addEventListener("click", () => runTo(cell));
  cell.note = h("span", {}, cell.takes);
  const input = cell.place.querySelector("details:has(.cell_input), .cell_input");
  input.after(h("div", { class: "live-row" }, cell.button, cell.note));
}

function makeCell({ source, metadata }, place) {
  const takes = metadata.live_seconds;
  const cell = { source: [source].flat().join(""), place, takes: takes ? `about ${takes} s` : "" };
  if (!place) return cell;
  cell.output = place.querySelector(".cell_output") ?? h("div", { class: "cell_output docutils container" });
  if (!cell.output.parentElement) place.append(cell.output);
  cell.saved = [...cell.output.childNodes];
  cell.figures = cell.saved.filter((node) => node.matches?.("figure, img, :not(.text_html):has(img)"));
  return cell;
}

// --- running ------------------------------------------------------------------------------------

// Sends the worker a message and shows what comes back, until it is done.
function ask(message, cell) {
  return new Promise((resolve, reject) => {
    giveUp = (words) => reject(new Error(words));
    worker.onmessage = ({ data }) => {
      if (data.status) say(data.status);
      else if (data.failed) giveUp(data.failed);
      else if (data.done) resolve(data.success);
      else show(cell, data);
    };
    worker.onerror = () => giveUp("live_worker.js was not found: build the book again.");
    worker.postMessage(message);
  });
}

async function runCell(cell) {
  const since = performance.now(), fresh = !cells.some((other) => other.ran);
  Object.assign(cell, { waiting: true, shown: 0, ran: true });
  cell.place?.classList.add("live-running");
  try {
    cell.failed = !(await ask({ code: cell.area?.value ?? cell.source, fresh }, cell));
    if (cell.waiting) cell.output?.replaceChildren();
    if (cell.note) cell.note.textContent = `${seconds(since)} s`;
    for (const pre of cell.output?.querySelectorAll("pre") ?? []) pre.dispatchEvent(new Event("shown", { bubbles: true }));
  } finally { cell.place?.classList.remove("live-running"); }
}

// What is said of a cell: its error, or its reply to an exercise.
function result(cell) {
  const lines = cell.output?.textContent.trim().split("\n") ?? [];
  return cell.failed ? lines.at(-1) : lines.find((line) => /^[✓·] \S+: /.test(line)) ?? "done.";
}

async function run(wanted) {
  const since = performance.now();
  [running, main.textContent, progress.hidden, progress.max, progress.value] = [true, "Stop", false, wanted.length, 0];
  try {
    if (!worker) {
      worker = new Worker(here("live_worker.js"), { type: "module" });
      await ask({ site });
    }
    say("Running …");
    for (const cell of wanted) {
      await runCell(cell);
      progress.value += 1;
      if (cell.failed) break;
    }
    const last = wanted[progress.value - 1];
    if (last.failed || wanted.length === 1) say(`Cell ${cells.indexOf(last) + 1}: ${result(last)}`);
    else say(`${wanted.length} cells ran in ${seconds(since)} s.`);
  } catch (error) {
    worker.terminate();
    worker = null;
    forget();
    say(error.message);
  }
  [running, main.textContent, progress.hidden] = [false, "Run all", true];
}

const forget = () => cells.forEach((cell) => { cell.ran = false; }); // the next to run gets a fresh Python

// With the cells before it that this Python has not seen.
function runTo(cell) {
  if (!running) run(cells.filter((other, i) => other === cell || (!other.ran && i < cells.indexOf(cell))));
}

function runAll() {
  if (running) return giveUp("Stopped: what the cells had made is gone, and the next run begins anew.");
  forget();
  run(cells);
}

function reset() {
  if (cells.some((cell) => cell.edited) && !confirm("Undo all your changes to this page?")) return;
  const words = "The page is as it was stored.";
  if (running) giveUp(words);
  forget();
  for (const cell of cells) {
    if (cell.area) edit(cell, cell.source), cell.note.textContent = cell.takes;
    cell.output?.replaceChildren(...cell.saved);
  }
  say(words);
}

async function read(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} is missing: build the book again.`);
  return response.json();
}

export async function start(live, button, words) {
  main = button;
  status = h("p", { role: "status" });
  progress = h("progress", { "aria-label": "Cells run" });
  const back = h("button", { type: "button" }, "Reset");
  document.head.append(h("link", { rel: "stylesheet", href: here("live.css") }));
  live.append(back, status, progress);
  live.classList.add("live-started");
  live.after(words);
  words.textContent = "Change any code: Shift+Enter runs its cell, Tab indents, Escape leaves it.";
  let notebook;
  try { [site, notebook] = await Promise.all([read(here("live.json")), read(live.dataset.source)]); }
  catch (error) { return say(error.message); }
  const places = [...document.querySelectorAll(".bd-article div.cell")];
  const isShown = ({ metadata }) => !metadata.tags?.includes("remove-cell");
  cells = notebook.cells.filter((cell) => cell.cell_type === "code").map((cell) => makeCell(cell, isShown(cell) ? places.shift() : null));
  cells.forEach((cell, i) => cell.place && makeField(cell, i + 1));
  live.press = press;
  main.addEventListener("click", runAll);
  back.addEventListener("click", reset);
  runAll();
}

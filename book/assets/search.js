// The search page: sections that hold all the words, else any of them, the best first.
const field = document.querySelector(".bd-search-container input[name=q]");
const place = document.querySelector("#search-results");

// √ is found as sqrt, d_k and dₖ as dk, μ as mu; "square root" as both.
const plain = (text) => text
  .normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase()
  .replace(/[βμρσ]/g, (letter) => ({ "β": "beta", "μ": "mu", "ρ": "rho", "σ": "sigma" })[letter])
  .replace(/√\s*/g, " sqrt ").replace(/square root/g, "square root sqrt")
  .replace(/([a-z])_(?=[a-z0-9])/g, "$1");
// Chinese writes no spaces: there, any two neighbouring characters are a word.
const HAN = /\p{Script=Han}/u;
const pairs = (run) => (HAN.test(run) && run.length > 1 ? [...run].slice(1).map((c, i) => run[i] + c) : [run]);
const tokens = (text) => plain(text).split(/[^\p{L}\p{N}]+/u).filter(Boolean)
  .flatMap((word) => word.match(/\p{Script=Han}+|\P{Script=Han}+/gu).flatMap(pairs));

const index = new MiniSearch({
  idField: "url",
  fields: ["terms", "title", "page", "text"],
  storeFields: ["title", "page", "text"],
  tokenize: tokens,
  processTerm: (term) => term,
  searchOptions: {
    // The chapters explain; the tables and the list of functions are for looking up.
    boostDocument: (url) => (/(api|13-ledger|notation)\.html/.test(url) ? 0.4 : url.includes("#") ? 1 : 1.5),
    boost: { terms: 5, title: 5, page: 3 }, prefix: (term) => term.length > 2, fuzzy: (term) => term.length > 4 && 0.15 },
});
index.addAll(SECTIONS);

function found(query) {
  const all = index.search(query, { combineWith: "AND" });
  return all.length ? all : index.search(query);
}

// Some words around the first that was looked for, which are marked.
function snippet(text, terms) {
  const units = text.match(/\p{Script=Han}|[^\s\p{Script=Han}]+|\s+/gu) ?? [];
  const inPair = (i) => HAN.test(units[i]) && [i - 1, i].some((j) => terms.has(units[j] + units[j + 1]));
  const hits = units.map((unit, i) => inPair(i) || tokens(unit).some((token) => terms.has(token)));
  const start = Math.max(0, hits.indexOf(true) - 16), end = start + 64;
  const p = document.createElement("p");
  if (start) p.append("… ");
  for (let i = start; i < Math.min(end, units.length); i++) {
    const shown = document.createElement(hits[i] ? "mark" : "span");
    shown.textContent = units[i];
    p.append(shown);
  }
  if (end < units.length) p.append("…");
  return p;
}

function show(query) {
  const results = query.trim() ? found(query).slice(0, 30) : [];
  const status = document.createElement("p");
  status.setAttribute("role", "status");
  status.textContent = query.trim() ? `${results.length || "No"} section${results.length === 1 ? "" : "s"} with “${query}”` : "";
  const list = document.createElement("ol");
  list.className = "found";
  for (const { id, title, page, text, terms } of results) {
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = id;
    link.textContent = title === page ? title : `${title} · ${page}`;
    item.append(link, snippet(text, new Set(terms)));
    list.append(item);
  }
  place.replaceChildren(status, list);
}

field.value = new URLSearchParams(location.search).get("q") ?? "";
field.form.addEventListener("submit", (event) => event.preventDefault());
field.addEventListener("input", () => {
  show(field.value);
  history.replaceState(null, "", `?q=${encodeURIComponent(field.value)}`);
});
show(field.value);

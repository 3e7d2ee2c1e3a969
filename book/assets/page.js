// A link of a drawer leads to its place, and the drawer makes way.
for (const drawer of document.querySelectorAll("dialog")) {
  drawer.addEventListener("click", (event) => {
    if (event.target.closest("a[href]")) drawer.close();
  });
}

// What is too wide for its place can be scrolled with the keyboard, and what is not is no stop.
// All are measured before any is changed: else the page is laid out again for each.
const boxes = new ResizeObserver((entries) => {
  const wide = entries.map(({ target }) => target.scrollWidth > target.clientWidth);
  entries.forEach(({ target }, i) => {
    if (wide[i]) target.setAttribute("tabindex", "0");
    else target.removeAttribute("tabindex");
  });
});
for (const box of document.querySelectorAll(".katex-display, .bd-article pre, .bd-article .pst-scrollable-table-container")) boxes.observe(box);
addEventListener("shown", ({ target }) => boxes.observe(target)); // by a cell that ran

// Paper is white, and shows what is folded, too, but for code.
const root = document.documentElement.dataset;
addEventListener("beforeprint", () => {
  root.screen = root.theme;
  root.theme = "light";
  for (const fold of document.querySelectorAll("details:not([open], .hide)")) {
    fold.open = true;
    fold.dataset.printed = "";
  }
});
addEventListener("afterprint", () => {
  root.theme = root.screen;
  for (const fold of document.querySelectorAll("details[data-printed]")) {
    fold.open = false;
    delete fold.dataset.printed;
  }
});

// A figure whose script fails is the still one.
addEventListener("error", () => {
  for (const standIn of document.querySelectorAll(".explorable source")) standIn.remove();
});

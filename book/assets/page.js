// A link of a drawer leads to its place, and the drawer makes way.
for (const drawer of document.querySelectorAll("dialog")) {
  drawer.addEventListener("click", (event) => {
    if (event.target.closest("a[href]")) drawer.close();
  });
}

// What is too wide for its place can be scrolled with the keyboard, and what is not is no stop.
for (const box of document.querySelectorAll(".katex-display, .bd-article pre, .bd-article .pst-scrollable-table-container")) {
  const note = () => (box.scrollWidth > box.clientWidth ? box.setAttribute("tabindex", "0") : box.removeAttribute("tabindex"));
  new ResizeObserver(note).observe(box);
}

// Paper shows what is folded, too.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not([open])")) {
    fold.open = true;
    fold.dataset.printed = "";
  }
});
addEventListener("afterprint", () => {
  for (const fold of document.querySelectorAll("details[data-printed]")) {
    fold.open = false;
    delete fold.dataset.printed;
  }
});

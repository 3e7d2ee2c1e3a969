"""Formulas say the same in fewer elements: no letter, line or root may move by it."""

import re
import sys

import pytest
from bs4 import BeautifulSoup
from stored import BOOK, read, text
from working_tree import ROOT

sys.path.insert(0, str(ROOT / "extensions"))
from katex_math import KATEX, drawn
from thin_formulas import rules_of_formulas, thin_formulas

pytestmark = pytest.mark.needs_browser

TEX = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+?)\$", re.S)
# Where each letter, line and root of each formula stands, from its formula's left upper corner.
PLACES = r"""() => [...document.querySelectorAll("p")].map(p => {
  const { x, y, bottom } = p.getBoundingClientRect();
  const seen = document.createTreeWalker(p.querySelector(".katex-html"), NodeFilter.SHOW_ALL);
  const boxes = [];
  for (let node = seen.nextNode(); node; node = seen.nextNode()) {
    if (node.matches?.("svg, .frac-line")) boxes.push(node.getBoundingClientRect());
    else for (let i = 0; i < (node.nodeType === Node.TEXT_NODE ? node.length : 0); i++) {
      if (node.data[i] === "\u200b") continue;  // has no width
      const letter = new Range();
      letter.setStart(node, i);
      letter.setEnd(node, i + 1);
      boxes.push(letter.getBoundingClientRect());
    }
  }
  return [[bottom - y], ...boxes.map(box => [box.x - x, box.y - y, box.width, box.height])];
})"""


def formulas():
    """The TeX of each formula in the chapters, and whether it has a line of its own."""
    found = {}
    for path in sorted(BOOK.glob("*.ipynb")):
        for cell in read(path)["cells"]:
            if cell["cell_type"] == "markdown":
                for display, inline in TEX.findall(text(cell["source"])):
                    found[display or inline, bool(display)] = None
    return list(found)


def page_of(soup) -> str:
    sheet = (KATEX / "dist/katex.min.css").read_text(encoding="utf-8")
    sheet = sheet.replace(
        "url(fonts/", f"url({(KATEX / 'dist/fonts').as_uri()}/"
    )
    return f"<!doctype html><style>{sheet}{rules_of_formulas([soup])}</style>{soup}"


def test_no_letter_moves(browser, tmp_path):
    every = formulas()
    answers = [drawn(*formula) for formula in every]
    assert [a for a in answers if "error" in a] == []
    soup = BeautifulSoup(
        "".join(f"<p>{a['html']}</p>" for a in answers), "html.parser"
    )
    seen, sizes = [], []
    for thin in (False, True):
        if thin:
            thin_formulas([soup])
        path = tmp_path / f"{thin}.html"
        path.write_text(page_of(soup), encoding="utf-8")
        page = browser.new_page()
        page.goto(path.as_uri())
        page.evaluate("document.fonts.ready")
        seen.append(page.evaluate(PLACES))
        sizes.append(len(soup.select(".katex-html *")))
        page.close()
    moved = []
    for formula, before, after in zip(every, *seen, strict=True):
        pairs = zip(before, after, strict=True)
        if any(
            abs(a - b) > 0.1
            for pair in pairs
            for a, b in zip(*pair, strict=True)
        ):
            moved.append(formula[0])
    assert moved == []
    assert sizes[1] < sizes[0] / 2

"""Explorables for tests: as the book stores them, in pages of their own, and in a reader's hands."""

import base64
import json
import re
from contextlib import contextmanager
from html import unescape

from browser import serve
from stored import BOOK, output_texts, read

from attnlib.book import explorables

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>x</title>
<meta name="viewport" content="width=device-width">
<style>body {{ margin: 16px; font: 16px sans-serif; {style} }}</style>
<a href="#below">below</a>{body}<div style="height: 2000px"></div><h2 id="below">Below</h2>"""
DARK = "color: #ccd; background: #121212"

LISTEN = """(name) => {
  window.spoken = [];
  const status = document.querySelector(`explorable-${name}`).shadowRoot.querySelector("[role=status]");
  new MutationObserver(() => spoken.push(status.textContent)).observe(status, { childList: true });
}"""


def stored_explorables():
    """The chapter and the HTML of each."""
    for path in sorted(BOOK.glob("*.ipynb")):
        for cell in read(path)["cells"]:
            if cell["cell_type"] == "code":
                for html in output_texts(cell, "text/html"):
                    if 'class="explorable"' in html:
                        yield path.stem, html


def stored(name):
    """The HTML of the one with this name."""
    [html] = [
        html
        for _, html in stored_explorables()
        if f"<explorable-{name} " in html
    ]
    return html


def data(html):
    return json.loads(unescape(re.search("data='(.*?)'>", html)[1]))


def computed(page, name, body, argument=None):
    """What JavaScript returns of a module m and an argument."""
    text = base64.b64encode(explorables.script(name).encode()).decode()
    return page.evaluate(
        "async ([text, argument]) => {"
        "const m = await import('data:text/javascript;charset=utf-8;base64,' + text);"
        f"{body}}}",
        [text, argument],
    )


def write_pages(folder, body, lost, **more):
    """light, dark and broken, whose data lack a key; and more by name."""
    broken = body.replace(f'"{lost}":', '"lost":')
    assert broken != body
    pages = {"light": body, "dark": body, "broken": broken} | more
    for name, text in pages.items():
        page = PAGE.format(style=DARK if name == "dark" else "", body=text)
        (folder / f"{name}.html").write_text(page, encoding="utf-8")


@contextmanager
def site_of(name, folder, lost):
    """The pages of one, as the book stores it, on a local port."""
    code = f'<script type="module">{explorables.script(name)}</script>'
    write_pages(folder, stored(name) + code, lost)
    with serve(folder) as address:
        yield address


def rest(page):
    """Wait until it has spoken and written its address."""
    page.wait_for_timeout(900)


def listen(page, name):
    """From now on `spoken` holds what its status says."""
    page.evaluate(LISTEN, name)


def resting_address(page):
    """Its state, when it has come to rest without an error."""
    rest(page)
    assert page.problems == []
    return page.evaluate("location.hash")


def drag(page, element, start, end):
    """Press at a share of an element's width, go on to another, let go: nothing is said yet."""
    box = element.bounding_box()
    y = box["y"] + box["height"] / 2
    across = [start + (end - start) * step / 10 for step in range(11)]
    page.mouse.move(box["x"] + start * box["width"], y)
    page.mouse.down()
    for share in across:
        page.mouse.move(box["x"] + share * box["width"], y)
    page.mouse.up()
    assert page.evaluate("[spoken.length, location.hash]") == [0, ""]


def still_stands(visit, name):
    """Where no script runs, and where one fails, the still figure is seen."""
    page = visit(java_script_enabled=False)
    assert page.locator(f"explorable-{name} img").is_visible()
    page = visit(name="broken")
    assert len(page.problems) == 1
    assert page.locator(f"explorable-{name} img").is_visible()


def motions(page):
    """What would move by itself, within the elements' shadow roots, too."""
    return page.evaluate("""() => [...document.querySelectorAll("*")]
      .flatMap((e) => [e, ...e.shadowRoot?.querySelectorAll("*") ?? []])
      .filter((e) => {
        const { transitionDuration, animationName } = getComputedStyle(e);
        return transitionDuration !== "0s" || animationName !== "none";
      }).map((e) => `${e.tagName} ${e.className}`)""")

"""The built pages as a reader's browser shows them, wide and narrow, light and dark."""

import csv
import io
import re
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from browser import HTML
from oracles import script
from PIL import Image

from attnlib.book import ledger

ROOT = Path(__file__).parent.parent
SCREENSHOTS = ROOT / "_build" / "screenshots"
SIZES = ((1280, 900), (390, 844))

MOVED = {"book/which-d.html": "book/real-code.html"}
PAGES = sorted(
    {page.relative_to(HTML).as_posix() for page in HTML.glob("book/*.html")}
    - set(MOVED)
)
OTHER_PAGES = [
    "search.html",
    "genindex.html",
]  # made by Sphinx, with its own layout

# Source that should have become typeset mathematics, a link or a box.
RAW = re.compile(
    r"\$|\\[a-zA-Z]+|\\[()\[\]]|\{[a-z-]+(:[a-z-]+)?\}|^:::|```|:[a-z]+:`",
    re.M,
)

# Prepared in the page: what a person can read outside code, with what was typeset left out,
# folded boxes included. Attributes that are read out or shown as a hint count as text too.
VISIBLE_TEXT = """() => {
  const skip = "script, style, noscript, pre, code, kbd, .katex, svg";
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const lines = [document.title];
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    if (text && !walker.currentNode.parentElement.closest(skip)) lines.push(text);
  }
  for (const e of document.querySelectorAll("[alt], [title], [aria-label]"))
    for (const name of ["alt", "title", "aria-label"])
      if (e.hasAttribute(name) && !e.closest(".katex")) lines.push(e.getAttribute(name));
  return lines.join("\\n");
}"""

FORMULAS_NOT_DRAWN = """() => [...document.querySelectorAll(".math")]
  .filter(e => !e.querySelector(".katex-html") || e.querySelector(".katex-error"))
  .map(e => e.textContent)"""

# What sticks out of the page, if anything does.
TOO_WIDE = """() => {
  const page = document.scrollingElement;
  if (page.scrollWidth <= page.clientWidth) return [];
  return [...document.querySelectorAll("body *")]
    .filter(e => e.getBoundingClientRect().right > page.clientWidth + 1)
    .slice(0, 5).map(e => `${e.tagName} ${e.className}`);
}"""

pytestmark = pytest.mark.needs_browser


@contextmanager
def watched_page(browser, site, size=SIZES[0], scheme="light"):
    """A page that notes everything that goes wrong while it loads."""
    width, height = size
    page = browser.new_page(
        viewport={"width": width, "height": height}, color_scheme=scheme
    )
    page.problems = []
    note = page.problems.append
    page.on(
        "console",
        lambda m: (
            m.type in ("error", "warning") and note(f"{m.type}: {m.text}")
        ),
    )
    page.on("pageerror", lambda error: note(f"script error: {error}"))
    page.on("requestfailed", lambda request: note(f"failed: {request.url}"))
    page.on(
        "response",
        lambda r: r.status >= 400 and note(f"status {r.status}: {r.url}"),
    )
    page.on(
        "request",
        lambda r: (
            r.url.startswith((site, "data:", "blob:"))
            or note(f"other host: {r.url}")
        ),
    )
    yield page
    page.close()


def open_page(page, address):
    page.goto(address, wait_until="load")
    page.evaluate("document.fonts.ready")
    # What waits until it is near the screen is asked for now.
    page.locator("img[loading=lazy]").evaluate_all(
        "all => all.forEach(img => { img.loading = 'eager' })"
    )
    page.wait_for_load_state("networkidle")


def show(page, size, scheme):
    """Turn the window and the colours of an open page."""
    width, height = size
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(
        "scheme => document.documentElement.dataset.theme === scheme",
        arg=scheme,
    )


@pytest.mark.parametrize("name", PAGES or ["no book"])
def test_page(browser, site, name):
    with watched_page(browser, site) as page:
        open_page(page, f"{site}/{name}")
        text = page.evaluate(VISIBLE_TEXT)
        assert [
            line for line in text.splitlines() if RAW.search(line)
        ] == []
        assert page.evaluate(FORMULAS_NOT_DRAWN) == []
        assert (
            page.locator("article h1").count() == 1
        )  # a second one outside is for print
        titles = page.title().split(" — ")
        assert all(titles) and len(set(titles)) == len(titles)
        number = re.match(r"book/(\d\d)-", name)
        heading = page.locator("article h1").inner_text()
        assert re.findall(r"\d+(?=\. )", heading) == (
            [str(int(number[1]))] if number else []
        )
        assert images(page, "!img.alt.trim()") == []
        unsized = "img.closest('article') && !img.hasAttribute('height')"
        assert images(page, unsized) == []
        ids = page.locator("[id]").evaluate_all("all => all.map(e => e.id)")
        assert [name for name, n in Counter(ids).items() if n > 1] == []
        for size in SIZES:
            for scheme in ("light", "dark"):
                show(page, size, scheme)
                dark = "-dark" * (scheme == "dark")
                shot = f"{Path(name).stem}-{size[0]}{dark}.png"
                page.screenshot(path=SCREENSHOTS / shot, full_page=True)
                assert page.evaluate(TOO_WIDE) == []
        # What was asked for while the page was looked at has come by now.
        assert (
            images(page, "img.checkVisibility() && !img.naturalWidth") == []
        )
        assert page.problems == []


def images(page, condition):
    """The addresses of the page's images for which a JavaScript condition on img holds."""
    return page.locator("img").evaluate_all(
        f"all => all.filter(img => {condition}).map(img => img.src)"
    )


@pytest.mark.parametrize("name", OTHER_PAGES)
def test_other_page(browser, site, name):
    with watched_page(browser, site) as page:
        open_page(page, f"{site}/{name}")
        for size in SIZES:
            show(page, size, "dark")
            assert page.evaluate(TOO_WIDE) == []
        assert page.problems == []


CHAPTERS = [name for name in PAGES if re.match(r"book/(0\d|1[0-2])-", name)]


@pytest.mark.parametrize("name", CHAPTERS or ["no book"])
def test_first_picture_stands_within_two_screens(browser, site, name):
    with watched_page(browser, site) as page:
        open_page(page, f"{site}/{name}")
        boxes = [
            page.locator(f"article {what}").first.bounding_box()
            for what in ("h1", "p strong", "figure")
        ]
        places = [box["y"] for box in boxes]
        assert places == sorted(places) and places[-1] <= 1800
        head_map = page.locator('img[alt^="Map of one head"]')
        assert head_map.count() == (name < "book/08")
        if head_map.count():
            box = head_map.bounding_box()
            assert box["height"] <= 130
            assert places[0] < box["y"] < places[1]


def test_the_book_on_one_page_is_one_sheet(browser, site):
    with watched_page(browser, site) as page:
        open_page(page, f"{site}/book/summary.html")
        margin = dict.fromkeys(("top", "right", "bottom", "left"), "10mm")
        printed = page.pdf(format="A4", margin=margin)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1


def test_picture_in_the_readme_is_that_of_the_page(browser, site):
    """Fonts differ a little between machines."""
    picture = script("make_picture")
    stored = picture.PICTURE.read_bytes()
    assert len(stored) <= 60 * 1024
    name = picture.PICTURE.relative_to(ROOT).as_posix()
    assert f"]({name})" in (ROOT / "README.md").read_text(encoding="utf-8")
    then, now = (
        Image.open(io.BytesIO(shot)).convert("L")
        for shot in (stored, picture.photograph(browser, site))
    )
    assert np.allclose(then.size, now.size, rtol=0.05)
    then, now = (
        np.float64(image.resize((64, 64))) for image in (then, now)
    )
    difference = now - then
    assert np.sqrt(np.mean(difference**2)) < 5


def test_root_leads_to_the_book(browser, site):
    with watched_page(browser, site) as page:
        page.goto(f"{site}/", wait_until="load")
        page.wait_for_url(f"{site}/book/index.html")
        assert page.problems == []


@pytest.mark.parametrize("old, new", MOVED.items())
def test_old_address_leads_to_the_new_page(browser, site, old, new):
    with watched_page(browser, site) as page:
        # It leaves while it loads, which counts as a failed request.
        page.goto(f"{site}/{old}", wait_until="commit")
        page.wait_for_url(f"{site}/{new}")
        assert page.locator("article h1").count() == 1


def test_ledger_leads_to_its_evidence(browser, site):
    with watched_page(browser, site) as page:
        open_page(page, f"{site}/book/13-ledger.html")
        links = page.locator("table.ledger a").evaluate_all(
            "all => all.map(a => a.href)"
        )
        claims = set(
            page.locator("table.ledger tr[id]").evaluate_all(
                "all => all.map(row => row.id)"
            )
        )
        assert links and claims
        for chapter in sorted({link.partition("#")[0] for link in links}):
            page.goto(chapter, wait_until="load")
            ids = page.locator("[id]").evaluate_all(
                "all => all.map(e => e.id)"
            )
            wanted = {
                link.partition("#")[2]
                for link in links
                if link.startswith(chapter)
            }
            assert wanted <= set(ids)
            back = page.locator("p.evidence a").evaluate_all(
                "all => all.map(a => a.href)"
            )
            assert back
            assert {url.partition("#")[0] for url in back} == {
                f"{site}/book/13-ledger.html"
            }
            assert {url.partition("#")[2] for url in back} <= claims
        assert page.problems == []


def test_ledger_downloads_as_csv(browser, site):
    with watched_page(browser, site) as page:
        open_page(page, f"{site}/book/13-ledger.html")
        shown = [
            line.strip().replace("\N{NO-BREAK SPACE}", " ")
            for line in page.locator(
                "table.ledger li a"
            ).all_text_contents()
        ]
        with page.expect_download() as download:
            page.get_by_role(
                "link", name="Download the table as CSV"
            ).click()
        saved = Path(download.value.path()).read_bytes()
        assert download.value.suggested_filename == "ledger.csv"
        assert page.problems == []
    assert saved == ledger.Table(ROOT / "book").csv().encode("utf-8-sig")
    rows = list(
        csv.DictReader(io.StringIO(saved.decode("utf-8-sig"), newline=""))
    )
    assert len({row["claim"] for row in rows}) == 21
    assert [row["evidence"] for row in rows if row["evidence"]] == shown


@pytest.mark.parametrize(
    "name", ["book/index.html", "book/03-softmax.html"]
)
def test_focus_is_seen(browser, site, name):
    """Tab after Tab: what has the focus has an outline, in shadow roots, too."""
    with watched_page(browser, site) as page:
        page.goto(f"{site}/{name}", wait_until="load")
        page.wait_for_timeout(300)
        for _ in range(60):
            page.keyboard.press("Tab")
            unseen = page.evaluate("""() => {
              let e = document.activeElement;
              while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;
              // A slider's outline may be drawn around its row.
              const drawn = [e, e.parentElement].some((x) => {
                const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(x);
                return (outlineStyle !== "none" && parseFloat(outlineWidth) > 0) || boxShadow !== "none";
              });
              return drawn || e === document.body ? null : e.outerHTML.slice(0, 120);
            }""")
            assert unseen is None

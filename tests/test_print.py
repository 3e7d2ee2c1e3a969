"""The book on paper: its pages under print media, and as one PDF."""

import re
import sys
import unicodedata
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from PIL import Image
from working_tree import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from book_pages import parse, parts
from print_book import print_book
from write_epub import write_epub

pytestmark = pytest.mark.needs_browser

PAPER = {"width": 658, "height": 980}  # A4 without margins, in CSS pixels
PAGES = (
    "index 02-scores 06-scaling 11-trained-model 13-ledger real-code api"
).split()
PRINTED = ["06-scaling.html", "13-ledger.html", "notation.html"]
OPF, MATHML = (
    "{http://www.idpf.org/2007/opf}",
    "{http://www.w3.org/1998/Math/MathML}",
)
FOLDED = "details:not(.hide)"
# What would be cut: on paper nothing scrolls.
CUT = """width => [...document.querySelectorAll(".bd-article *")]
  .filter(e => e.checkVisibility() && !e.closest(".katex-mathml, .hide-tail"))
  .filter(e => e.getBoundingClientRect().right > width + 1
    || ((e.matches("pre") || getComputedStyle(e).overflowX !== "visible")
      && e.clientWidth && e.scrollWidth > e.clientWidth + 1))
  .slice(0, 5).map(e => `${e.tagName}.${e.className}: ${e.textContent.slice(0, 60)}`)"""
DARK = """() => [...document.querySelectorAll("html, body, body *")].filter(e => {
  const [r, g, b, a = 1] = getComputedStyle(e).backgroundColor.match(/[\\d.]+/g).map(Number);
  return a > 0.5 && r + g + b < 384 && e.checkVisibility();
}).map(e => `${e.tagName}.${e.className}`)"""
VISIBLE = """selector => [...document.querySelectorAll(selector)]
  .filter(e => e.checkVisibility()).map(e => e.className || e.tagName)"""
CHROME = (
    ".bd-sidebar, .bd-header-article, .prev-next-footer, .headerlink, button, "
    ".bd-footer, .bd-footer-content, details.hide:not([open])"
)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_on_paper(browser, site, name):
    """White, whole and without what only a screen can use, even when read in the dark."""
    page = browser.new_page(viewport=PAPER, color_scheme="dark")
    page.goto(f"{site}/book/{name}.html", wait_until="load")
    folded = page.locator(FOLDED).count()
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    assert page.evaluate(DARK) != []
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(DARK) == []
    assert page.evaluate(CUT, PAPER["width"]) == []
    assert page.evaluate(VISIBLE, CHROME) == []
    assert page.locator(f"{FOLDED}[open]").count() == folded
    assert (
        page.locator("h1").count() == 1 and page.locator("h1").is_visible()
    )
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.evaluate(paper) == dark != "rgb(255, 255, 255)"
    assert page.locator(f"{FOLDED}[open]").count() == 0
    page.close()


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Two chapters and the glossary as the whole book is printed: the PDF and the page it is of."""
    from pypdf import PdfReader

    pdf = tmp_path_factory.mktemp("pdf") / "part.pdf"
    print_book(pdf, [("A part", PRINTED)])
    return PdfReader(pdf), parse(
        pdf.with_suffix(".html").read_text("utf-8")
    )


def letters(text: str) -> str:
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", text))


def test_contents_name_the_right_pages(printed):
    pdf, book = printed
    texts = [letters(page.extract_text()) for page in pdf.pages]
    entries = book.select(".printed-contents a")
    assert len(entries) > 15
    for link in entries:
        title, number = (
            span.get_text() for span in link.select(":scope > span")
        )
        assert letters(title) in texts[int(number) - 1], (title, number)
    marks = [m for m in pdf.outline if not isinstance(m, list)]
    assert len(marks) == len(PRINTED)
    for mark in marks:
        page = pdf.get_destination_page_number(mark)
        assert letters(mark.title) in texts[page]


def test_pages_are_numbered_and_links_say_where_they_lead(printed):
    pdf, book = printed
    for number, page in enumerate(pdf.pages[1:], 2):
        assert str(number) in page.extract_text().split()
    places = {
        name.lstrip("/"): pdf.get_destination_page_number(where) + 1
        for name, where in pdf.named_destinations.items()
    }
    numbers = book.select("article [data-to]")
    assert len(numbers) > 10
    for element in numbers:
        assert element.get_text() == f" p. {places[element['data-to']]}"


def test_figures_that_move_stand_still_on_paper(printed):
    """Each is a picture of its own in the PDF, as wide and as high as its file."""
    pdf, book = printed
    files = [
        Path(unquote(urlsplit(image["src"]).path))
        for image in book.select(".explorable img")
    ]
    assert len(files) == 2
    sizes = [
        image.image.size for page in pdf.pages for image in page.images
    ]
    for file in files:
        assert Image.open(file).size in sizes


def test_print_is_typeset(printed):
    pdf, book = printed
    text = "\n".join(page.extract_text() for page in pdf.pages)
    assert not re.search(r"\\[a-z]{3,}|\$[^\s$]", text)
    assert "not answered yet" not in text and "Solution to Exercise" in text
    boxes = {tuple(map(round, page.mediabox[2:])) for page in pdf.pages}
    assert boxes <= {(595, 842), (594, 842), (595, 841), (596, 842)}  # A4


def test_epub(tmp_path):
    """Well-formed pages, whole formulas, and nothing that is not in the copy."""
    copy = tmp_path / "book.epub"
    write_epub(copy, list(parts()))
    with zipfile.ZipFile(copy) as book:
        assert book.namelist()[0] == "mimetype" and not book.testzip()
        files = {name: book.read(name) for name in book.namelist()}
    trees = {
        name: ElementTree.fromstring(content)
        for name, content in files.items()
        if name.endswith((".xhtml", ".opf", ".xml", ".svg"))
    }
    listed = {e.get("href") for e in trees["book.opf"].iter(f"{OPF}item")}
    assert listed | {
        "mimetype",
        "META-INF/container.xml",
        "book.opf",
    } == set(files)
    places = {}
    for name, tree in trees.items():
        ids = [e.get("id") for e in tree.iter() if e.get("id")]
        assert len(ids) == len(set(ids)), name
        places[name] = {"", *ids}
    asked, formulas = set(), 0
    for name in (name for name in files if name.endswith(".xhtml")):
        for element in trees[name].iter():
            target = element.get("src") or element.get("href") or ""
            if "://" not in target:
                file, _, place = target.partition("#")
                asked.add(file or name)
                assert place in places.get(file or name, {""}), target
        formulas += len(list(trees[name].iter(f"{MATHML}math")))
        for element in trees[name].iter(f"{MATHML}msub"):
            assert len(element) == 2
        text = parse(files[name].decode())
        for element in text.select("pre, code, math"):
            element.extract()
        assert not re.search(r"\\[a-z]{3,}|\$[^\s$]", text.get_text()), name
    assert asked <= set(files)
    assert {name for name in files if name.startswith("images/")} <= asked
    assert formulas > 1000
    figures = [
        files[name].decode() for name in files if name.endswith(".svg")
    ]
    assert figures
    for svg in figures:
        # matplotlib's own rule stays where the dark colours go.
        assert "stroke-linejoin:round" in svg
        assert "var(" not in svg and "prefers-color-scheme" not in svg

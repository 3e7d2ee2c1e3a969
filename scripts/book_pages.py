"""The built pages, for copies of the book that are read elsewhere: on paper, in an e-reader."""

import shutil
import sys
from copy import copy
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Tag

ROOT = Path(__file__).parent.parent
HTML = ROOT / "_build" / "html"
PLACE = "#read-run-launch > ul"  # of the first page, where copies are named
# What a page has for the screen alone; code that it folds away stays in the notebooks.
NOT_PRINTED = "a.headerlink, button, script, details.hide, .ledger-download, .toctree-wrapper"
UNANSWERED = "not answered yet"  # an exercise's stub, run as it stands


def read_yaml(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


def parse(text: str) -> BeautifulSoup:
    return BeautifulSoup(text, "html.parser")


def parts():
    """The book's order, as in its sidebar: (caption, names of pages) for each part."""
    index = parse((HTML / "book/index.html").read_text("utf-8"))
    yield None, ["index.html"]
    for caption in index.select(".bd-sidebar-primary p.caption"):
        links = caption.find_next_sibling("ul").select(":scope > li > a")
        yield caption.get_text(), [link["href"] for link in links]


def article_of(name: str) -> Tag:
    """A page's article without what needs a screen and a script; solutions come last."""
    article = parse((HTML / "book" / name).read_text("utf-8")).select_one(
        ".bd-article"
    )
    for use in article.select("use"):
        path = copy(article.select_one(use["href"]))
        del path["id"]
        use.replace_with(path)
    for element in article.select(NOT_PRINTED):
        element.extract()
    for output in article.select(".cell_output"):
        if UNANSWERED in output.get_text():
            output.extract()
    for element in article.select(".explorable"):
        element.name = "div"
        del element["data"]
    for picture in article.select("picture"):
        picture.replace_with(
            picture.img
        )  # without what stands for it where scripts run
    for element in article.select(".one-page"):
        del element["class"]  # a sheet of its own only where it is alone
    for element in article.select("details, summary"):
        element.name = {"details": "div", "summary": "p"}[element.name]
    for image in article.select("img"):
        del image["loading"], image["decoding"]
        image["src"] = (HTML / "book" / image["src"]).resolve().as_uri()
    move_solutions(article)
    return article


def move_solutions(article: Tag) -> None:
    """Put solutions at the chapter's end, with a link from each exercise."""
    boxes = article.select(".solution")
    if not boxes:
        return
    section = parse('<section id="solutions"><h2>Solutions</h2></section>')
    exercises = article.select(".exercise")
    for exercise, box in zip(exercises, boxes, strict=True):
        exercise.append(
            parse(
                f'<p><a class="to-solution" href="#{box["id"]}">Solution</a></p>'
            )
        )
        section.section.append(box.extract())
    article.section.append(section.section)


def keep(copy: Path) -> None:
    """Put a finished copy beside the pages, and name it on the first of them.

    So a book without copies has no link to one. A page that `make book` writes anew has no
    link until the copy is made anew, too.
    """
    index = HTML / "book/index.html"
    soup = parse(index.read_text("utf-8"))
    if not (ways := soup.select_one(PLACE)):
        sys.exit(
            f"{index.relative_to(ROOT)} has no {PLACE} to name {copy.name} in"
        )
    shutil.copyfile(copy, HTML / copy.name)
    for item in ways.select(f'li:has([href="../{copy.name}"])'):
        item.extract()
    size = copy.stat().st_size / 2**20
    kind = copy.suffix.removeprefix(".").upper().replace("EPUB", "ePub")
    item = (
        f'<li><p><strong>keep:</strong> <a href="../{copy.name}">the whole '
        f"book as {kind}</a> ({size:.1f} MB);</p></li>"
    )
    ways.insert(0, parse(item))
    index.write_text(str(soup), encoding="utf-8")

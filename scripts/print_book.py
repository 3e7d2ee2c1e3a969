"""Print the built book as one PDF: the pages in _build/html, put together, by Chromium.

Chromium does not know on which page a link's target will stand. So the book is printed until
the page numbers beside its links are those of the print before.
"""

import subprocess
import sys
from html import escape
from pathlib import Path

import pikepdf
from book_pages import HTML, ROOT, article_of, keep, parse, parts, read_yaml
from bs4 import BeautifulSoup, Tag

sys.path.insert(0, str(ROOT / "tests"))
from browser import FLAGS, installed

PRINTED = ROOT / "_build" / "pdf" / "attention.pdf"
STYLE = ROOT / "scripts" / "print_book.css"
UNNUMBERED = ("references.html", "api.html")  # in the order of names
FOR_PRINT = "--headless --allow-file-access-from-files --no-pdf-header-footer".split()


def place(name: str, target: str = "") -> str:
    """The id in the printed book of a place on a page."""
    stem = name.removesuffix(".html")
    return f"{stem}--{target}" if target else stem


def join_links(article: Tag, name: str, names: set[str]) -> Tag:
    """Links of a page as links of the printed book; other addresses as notes at its end."""
    notes = {}
    for link in article.select("a[href]"):
        page, _, target = link["href"].partition("#")
        page = page or name
        if page in names:
            link["href"] = "#" + place(page, target)
            far = page != name or "to-solution" in link.get("class", [])
            output = link.find_parent(class_="cell_output")
            prose = not output or output.select_one(".ledger")
            if far and prose and page not in UNNUMBERED:
                link.insert_after(number(link["href"]))
        elif ":" not in page:
            link.unwrap()  # a file of the site
            continue
        elif link.get_text().strip() not in link["href"]:
            note = notes.setdefault(link["href"], len(notes) + 1)
            link.insert_after(parse(f"<sup>{note}</sup>"))
    for element in article.select("[id]"):
        element["id"] = place(name, element["id"])
    article["id"] = place(name)
    if notes:
        items = "".join(f"<li>{escape(url)}</li>" for url in notes)
        article.append(
            parse(f'<h2>Addresses</h2><ol class="addresses">{items}</ol>')
        )
    return article


def number(href: str):
    """The place of a page number, filled in when it is known."""
    return parse(f'<span class="page" data-to="{href[1:]}"></span>')


def entry(heading, target: str) -> str:
    words = "".join(map(str, heading.contents))
    return f'<a href="#{target}"><span>{words}</span>{number("#" + target)}</a>'


def contents(chapters: list) -> str:
    """Parts, chapters and their sections."""
    lines = []
    for caption, articles in chapters:
        if caption:
            lines.append(f"<h3>{escape(caption)}</h3>")
        lines.append("<ol>")
        for article in articles:
            sections = "".join(
                f"<li>{entry(heading, heading.parent['id'])}</li>"
                for heading in article.select("section > h2")
            )
            title = entry(article.h1, article["id"])
            lines.append(f"<li>{title}<ol>{sections}</ol></li>")
        lines.append("</ol>")
    return f'<nav class="bd-article printed-contents"><h1>Contents</h1>{"".join(lines)}</nav>'


def title_page() -> str:
    config, citation = read_yaml("_config.yml"), read_yaml("CITATION.cff")
    licence = parse(config["html"]["extra_footer"]).get_text()
    return f"""<div class="title-page"><h1>{escape(config["title"])}</h1>
<p>{escape(config["author"])}</p>
<p class="abstract">{escape(citation["abstract"])}</p>
<div class="imprint"><p>{licence}</p>
<p>Printed from the book's pages. Code that they fold away is in the notebooks, figures that can be
moved stand still, and the solutions of a chapter's exercises are at its end. A small number after a
link is the page that it leads to.</p></div></div>"""


def put_together(order: list) -> BeautifulSoup:
    """The book, or a part of it, as one page."""
    names = {name for _, part in order for name in part}
    chapters = [
        (
            caption,
            [join_links(article_of(name), name, names) for name in part],
        )
        for caption, part in order
    ]
    body = "".join(
        str(article) for _, articles in chapters for article in articles
    )
    sheets = "".join(
        f'<link rel="stylesheet" href="{sheet.as_uri()}">'
        for sheet in (HTML / "_static/styles/book.css", STYLE)
    )
    return parse(
        f"""<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8">
<title>{escape(read_yaml("_config.yml")["title"])}</title>{sheets}</head>
<body>{title_page()}{contents(chapters)}{body}</body></html>"""
    )


def chromium() -> str:
    return installed() or sys.exit(
        "No Chromium was found: apt-get install chromium, then run make pdf again"
    )


def print_page(page: Path, pdf: Path) -> dict[str, int]:
    """Print a page; the numbers of the pages that its links lead to."""
    done = subprocess.run(
        [
            chromium(),
            *FLAGS,
            *FOR_PRINT,
            f"--print-to-pdf={pdf}",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode or not pdf.is_file():
        sys.exit(f"Chromium printed nothing: {done.stderr.strip()[-500:]}")
    with pikepdf.open(pdf) as printed:
        numbers = {
            p.objgen: number for number, p in enumerate(printed.pages, 1)
        }
        places = printed.Root.get("/Dests", {})
        return {
            name.lstrip("/"): numbers[where[0].objgen]
            for name, where in places.items()
        }


def fill_in(book, pages: dict[str, int]) -> None:
    """The page numbers beside the links; three digits where one is not known yet."""
    for element in book.select("[data-to]"):
        number = pages.get(element["data-to"], 100)
        listed = element.find_parent("nav")
        element.string = f"{number}" if listed else f" p. {number}"


def bookmarks(book) -> list:
    """The contents again, for the reader program's own list."""
    chapters = []
    for link in book.select(".printed-contents a"):
        words, number = (e.get_text() for e in link.select(":scope > span"))
        item = pikepdf.OutlineItem(words, int(number) - 1)
        is_section = link.find_parent("ol").find_parent("ol")
        (chapters[-1].children if is_section else chapters).append(item)
    return chapters


def print_book(pdf: Path, order: list) -> None:
    pdf.parent.mkdir(parents=True, exist_ok=True)
    page, book = pdf.with_suffix(".html"), put_together(order)
    pages = {}
    for _ in range(6):
        fill_in(book, pages)
        page.write_text(str(book), encoding="utf-8")
        before, pages = pages, print_page(page, pdf)
        if pages == before:
            break
    else:
        sys.exit("The page numbers beside links did not settle")
    with pikepdf.open(pdf, allow_overwriting_input=True) as printed:
        with printed.open_metadata() as about:
            about["dc:title"] = book.title.get_text()
            about["dc:creator"] = [read_yaml("_config.yml")["author"]]
        with printed.open_outline() as outline:
            outline.root.extend(bookmarks(book))
        # Chromium writes the structure that screen readers use uncompressed: half of the file.
        printed.save(
            pdf, object_stream_mode=pikepdf.ObjectStreamMode.generate
        )


if __name__ == "__main__":
    print_book(PRINTED, list(parts()))
    keep(PRINTED)
    print(f"The book is in {PRINTED.relative_to(ROOT)}")

"""Write the built book as one ePub: the pages in _build/html as XHTML, with a style sheet of its own.

Formulas are MathML, which e-readers that know ePub 3 typeset; figures keep their light colours.
"""

import re
import uuid
import zipfile
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from urllib.parse import unquote, urlsplit

from book_pages import ROOT, article_of, keep, parse, parts, read_yaml
from bs4 import Tag

WRITTEN = ROOT / "_build" / "epub" / "attention.epub"
STYLE = ROOT / "scripts" / "epub.css"
TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
CONTAINER = """<?xml version="1.0" encoding="utf-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles>
</container>
"""
PAGE = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" lang="en" xml:lang="en">
<head><title>{title}</title><link rel="stylesheet" href="epub.css"/></head>
<body>{body}</body>
</html>
"""
PACKAGE = """<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id" xml:lang="en">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">urn:uuid:{identifier}</dc:identifier>
<dc:title>{title}</dc:title>
<dc:creator>{author}</dc:creator>
<dc:description>{abstract}</dc:description>
<dc:rights>{licence}</dc:rights>
<dc:language>en</dc:language>
<meta property="dcterms:modified">{now:%Y-%m-%dT%H:%M:%SZ}</meta>
</metadata>
<manifest>
<item id="style" href="epub.css" media-type="text/css"/>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
{items}
</manifest>
<spine><itemref idref="f-title.xhtml"/><itemref idref="nav"/>{spine}</spine>
</package>
"""


def use_mathml(article: Tag) -> None:
    """One drawing of each formula, by the e-reader, in place of KaTeX's two."""
    for formula in article.select(".katex"):
        math = formula.select_one("math")
        if formula.find_parent(class_="katex-display"):
            math["display"] = "block"
        formula.replace_with(math.extract())
    for math in article.select("math"):
        math["xmlns"] = "http://www.w3.org/1998/Math/MathML"
    for table in article.select('[columnspacing=""]'):
        del table["columnspacing"]


def plain(article: Tag) -> None:
    """What is no XHTML, or means nothing to an e-reader's style sheet."""
    for element in article.select("svg, link, style"):
        element.extract()
    for span in article.select("pre span"):
        span.unwrap()
    for element in article.select("[role]"):
        del element["role"]


def link_pages(article: Tag, names: set[str]) -> None:
    """Links of pages as links of the copy; files of the site are left out."""
    for link in article.select("a[href]"):
        page, _, target = link["href"].partition("#")
        if page in names:
            link["href"] = link["href"].replace(".html", ".xhtml", 1)
        elif page and ":" not in page:
            link.unwrap()


def pictures(article: Tag) -> dict[str, Path]:
    """The article's figures, by the names that they have in the copy."""
    found = {}
    for image in article.select("img"):
        path = Path(unquote(urlsplit(image["src"]).path))
        image["src"] = f"images/{path.name}"
        found[image["src"]] = path
    return found


def light(svg: str) -> str:
    """A figure without a second set of colours: not every e-reader knows variables."""
    svg = re.sub(r"<style>@media.*?</style>", "", svg, count=1, flags=re.S)
    return re.sub(r"var\(--\w+, (#\w+)\)", r"\1", svg)


def page_of(title: str, body: str) -> str:
    return PAGE.format(title=escape(title), body=body)


def title_page(config: dict, citation: dict) -> str:
    return f"""<h1>{escape(config["title"])}</h1>
<p>{escape(config["author"])}</p>
<p>{escape(citation["abstract"])}</p>
<p>{licence(config)}</p>
<p>Code that the book's pages fold away is in the notebooks, figures that can be moved stand still,
and the solutions of a chapter's exercises are at its end.</p>"""


def licence(config: dict) -> str:
    return escape(parse(config["html"]["extra_footer"]).get_text())


def item(name: str, is_page: bool, has_math: bool) -> str:
    kind = "application/xhtml+xml" if is_page else TYPES[Path(name).suffix]
    note = ' properties="mathml"' if has_math else ""
    return f'<item id="{identity(name)}" href="{name}" media-type="{kind}"{note}/>'


def identity(name: str) -> str:
    """A file's name as an XML identifier."""
    return "f-" + name.replace("/", "-")


def articles_of(order: list) -> dict[str, Tag]:
    """The book's pages as e-readers show them, by their names in the copy."""
    names = {name for _, part in order for name in part}
    found = {}
    for name in (name for _, part in order for name in part):
        article = article_of(name)
        use_mathml(article)
        plain(article)
        link_pages(article, names)
        found[name.replace(".html", ".xhtml")] = article
    return found


def contents(order: list, titles: dict[str, str]) -> str:
    lines = []
    for caption, part in order:
        pages = [name.replace(".html", ".xhtml") for name in part]
        listed = "".join(
            f'<li><a href="{page}">{escape(titles[page])}</a></li>'
            for page in pages
        )
        if caption:
            listed = (
                f"<li><span>{escape(caption)}</span><ol>{listed}</ol></li>"
            )
        lines.append(listed)
    return f'<nav epub:type="toc"><h1>Contents</h1><ol>{"".join(lines)}</ol></nav>'


def write_epub(copy: Path, order: list) -> None:
    config, citation = read_yaml("_config.yml"), read_yaml("CITATION.cff")
    articles = articles_of(order)
    images = {}
    for article in articles.values():
        images |= pictures(article)
    titles = {page: a.h1.get_text() for page, a in articles.items()}
    title = config["title"]
    pages = {"title.xhtml": page_of(title, title_page(config, citation))}
    pages |= {
        page: page_of(titles[page], str(a)) for page, a in articles.items()
    }
    package = PACKAGE.format(
        identifier=uuid.uuid5(uuid.NAMESPACE_URL, title),
        title=escape(title),
        author=escape(config["author"]),
        abstract=escape(citation["abstract"]),
        licence=licence(config),
        now=datetime.now(UTC),
        items="\n".join(
            [
                item(name, True, "<math" in page)
                for name, page in pages.items()
            ]
            + [item(name, False, False) for name in images]
        ),
        spine="".join(
            f'<itemref idref="{identity(page)}"/>' for page in articles
        ),
    )
    copy.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED) as out:
        # The standard wants this one first, and as it is.
        out.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        out.writestr("META-INF/container.xml", CONTAINER)
        out.writestr("book.opf", package)
        out.writestr("epub.css", STYLE.read_text("utf-8"))
        out.writestr(
            "nav.xhtml", page_of("Contents", contents(order, titles))
        )
        for name, page in pages.items():
            out.writestr(name, page)
        for name, path in images.items():
            is_svg = path.suffix == ".svg"
            out.writestr(
                name,
                light(path.read_text("utf-8"))
                if is_svg
                else path.read_bytes(),
            )


if __name__ == "__main__":
    write_epub(WRITTEN, list(parts()))
    keep(WRITTEN)
    print(f"The book is in {WRITTEN.relative_to(ROOT)}")

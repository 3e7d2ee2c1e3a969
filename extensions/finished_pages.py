"""The finished pages: which of them this build wrote, and each parsed once for all passes.

light_pages writes them when all the passes are through. A build that was broken off before
that leaves no mark, and the next one mends every page.
"""

from functools import cache
from pathlib import Path

from bs4 import BeautifulSoup

written = set()
broken_off = False  # whether the build before this one was


@cache
def soup_of(page: Path) -> BeautifulSoup:
    """A page as the passes before have left it."""
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def pages_to_mend(app) -> set[str]:
    """The names of the pages, without suffix, that this build wrote."""
    pages = {*app.env.found_docs, "search", "genindex"}
    return pages if broken_off else pages & written


def mark(app) -> Path:
    return Path(app.doctreedir, "pages-are-mended")


def begin(app):
    global broken_off
    broken_off = not mark(app).exists()
    mark(app).unlink(missing_ok=True)


def note_page(app, name, template, context, doctree):
    written.add(name)


def end(app, exception):
    if not exception:
        mark(app).touch()


def setup(app):
    app.connect("builder-inited", begin)
    app.connect("html-page-context", note_page)
    app.connect("build-finished", end, priority=999)
    return {"parallel_read_safe": True, "parallel_write_safe": False}

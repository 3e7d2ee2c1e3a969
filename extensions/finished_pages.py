"""The finished pages, each parsed once for all the passes that mend them: light_pages writes them."""

from functools import cache
from pathlib import Path

from bs4 import BeautifulSoup


@cache
def soup_of(page: Path) -> BeautifulSoup:
    """A page as the passes before have left it."""
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")

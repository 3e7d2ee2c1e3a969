"""Photograph the first page's picture for the README, in the tests' browser.

    python scripts/make_picture.py

Needs the built book (make book), Playwright and Chromium (make check).
"""

import io
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "book/first-page.png"
sys.path.insert(0, str(ROOT / "tests"))


def photograph(browser, site: str) -> bytes:
    """The picture that can be moved, with nothing moved yet."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{site}/book/index.html", wait_until="networkidle")
    page.wait_for_timeout(300)
    shot = page.locator("article .explorable").first.screenshot()
    page.close()
    return shot


def main():
    from browser import HTML, chromium, serve

    if not (HTML / "book/index.html").exists():
        sys.exit(
            "There is no built book to photograph: run make book first."
        )
    with serve(HTML) as site, chromium() as browser:
        shot = Image.open(io.BytesIO(photograph(browser, site)))
    # Few colours are in it, and the file is a third of what it was.
    shot.convert("RGB").quantize(64).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()

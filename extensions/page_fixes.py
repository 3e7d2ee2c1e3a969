"""What no setting of the theme mends is mended on the finished pages.

Each fix says what it looks for. One that finds nothing in the whole book stops the build:
then the theme has changed, and the fix is wrong or no longer needed.
"""

from html import escape
from pathlib import Path

from bs4 import BeautifulSoup
from sphinx.errors import ExtensionError

ROOT_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="data:,">
<meta http-equiv="refresh" content="0; url={page}">
</head>
<body><p><a href="{page}">{title}</a></p></body>
</html>
"""


def name_search_button_by_its_text(button):
    del button["aria-label"]


def leave_name_to_theme_switch(icon):
    # Its button says "Color mode"; the icon's own title would contradict that.
    del icon["title"]


def put_logo_in_a_landmark(logo):
    logo.parent["role"] = "navigation"
    logo.parent["aria-label"] = "Home"


def make_reference_a_list_item(citation):
    citation["role"] = "listitem"


def link_page_instead_of_notebook(link):
    # In JupyterLab the ledger links to notebooks, in the book to their pages.
    link["href"] = link["href"].replace(".ipynb#", ".html#")


FIXES = {
    "button.search-button-field": name_search_button_by_its_text,
    "button.theme-switch-button i": leave_name_to_theme_switch,
    "a.navbar-brand": put_logo_in_a_landmark,
    "div.citation": make_reference_a_list_item,
    "table.ledger a[href]": link_page_instead_of_notebook,
}


def fix_pages(app, exception):
    if exception or app.builder.name != "html":
        return
    out = Path(app.outdir)
    unused = set(FIXES)
    for name in app.env.found_docs:
        page = out / f"{name}.html"
        before = page.read_text(encoding="utf-8")
        soup = BeautifulSoup(before, "html.parser")
        for selector, fix in FIXES.items():
            for element in soup.select(selector):
                fix(element)
                unused.discard(selector)
        if (after := str(soup)) != before:
            page.write_text(after, encoding="utf-8")
    if unused:
        raise ExtensionError(f"page_fixes: no page has {', '.join(sorted(unused))}")

    # The redirect that stands at the root by default has no title, and asks for a missing icon.
    (out / "index.html").write_text(
        ROOT_PAGE.format(
            title=escape(app.config.html_title),
            page=f"{app.config.root_doc}.html",
        ),
        encoding="utf-8",
    )


def setup(app):
    app.connect("build-finished", fix_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""What no setting of Sphinx or its theme mends, above all on the finished pages.

Each fix of the pages says what it looks for. One that finds nothing in the whole book stops
the build: then the theme has changed, and the fix is wrong or no longer needed. A page that was
mended before and not written again is found again.
"""

import re
from hashlib import sha256
from html import escape
from pathlib import Path
from textwrap import shorten

from bs4 import BeautifulSoup
from finished_pages import pages_to_mend, soup_of
from repository import repository_address
from sphinx.errors import ExtensionError

ROOT_PAGE = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="data:,">
<meta http-equiv="refresh" content="0; url={page}">
</head>
<body><p><a href="{page}">{title}</a></p></body>
</html>
"""

# A server shows this one for every address that it does not know, however deep.
NOT_FOUND = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>No such page: {title}</title>
<link rel="icon" href="data:,">
</head>
<body>
<h1>There is no such page</h1>
<p><a href="{base}{page}">{title}</a> begins here; <a href="{base}search.html">search it</a>.</p>
</body>
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


def link_page_instead_of_file(link):
    # What a cell shows links to files: JupyterLab opens them, and Sphinx leaves such links alone.
    link["href"] = re.sub(r"\.(ipynb|md)#", ".html#", link["href"])


def name_link_by_its_symbol(link):
    # A drawn formula is no text, so a link that holds nothing else would have no name.
    link["aria-label"] = f"{link.math.text.strip()}, in the notation"


def link_claim_to_its_row(line):
    # "✓ A09 · …" in a chapter: the claim's name leads to the ledger, which leads back.
    before, name, after = re.split(r"(A\d\d)", line.get_text(), maxsplit=1)
    link = BeautifulSoup("", "html.parser").new_tag(
        "a", href=f"13-ledger.html#{name}"
    )
    link.string = name
    line.clear()
    line.extend([before, link, after])


def say_title_once(title):
    # The first page has the book's title.
    title.string = " — ".join(dict.fromkeys(title.text.split(" — ")))


def drop_id(element):
    # Of every exercise, solution and theorem on the page, where one may have it.
    del element["id"]


def fold_with_details(box):
    # A box that folds without a script; its title opens it, and leads nowhere else.
    title = box.select_one(":scope > .admonition-title")
    box.name, title.name = "details", "summary"
    for link in title.select("a"):
        link.unwrap()


def drop_with_details(menu):
    button = menu.select_one(":scope > :is(button, summary)")
    menu.name, button.name = "details", "summary"
    name = button["aria-label"]
    button.attrs = {
        "class": button["class"],
        "aria-label": name,
        "title": name,
    }


def leave_hint_to_browser(element):
    del element["data-bs-toggle"]


def name_fold_by_its_text(summary):
    del summary["aria-label"]


def stay_in_this_window(link):
    del link["target"]
    link["lang"] = link["hreflang"] = "en" if link.text.isascii() else "zh"


def drop(element):
    element.extract()


FIXES = {
    "#jb-print-docs-body": drop,  # for paper: a second title, and sections without page numbers
    # KaTeX writes "apply function" after an index such as max: one child too many.
    ":is(msub, msup, msubsup) > mo:-soup-contains('\u2061')": drop,
    'a.internal[href*="#symbol-"]': name_link_by_its_symbol,
    "details.hide > summary": name_fold_by_its_text,
    ":is(div, details).dropdown:has(> .dropdown-menu)": drop_with_details,
    "[data-bs-placement]": leave_hint_to_browser,
    ":is(div, details).admonition.dropdown": fold_with_details,
    "button.search-button-field": name_search_button_by_its_text,
    "button.theme-switch-button i": leave_name_to_theme_switch,
    "a.btn-language": stay_in_this_window,
    "a.navbar-brand": put_logo_in_a_landmark,
    "div.citation": make_reference_a_list_item,
    "head > title": say_title_once,
    "section[id$=-content]": drop_id,
    "p.evidence": link_claim_to_its_row,
    "table.ledger a[href]": link_page_instead_of_file,
    'div.cell_output a[href*="#attnlib."]': link_page_instead_of_file,
}


def describe(soup):
    """What a search engine and a shared link show of the page: its first words."""
    if soup.select_one('meta[name="description"]'):
        return
    title = soup.title.text.partition(" — ")[0]
    # The plain text of a formula is in its MathML; the drawing would say it again.
    words = []
    for paragraph in soup.select(".bd-article section > p")[:3]:
        copy = BeautifulSoup(str(paragraph), "html.parser")
        for drawing in copy.select(".katex-html"):
            drawing.extract()
        for root in copy.select("msqrt"):
            root.insert(0, "√")
        words += copy.text.split()
    text = shorten(" ".join(words), 160, placeholder=" …") or title
    for key, name, content in (
        ("name", "description", text),
        ("property", "og:type", "article"),
        ("property", "og:title", title),
        ("property", "og:description", text),
    ):
        soup.head.append(
            soup.new_tag("meta", attrs={key: name, "content": content})
        )


def fix_pages(app, exception):
    if exception or app.builder.name != "html":
        return
    out = Path(app.outdir)
    unused, fresh = set(FIXES), True
    names = pages_to_mend(app)
    for name in names:
        soup = soup_of(out / f"{name}.html")
        # A build of what has changed finds the other pages mended.
        fresh &= not soup.select_one('meta[property="og:title"]')
        for selector, fix in FIXES.items():
            for element in soup.select(selector):
                fix(element)
                unused.discard(selector)
        describe(soup)
    if unused and fresh and names >= app.env.found_docs:
        raise ExtensionError(
            f"page_fixes: no page has {', '.join(sorted(unused))}"
        )

    address = repository_address(Path(app.srcdir))
    (out / "404.html").write_text(
        NOT_FOUND.format(
            title=escape(app.config.html_title),
            page=f"{app.config.root_doc}.html",
            base=f"/{address.rpartition('/')[2]}/" if address else "/",
        ),
        encoding="utf-8",
    )
    # The redirect that stands at the root by default has no title, and asks for a missing icon.
    (out / "index.html").write_text(
        ROOT_PAGE.format(
            title=escape(app.config.html_title),
            page=f"{app.config.root_doc}.html",
            language=app.config.language.replace("_", "-"),
        ),
        encoding="utf-8",
    )


def notice_changed_assets(app, config):
    # Sphinx copies style sheets only when it has a page to write: a changed value of this
    # setting makes it write all of them, each with the new address of the sheet.
    digest = sha256()
    for folder in config.html_static_path:
        for path in sorted(Path(app.srcdir, folder).rglob("*")):
            if path.is_file():
                digest.update(path.read_bytes())
    config.page_fixes_assets = digest.hexdigest()


def setup(app):
    app.add_config_value("page_fixes_assets", "", "html")
    app.connect("config-inited", notice_changed_assets)
    app.connect("build-finished", fix_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

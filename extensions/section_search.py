"""Search that answers: every section of the book, found by what a reader would type.

The sections go into one script, so that searching works from a copy on disk, too; the
words are looked up by MiniSearch (npm) in the reader's browser, with book/assets/search.js.
Sphinx's own scripts for it are left out by light_pages, as on every page.
"""

import json
import re
import shutil
from pathlib import Path

import yaml
from docutils import nodes
from finished_pages import pages_to_mend, soup_of
from sphinx.errors import ExtensionError
from translation import is_chinese, words

ROOT = Path(__file__).parent.parent
MINISEARCH = ROOT / "node_modules/minisearch/dist/umd/index.js"
SCRIPTS = ("minisearch.js", "search-sections.js", "search.js")

# TeX as a reader would type or read it.
READABLE = (
    (r"\\sqrt\{([^{}]*)\}|\\sqrt (\w)", r"√\1\2"),
    (r"\\(?:mathrm|mathbf|text|operatorname|mathbb)\{([^{}]*)\}", r"\1"),
    (r"\\(?:left|right|,|;|!|quad)(?![a-z])", " "),
    (r"\\([a-zA-Z]+)", r"\1"),
    (r"[{}$]|_(?=\w)", ""),
)


def readable(tex: str) -> str:
    for pattern, replacement in READABLE:
        tex = re.sub(pattern, replacement, tex)
    return tex


def words_of(node: nodes.Node) -> str:
    """The prose of a node: no code, no output, nothing of the sections inside it."""
    if isinstance(node, nodes.math):
        return readable(node.astext())
    if isinstance(node, nodes.Text):
        return node.astext()
    if isinstance(
        node,
        nodes.math_block
        | nodes.literal_block
        | nodes.comment
        | nodes.raw
        | nodes.section
        | nodes.target,
    ):
        return ""
    if isinstance(node, nodes.Element) and {
        "cell_output",
        "cell_input",
    } & set(node.get("classes", [])):
        # A figure's caption is prose all the same.
        return " ".join(
            words_of(caption) for caption in node.findall(nodes.caption)
        )
    inline = isinstance(node, nodes.TextElement)
    return ("" if inline else " ").join(
        words_of(child) for child in node.children
    )


def name_of(app, document: str) -> str:
    """A page's title, with its number if it is a chapter."""
    title = app.env.titles[document]
    number = "".join(f"{n}. " for n in title.get("secnumber", ()))
    return number + " ".join(words_of(title).split())


def own(section: nodes.section, kind: type):
    """The nodes of a kind in a section that are not in a section inside it."""
    for child in section.children:
        if not isinstance(child, nodes.section):
            yield from child.findall(kind)


def sections_of(app, name: str):
    """Every section of a page as {page, title, text, url}."""
    doctree = app.env.get_doctree(name)
    page = name_of(app, name)
    for section in doctree.findall(nodes.section):
        title = next(
            (c for c in section if isinstance(c, nodes.title)), None
        )
        if title is None:
            continue
        is_top = section.parent is doctree
        url = app.builder.get_target_uri(name) + (
            "" if is_top else f"#{section['ids'][0]}"
        )
        text = " ".join(
            words_of(child)
            for child in section.children
            if child is not title
        )
        yield {
            "terms": " ".join(
                words_of(term) for term in own(section, nodes.strong)
            ),
            "page": page,
            "title": page if is_top else " ".join(words_of(title).split()),
            "text": " ".join(text.split()),
            "url": url,
        }


def claims(app):
    """The ledger's claims, each with its place in the table."""
    chinese = words() if is_chinese(app) else {}
    for claim in yaml.safe_load(
        (ROOT / "book/claims.yml").read_text(encoding="utf-8")
    ):
        step, verdict, truth = (
            chinese.get(claim[key], claim[key])
            for key in ("step", "verdict", "truth")
        )
        yield {
            "terms": "",
            "page": name_of(app, "book/13-ledger"),
            "title": f"{claim['id']}: {step}",
            "text": f"{verdict}. {truth}",
            "url": f"book/13-ledger.html#{claim['id']}",
        }


def write_search(app, exception):
    if exception or app.builder.name != "html" or not pages_to_mend(app):
        return
    out = Path(app.outdir)
    sections = [
        s
        for name in sorted(app.env.found_docs)
        for s in sections_of(app, name)
    ]
    sections += claims(app)
    ledger = (out / "book/13-ledger.html").read_text(encoding="utf-8")
    if 'id="A01"' not in ledger:
        raise ExtensionError("section_search: the ledger has no row A01")
    static = out / "_static"
    (static / "search-sections.js").write_text(
        f"const SECTIONS = {json.dumps(sections, ensure_ascii=False)};",
        encoding="utf-8",
    )
    shutil.copyfile(MINISEARCH, static / "minisearch.js")

    soup = soup_of(out / "search.html")
    if not soup.select_one("#search-results"):
        raise ExtensionError("section_search: search.html shows no results")
    if not soup.select_one('script[src^="_static/search.js"]'):
        for name in SCRIPTS:
            soup.head.append(
                soup.new_tag("script", src=f"_static/{name}", defer="")
            )


def skip_sphinx_index(app):
    app.builder.load_indexer = lambda names: None
    app.builder.index_page = lambda *page: None
    app.builder.dump_search_index = lambda: None


def setup(app):
    app.connect("builder-inited", skip_sphinx_index)
    app.connect("build-finished", write_search, priority=800)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

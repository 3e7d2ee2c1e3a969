"""The book in two languages: English at the root, Chinese under zh/, of the same notebooks.

Sphinx translates the prose, with the catalogues in locales/ (scripts/chinese.py). Here is what
it does not reach: texts beside pictures, what cells print for a reader, the words of scripts.
"""

import json
import re
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

from babel.messages.pofile import read_po
from bs4 import NavigableString
from docutils import nodes
from finished_pages import pages_to_mend, soup_of
from sphinx.util import logging

sys.path.append(str(Path(__file__).parent / "live"))
from printed import printed_lines

CHINESE = "zh_CN"
CATALOGUES = (
    Path(__file__).parent.parent / "locales" / CHINESE / "LC_MESSAGES"
)
ENGLISH = re.compile("[A-Za-z]{2}")
LABELS = ("alt", "aria-label", "title", "placeholder")

# The way to the other edition from the root of this one, its name, and what a click does.
TWIN = {
    "en": ("zh/", "中文", "本页的中文版"),
    CHINESE: ("../", "English", "This page in English"),
}
logger = logging.getLogger(__name__)


def is_words(message: str) -> bool:
    """Whether there is anything to translate: not only formulas, code and links."""
    bare = re.sub(r"\{[\w:]+\}`([^`<]*)<[^`]*>`", r"\1", message)
    bare = re.sub(
        r"\$[^$]*\$|\{[\w:]+\}`[^`]*`|`[^`]*`|\]\([^)]*\)", "", bare
    )
    return bool(ENGLISH.search(bare)) and not message.startswith(
        ("\n", "Reference: ")
    )


def messages(path: Path):
    """The translated messages of a catalogue."""
    with path.open("rb") as file:
        for message in read_po(file, CHINESE):
            if message.id and message.string and not message.fuzzy:
                yield message


def texts(path: Path) -> dict[str, str]:
    """The translated texts of a catalogue, by the English ones."""
    return {message.id: message.string for message in messages(path)}


@cache
def words() -> dict[str, str]:
    """Those of all catalogues but that of the scripts."""
    found = {}
    for path in sorted(CATALOGUES.rglob("*.po")):
        if path.stem != "scripts":
            found |= texts(path)
    return found


@cache
def phrases() -> dict[str, dict[str, str]]:
    """Of each script, the pieces that hold words, the longest first."""
    found = defaultdict(dict)
    for message in sorted(
        messages(CATALOGUES / "scripts.po"), key=lambda m: -len(m.id)
    ):
        for place, _ in message.locations:
            found[Path(place).name][message.id] = message.string
    return found


def in_chinese(script: str, source: str) -> str:
    """The source of a script, with Chinese words."""
    for english, chinese in phrases()[script].items():
        source = source.replace(english, chinese)
    return source


def translate_page(soup):
    for element in soup.select(".explorable"):
        script = element.find_next_sibling("script")
        name = element.name.removeprefix("explorable-") + ".js"
        element["data"] = in_chinese(name, element["data"])
        script.string = in_chinese(name, script.string)
    for place in soup.select(".live, .live + script"):
        for text in place.find_all(string=True):
            chinese = in_chinese("live_button.html", text)
            text.replace_with(in_chinese("live_pages.py", chinese))
    for label in LABELS:
        for element in soup.find_all(attrs={label: ENGLISH}):
            element[label] = printed_lines(element[label], words())
    code = {
        id(text)
        for place in soup.find_all(["pre", "code"])
        if not place.find_parent(class_="stream")
        for text in place.find_all(string=ENGLISH)
    }
    for text in soup.find_all(string=ENGLISH):
        # Scripts, styles and comments are of other classes.
        if type(text) is NavigableString and id(text) not in code:
            text.replace_with(printed_lines(text, words()))


def translate_pages(app, exception):
    if exception or not is_chinese(app):
        return
    for name in pages_to_mend(app):
        translate_page(soup_of(Path(app.outdir, f"{name}.html")))


def translate_scripts(app, exception):
    if exception or not is_chinese(app):
        return
    out = Path(app.outdir)
    for name in (
        "live/live.js",
        "live/live_worker.js",
        "_static/search.js",
    ):
        source = (out / name).read_text(encoding="utf-8")
        chinese = in_chinese(Path(name).name, source)
        (out / name).write_text(chinese, encoding="utf-8")
    site = json.loads((out / "live/live.json").read_text(encoding="utf-8"))
    site["words"] = texts(CATALOGUES / "words.po")
    site["phrases"] = phrases()
    (out / "live/live.json").write_text(json.dumps(site), encoding="utf-8")


def is_chinese(app) -> bool:
    """Whether this build makes the Chinese pages."""
    return app.builder.name == "html" and app.config.language == CHINESE


def link_twin(app, name, template, context, doctree):
    if app.builder.name == "html":
        way, text, tooltip = TWIN[app.config.language]
        address = f"{context['content_root']}{way}{name}.html"
        button = {"type": "link", "url": address, "text": text}
        button |= {"tooltip": tooltip, "label": "language"}
        context["header_buttons"].insert(0, button)


def miss_untranslated(app, doctree):
    """Warn of prose without a translation: Sphinx leaves it in English and says nothing."""
    if not is_chinese(app):
        return
    for node in doctree.findall(nodes.Element):
        text = node.rawsource or node.astext()
        # A box's title is of the words that cells show.
        of_box = isinstance(node, nodes.title) and not isinstance(
            node.parent, nodes.section
        )
        untranslated = node.get("translated") is False and not of_box
        if untranslated and is_words(text):
            if " ".join(text.split()) not in known():
                logger.warning("not translated: %s", text, location=node)


@cache
def known() -> set[str]:
    return {" ".join(message.split()) for message in words()}


def setup(app):
    app.connect("html-page-context", link_twin, priority=502)
    app.connect("doctree-read", miss_untranslated)
    # After the passes that mend pages, and before search and style sheets.
    app.connect("build-finished", translate_pages, priority=600)
    app.connect("build-finished", translate_scripts, priority=850)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Pages that open at once: one style sheet with the rules in use, small fonts, scripts that wait.

Runs on the finished pages, after page_fixes. What a pass looks for and does not find stops the
build: then the theme has changed, and the pass is wrong or no longer needed.
"""

import logging
import re
from base64 import b64decode
from collections import defaultdict
from copy import copy
from hashlib import sha256
from operator import mul
from pathlib import Path

from bs4 import Tag
from finished_pages import pages_to_mend, soup_of
from fontTools import subset
from katex_math import KATEX, ask_node
from sphinx.errors import ExtensionError
from thin_formulas import rules_of_formulas, thin_formulas

logging.getLogger("fontTools").setLevel(logging.WARNING)
SHEET, NOSCRIPT = "_static/styles/book.css", "_static/styles/noscript.css"

# Scripts of the theme and of extensions that nothing in this book needs.
UNUSED_SCRIPTS = (
    "bootstrap.js",  # drops menus, which page_fixes makes <details>, and draws tooltips
    "fontawesome.js",  # draws the icons that the theme's own font has already
    "design-tabs.js",  # sphinx-design's tabs
    "togglebutton.js",  # folds boxes, which page_fixes makes <details>
    "sphinx_highlight.js",
    "translations.js",  # of doctools.js
    "doctools.js",
    # What Sphinx searches with; section_search does without them.
    "searchtools.js",
    "language_data.js",
    "searchindex.js",
)
UNUSED_INLINE = ("toggleHint", "togglebuttonSelector", "toggleOpenOnPrint")


def address(element) -> str:
    return (element.get("src") or element.get("href") or "").split("?")[0]


def sheets_of(page: Path, soup) -> list[Path]:
    """The style sheets that a page asks for and this module did not write."""
    links = soup.select('link[rel="stylesheet"]')
    paths = [(page.parent / address(link)).resolve() for link in links]
    return [
        path
        for path in paths
        if path.name not in (Path(SHEET).name, Path(NOSCRIPT).name)
    ]


def thin_scripts(soup) -> None:
    for script in soup.select("script"):
        name = address(script).rpartition("/")[2]
        inline = any(word in script.text for word in UNUSED_INLINE)
        if inline or name in UNUSED_SCRIPTS:
            script.extract()
        elif name:
            script["defer"] = ""
        elif "DOCUMENTATION_OPTIONS." in script.text:
            script["type"] = (
                "module"  # waits, in its order, for the script that it adds to
            )
    for link in soup.select('link[rel="preload"]'):
        link.extract()


# The theme measures everything that might scroll whenever a page loads or changes, and for that
# lays out all of it, folds and far sections, too. page.js does this where a reader looks.
MEASURED = re.compile(r'\["pre",[^\]]*\]')
NONE = '[":not(*)"]'


def leave_scrolling_to_page_js(out: Path) -> None:
    script = out / "_static/scripts/pydata-sphinx-theme.js"
    text = script.read_text(encoding="utf-8")
    text, changed = MEASURED.subn(NONE, text)
    if not changed and NONE not in text:
        raise ExtensionError(
            f"light_pages: {script.name} does not say what scrolls"
        )
    script.write_text(text, encoding="utf-8")


# How a page shows the tokens of one class in one scheme.
LOOK = re.compile(
    r'data-theme="(light|dark)"\] \.highlight (?:\.(\w+) )?\{([^}]*)\}'
)


def looks_of(sheet: Path) -> dict[str, set]:
    """How each class of tokens looks, and "" the code around them, in both schemes."""
    looks = defaultdict(set)
    for scheme, name, look in LOOK.findall(
        sheet.read_text(encoding="utf-8")
    ):
        color = re.sub(r"background:[^;]*;", "", look) if not name else look
        looks[name].add((scheme, color.strip().lower()))
    if not looks[""]:
        raise ExtensionError(
            f"light_pages: {sheet.name} has no colour of code"
        )
    # Operators would have the colour of strings.
    looks["o"] = looks[""]
    return looks


def thin_listings(soup, looks: dict[str, set]) -> None:
    """Tokens that look like the code around them, or like the one before, need no element."""

    def look(token):
        return looks.get(" ".join(token.get("class", [])), looks[""])

    for listing in soup.select(".highlight pre"):
        for token in listing.select("span"):
            if look(token) == looks[""]:
                token.unwrap()
        listing.smooth()
        for token in listing.select("span"):
            before = token.previous_sibling
            if isinstance(before, Tag) and look(before) == look(token):
                token.insert(0, before.text)
                before.extract()


# Where scripts run, this stands for a still figure until its script has drawn the other.
NOTHING = (
    "data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'/%3E"
)


def store_stills(page: Path, soup) -> None:
    """A picture inside the page becomes a file, which is loaded where no script runs.

    Where one fails, page.js takes the stand-in away.
    """
    for image in soup.select(
        '.explorable img[src^="data:image/png;base64,"]'
    ):
        content = b64decode(image["src"].partition(",")[2])
        name = f"still-{sha256(content).hexdigest()[:16]}.png"
        folder = next(p for p in page.parents if (p / "_images").is_dir())
        (folder / "_images" / name).write_bytes(content)
        up = "../" * len(page.relative_to(folder).parents[1:])
        image["src"] = f"{up}_images/{name}"
        picture = image.wrap(soup.new_tag("picture"))
        picture.insert(
            0,
            soup.new_tag(
                "source", media="(scripting: enabled)", srcset=NOTHING
            ),
        )


def size_of(path: Path) -> tuple[int, int] | None:
    """Width and height in CSS pixels of a picture that is a file."""
    if not path.is_file():
        return None
    if path.suffix == ".png":
        # Its first chunk: both as big-endian integers.
        head = path.read_bytes()[16:24]
        return int.from_bytes(head[:4], "big"), int.from_bytes(
            head[4:], "big"
        )
    svg = path.read_text(encoding="utf-8")
    points = re.search(
        r'<svg\b[^>]* width="([\d.]+)pt" height="([\d.]+)pt"', svg
    )
    return points and tuple(
        round(float(side) * 4 / 3) for side in points.groups()
    )


def size_images(page: Path, soup) -> None:
    """Reserve each picture's place, and load what is not seen at once later."""
    for number, image in enumerate(soup.select(".bd-article img[src]")):
        path = (page.parent / image["src"]).resolve()
        if size := size_of(path):
            image["width"], image["height"] = size
        if number:
            image["loading"] = "lazy"
        image["decoding"] = "async"


def letters_of(pages) -> tuple[set, set]:
    """What formulas are made of: their variables, which have a font of their own, and the rest."""
    variables, rest = set(), set()
    for soup in pages:
        for formula in soup.select(".katex-html"):
            for text in formula.find_all(string=True):
                names = text.parent.get("class", [])
                (variables if "mathnormal" in names else rest).update(text)
    return variables, rest


# What a section's parts add to its height on a phone and on a desktop, in CSS pixels: fitted to
# this book's sections, of which nineteen in twenty are at most a ninth higher.
HEIGHTS = {
    "letters": (0.7, 0.43),
    "blocks": (17, 10),
    "lines of listings": (13.5, 14),
    "listings": (60, 71),
    "formulas": (36, 51),
    "pictures, height by width": (430, 449),
    "folds": (79, 56),
}
MARGIN = 1.15


def reserve_sections(soup) -> None:
    """Say how high each section will about be, for browsers that lay it out when it is near."""
    for section in soup.select(".bd-article > section > section"):
        shown = copy(section)
        for hidden in shown.select(
            "details > :not(summary), .katex-mathml, script, style"
        ):
            hidden.extract()
        listings = [e.extract().text.rstrip() for e in shown.select("pre")]
        parts = (
            len("".join(shown.stripped_strings)),
            len(shown.select("p, li, h2, h3, h4, tr, figcaption")),
            sum(text.count("\n") + 1 for text in listings),
            len(listings),
            len(shown.select(".katex-display")),
            sum(
                int(image["height"]) / int(image["width"])
                for image in shown.select("img[height]")
            ),
            len(shown.select("summary")),
        )
        narrow, wide = (
            round(MARGIN * sum(map(mul, parts, pixels)))
            for pixels in zip(*HEIGHTS.values(), strict=True)
        )
        section["style"] = f"--narrow:{narrow}px;--wide:{wide}px"


def bundle(
    out: Path, sheets: list[Path], variables: set, rest: set
) -> None:
    """Write the two style sheets of all pages, and the fonts that they name."""
    made = ask_node("bundle_css.mjs", out, *sheets)
    css = made["css"]
    if not made["noscript"].count("--pst-color-text-base"):
        raise ExtensionError(
            "light_pages: the theme's colours were not found"
        )
    # What the icons' style rules show.
    icons = {
        chr(int(code, 16))
        for code in re.findall(r'"\\(f[0-9a-f]{3})"', css)
    }
    if not variables or not icons:
        raise ExtensionError("light_pages: no formula or no icon was found")
    folder = out / SHEET
    for url in sorted(set(re.findall(r"url\(([^)]*\.woff2)\)", css))):
        source = (folder.parent / url).resolve()
        if url.startswith("fonts/"):
            source = KATEX / "dist" / url
        target = folder.parent / "fonts" / source.name
        target.parent.mkdir(exist_ok=True)
        if "fa-" in source.name:
            letters = icons
        else:
            letters = variables if "Math-Italic" in source.name else rest
        shrink(source, target, letters)
        css = css.replace(url, f"fonts/{target.name}")
    folder.write_text(css, encoding="utf-8")
    (out / NOSCRIPT).write_text(made["noscript"], encoding="utf-8")


def shrink(source: Path, target: Path, letters: set[str]) -> None:
    """A copy of a font that has these letters only."""
    options = subset.Options(
        flavor="woff2", layout_features=[], hinting=False
    )
    font = subset.load_font(source, options)
    maker = subset.Subsetter(options)
    maker.populate(unicodes=map(ord, letters))
    maker.subset(font)
    subset.save_font(font, target, options)


def drop_unnamed(out: Path, pages: dict) -> None:
    """Delete the static files that no page and no style sheet of ours asks for."""
    named = {(out / SHEET).resolve(), (out / NOSCRIPT).resolve()}
    for page, soup in pages.items():
        for element in soup.select("[src], [href]"):
            named.add((page.parent / address(element)).resolve())
    css = (out / SHEET).read_text(encoding="utf-8")
    for url in re.findall(r"url\([\"']?([^)\"']+)", css):
        named.add((out / SHEET).parent.joinpath(url).resolve())
    for path in sorted((out / "_static").rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.resolve() not in named:
            path.unlink()


def pages_of(out: Path) -> dict:
    """Every finished page, parsed."""
    return {
        page: soup_of(page)
        for page in sorted(out.rglob("*.html"))
        # The other edition has been through this.
        if not {"_static", "zh"} & set(page.relative_to(out).parts)
    }


def lighten(app, exception):
    if exception or app.builder.name != "html" or not pages_to_mend(app):
        return
    out = Path(app.outdir)
    pages = pages_of(out)
    own = {page: sheets_of(page, soup) for page, soup in pages.items()}
    fresh = {page: pages[page] for page, found in own.items() if found}
    if not fresh:
        return
    # In the theme's order, each once.
    sheets = dict.fromkeys(
        sheet for found in own.values() for sheet in found
    )
    (colors,) = (path for path in sheets if path.name == "pygments.css")
    looks = looks_of(colors)
    leave_scrolling_to_page_js(out)
    thin_formulas(fresh.values())
    for page, soup in fresh.items():
        thin_scripts(soup)
        thin_listings(soup, looks)
        store_stills(page, soup)
        size_images(page, soup)
        reserve_sections(soup)
        page.write_text(str(soup), encoding="utf-8")
    for name in UNUSED_SCRIPTS:
        for script in (out / "_static").rglob(name):
            script.unlink()  # its words are no reason to keep a rule
    bundle(
        out,
        [KATEX / "dist/katex.min.css", *sheets],
        *letters_of(pages.values()),
    )
    with (out / SHEET).open("a", encoding="utf-8") as sheet:
        sheet.write(rules_of_formulas(pages.values()))
    digest = sha256((out / SHEET).read_bytes()).hexdigest()[:8]
    for page, soup in fresh.items():
        root = soup.html["data-content_root"]
        first, *others = soup.select('link[rel="stylesheet"]')
        for link in others:
            link.extract()
        first.attrs = {
            "rel": "stylesheet",
            "href": f"{root}{SHEET}?{digest}",
        }
        soup.head.noscript.append(
            soup.new_tag(
                "link", rel="stylesheet", href=f"{root}{NOSCRIPT}?{digest}"
            )
        )
        page.write_text(str(soup), encoding="utf-8")
    drop_unnamed(out, pages)


def setup(app):
    app.connect("build-finished", lighten, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

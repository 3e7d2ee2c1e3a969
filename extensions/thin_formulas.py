"""KaTeX's drawings, said shorter: the same boxes with half the elements and bytes.

KaTeX places each part of a formula by a style of its own, in elements that its style sheet
mostly says nothing about. Here the styles that come often become classes, the elements that
only have a height become the ::before of the element around them, and elements and names
that no rule mentions go.
"""

import re
from collections import Counter
from functools import cache

from bs4 import Tag
from katex_math import KATEX
from sphinx.errors import ExtensionError

# The styles as classes, such as "T-2.55" for top:-2.55em.
PLACES = {
    "B": "border-bottom-width",
    "F": "font-size",
    "H": "height",
    "L": "margin-left",
    "P": "padding-left",
    "R": "margin-right",
    "T": "top",
    "V": "vertical-align",
    "W": "min-width",
}
# Those of an empty box at the start of its element.
STRUTS = {"H": "S", "V": "A"}
OFTEN = 10
STYLE = re.compile(rf"({'|'.join(PLACES.values())}):(-?[\d.]+)em")
PLACE = re.compile(r"([A-Z])(-?\d[\d.]*)")
SIZE = re.compile(
    r"\.katex-sizing\.reset-size(\d+)\.size(\d+)[^{}]*\{font-size:([\d.]+)em"
)
# The rules that count elements from here to their children's children.
COUNTING = {"vlist", "mfrac", "katex-inner"}


@cache
def sheet() -> str:
    return (KATEX / "dist/katex.min.css").read_text(encoding="utf-8")


@cache
def mentioned() -> set[str]:
    """The class names that KaTeX's style sheet has rules for."""
    return set(re.findall(r"\.([a-z][\w-]*)", sheet()))


@cache
def sizes() -> dict[tuple, str]:
    """How large a change of size is, by its two classes."""
    found = {
        (f"reset-size{a}", f"size{b}"): f"F{round(float(em), 4):g}"
        for a, b, em in SIZE.findall(sheet())
    }
    if not found:
        raise ExtensionError("thin_formulas: KaTeX's sizes were not found")
    return found


def names(element) -> list[str]:
    return element.get("class", [])


def declarations(element) -> list[str]:
    return element["style"].rstrip(";").split(";")


def name_places(drawings) -> None:
    """The styles that formulas have often, as classes."""
    letters = {name: letter for letter, name in PLACES.items()}
    placed = [e for drawing in drawings for e in drawing.select("[style]")]
    times = Counter(d for element in placed for d in declarations(element))
    classes = {
        style: letters[found[1]] + found[2]
        for style, n in times.items()
        if n >= OFTEN and (found := STYLE.fullmatch(style))
    }
    for element in placed:
        said = [d for d in declarations(element) if d != "margin-left:0em"]
        if classes.keys() >= set(said):
            element["class"] = [*names(element), *map(classes.get, said)]
            del element["style"]


def name_sizes(drawing) -> None:
    for element in drawing.select(".katex-sizing"):
        _, reset, size, *rest = names(element)
        element["class"] = [sizes()[reset, size], *rest]


def draw_struts_before(drawing) -> None:
    """An empty box that holds lines apart is drawn before what is in the element around it."""
    for strut in drawing.select(".katex-strut, .pstrut"):
        _, *places = names(strut)
        first = strut.parent.contents[0] is strut
        if first and not strut.get("style"):
            strut.parent["class"] = [
                *names(strut.parent),
                *(STRUTS[place[0]] + place[1:] for place in places),
            ]
            strut.extract()


def drop_depths(drawing) -> None:
    """A table's second row, and a cell beside the first, say how deep it is: the line's strut does."""
    for table in drawing.select(".vlist-t2"):
        first, second = table.select(":scope > .vlist-r")
        first.select_one(":scope > .vlist-s").extract()
        second.extract()
        table["class"].remove("vlist-t2")


def may_join(inner) -> bool:
    """Whether it is an element whose classes mean the same on the one around it."""
    return (
        isinstance(inner, Tag)
        and inner.attrs.keys() == {"class"}
        and not any(name.startswith("F") for name in names(inner))
    )


def drop_idle(drawing) -> None:
    """Elements and names that no rule mentions, and boxes that need not be two."""
    for span in drawing.select("span"):
        span["class"] = [
            name
            for name in names(span)
            if name in mentioned() or PLACE.fullmatch(name)
        ]
        if not span["class"]:
            del span["class"]
    # A table's cells make their row.
    for row in drawing.select(".vlist-r"):
        row.unwrap()
    for span in drawing.select("span"):
        around = {*names(span.parent), *names(span.parent.parent)}
        if not span.attrs and not around & COUNTING:
            span.unwrap()
    for outer in drawing.select(".msupsub, [class^=F]"):
        inner = outer.contents[0]
        if len(outer.contents) == 1 and may_join(inner):
            outer["class"] = [*names(outer), *names(inner)]
            inner.unwrap()
    drawing.smooth()


def share_paths(soup) -> None:
    """A root that the prose has drawn already is shown again; outputs come and go."""
    drawn = {}
    for path in soup.select(".katex-html path"):
        if name := drawn.get(path["d"]):
            path.replace_with(soup.new_tag("use", href=f"#{name}"))
        elif not path.find_parent(class_="cell_output"):
            path["id"] = drawn[path["d"]] = f"root-{len(drawn) + 1}"


def join_wrappers(soup) -> None:
    """One element around a formula's two drawings, and no row in MathML around one thing."""
    for formula in soup.select("span.math > .katex"):
        formula.parent["class"] = ["math", "notranslate", "katex"]
        formula.unwrap()
    for row in soup.select(".katex-mathml mrow"):
        if row.parent.name == "math" or len(row.contents) == 1:
            row.unwrap()


def thin_formulas(pages) -> None:
    drawings = [d for soup in pages for d in soup.select(".katex-html")]
    if not drawings:
        raise ExtensionError("thin_formulas: no formula was found")
    name_places(drawings)
    for drawing in drawings:
        name_sizes(drawing)
        draw_struts_before(drawing)
        drop_depths(drawing)
        drop_idle(drawing)
    for soup in pages:
        share_paths(soup)
        join_wrappers(soup)


def rule(name: str) -> str:
    letter, number = name[0], name[1:]
    selector = ".katex ." + name.replace(".", r"\.")
    if letter == "S":
        return f'{selector}::before{{content:"";display:inline-block;height:{number}em}}'
    if letter == "A":
        return f"{selector}::before{{vertical-align:{number}em}}"
    return f"{selector}{{{PLACES[letter]}:{number}em}}"


def rules_of_formulas(pages) -> str:
    """What those classes mean, for the style sheet."""
    used = {
        name
        for soup in pages
        for element in soup.select(".katex-html [class]")
        for name in names(element)
        if PLACE.fullmatch(name)
    }
    return "".join(map(rule, sorted(used)))

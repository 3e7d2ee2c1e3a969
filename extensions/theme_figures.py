"""Figures that follow the page's scheme, in half the bytes.

Their colours get a second set for the dark: browsers give a picture in a page the colour
scheme of its place, which the theme sets. Then SVGO writes them anew.
"""

import json
import re
from pathlib import Path

from katex_math import ask_node
from sphinx.errors import ExtensionError

# What attnlib.book.figures draws with, and what takes its place on a dark page.
DARK = {
    "#ffffff": "#121212",
    "#000000": "#f2f2f2",
    "#1a1a1a": "#e0e0e0",  # INK
    "#444444": "#c4c4c4",  # THEORY
    "#bbbbbb": "#6a6a6a",  # FAINT
    "#0072b2": "#4ba3e3",  # SCALED
    "#d55e00": "#f28c3e",  # UNSCALED
    "#009e73": "#2dc197",  # OVERSCALED
    "#cc79a7": "#e39ac3",  # ACCENT
}
RULES = ";".join(f"--{color[1:]}:{dark}" for color, dark in DARK.items())
STYLE = (
    f"<style>@media (prefers-color-scheme:dark){{svg{{{RULES}}}}}</style>"
)
USED = re.compile("(fill|stroke): (" + "|".join(DARK) + ")")


def follow_scheme(svg: str) -> str:
    """A figure whose colours are names, with today's colour where no name is set."""
    svg = USED.sub(lambda m: f"{m[1]}: var(--{m[2][1:]}, {m[2]})", svg)
    return re.sub(r"(<svg\b[^>]*>)", lambda m: m[1] + STYLE, svg, count=1)


def theme_figures(app, exception):
    if exception or app.builder.name != "html":
        return
    figures = {
        str(path): path.read_text("utf-8")
        for path in Path(app.outdir, "_images").glob("*.svg")
    }
    if not figures:
        raise ExtensionError("theme_figures: the book has no SVG figure")
    fresh = {
        path: follow_scheme(svg)
        for path, svg in figures.items()
        if RULES not in svg
    }
    if fresh:
        thin = ask_node("thin_figures.mjs", given=json.dumps(fresh))
        for path, svg in thin.items():
            Path(path).write_text(svg, "utf-8")


def setup(app):
    app.connect("build-finished", theme_figures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

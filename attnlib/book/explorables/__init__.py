"""Figures that answer the hand.

`name.js` imports parts in one line, exports pure functions and a `render`.
Its numbers are the cell's data, or of `normals`, which both languages have.
A cell ends in `explorable(...)`: an inline script, and the figure without.
"""

import base64
import io
import json
import math
import re
from html import escape
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image


def normals(seed: int, *shape: int) -> np.ndarray:
    """Draw the standard normal numbers that `parts.js` draws.

    Parameters
    ----------
    seed : int
    *shape : int

    Returns
    -------
    ndarray (*shape)
        Of a small generator (mulberry32) that two languages can share.
    """
    size = math.prod(shape)
    t = np.arange(1, size + size % 2 + 1, dtype=np.uint32)
    t = np.uint32(seed * 0x9E3779B9 % 2**32) + t * np.uint32(0x6D2B79F5)
    t = (t ^ t >> 15) * (t | 1)
    t ^= t + (t ^ t >> 7) * (t | 61)
    u, v = ((t ^ t >> 14) / 2**32).reshape(-1, 2).T
    radius, angle = np.sqrt(-2 * np.log(1 - u)), 2 * np.pi * v
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return pairs.ravel()[:size].reshape(shape)


def script(name: str) -> str:
    """Join what runs in the page: the parts used, the module, its mount.

    Parameters
    ----------
    name : str
        Of the module.

    Returns
    -------
    str
        An ES module; in its first line the styles, which its mount shows.
    """
    style = _read("explorable.css") + _read(f"{name}.css")
    own, mount = _read(f"{name}.js"), _read("mount.js")
    imports, own = re.split(r"^(import .*\n)", own, flags=re.M)[1:]
    used, before = "", None
    while used != before:  # parts use parts
        before, used = used, ""
        for block in _read("parts.js").split("\n\n"):
            names = re.findall(r"^export \w+ (\w+)", block, flags=re.M)
            text = imports + mount + before
            if any(re.search(rf"\b{name}\b", text) for name in names):
                used += block + "\n"
    named = json.dumps(f"explorable-{name}"), json.dumps(style)
    return (
        "const NAME = {}, CSS = {};\n".format(*named) + used + own + mount
    )


def _read(file):
    """A file without indentation and comments."""
    text = (Path(__file__).parent / file).read_text(encoding="utf-8")
    return re.sub(r"^ +|^ *//.*\n| // .*", "", text, flags=re.M)


def _rounded(value, digits):
    if isinstance(value, str | int):
        return value
    if isinstance(value, np.ndarray | list | tuple):
        return [_rounded(x, digits) for x in np.asarray(value).tolist()]
    return float(f"{value:.{digits}g}")


class Explorable:
    """What a cell shows: an element, its data and its still figure."""

    def __init__(self, name: str, element: str):
        self.name, self.element = name, element

    def __repr__(self):
        return f"<explorable {self.name}>"

    def _repr_html_(self):
        code = f'<script type="module">{script(self.name)}</script>'
        return self.element + code


def explorable(
    name: str, figure: Figure, alt: str, *, digits: int = 4, **data: object
) -> Explorable:
    """Show a figure that can be moved; a still one where no script runs.

    Parameters
    ----------
    name : str
        Of the module.
    figure : Figure
        Tells the same story in the state that the module starts in.
    alt : str
        Says what the still figure shows.
    digits : int
        To how many significant digits the data are rounded.
    **data : str, int, float, array or list
        What the module asks its model for.

    Returns
    -------
    Explorable
        For the end of a cell.
    """
    png, small = io.BytesIO(), io.BytesIO()
    figure.savefig(png)
    plt.close(figure)
    Image.open(png).convert("RGB").quantize(32).save(small, "png")
    picture = base64.b64encode(small.getvalue()).decode()
    data = {key: _rounded(value, digits) for key, value in data.items()}
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    text = text.replace("&", "&amp;").replace("'", "&#39;")
    return Explorable(
        name,
        f"<explorable-{name} class=\"explorable\" data='{text}'>"
        f'<img alt="{escape(alt)}" src="data:image/png;base64,{picture}">'
        f"</explorable-{name}>",
    )

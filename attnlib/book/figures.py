"""The book's look: one palette, one style, and what is drawn repeatedly."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib_inline.backend_inline import set_matplotlib_formats
from numpy.typing import ArrayLike

# Okabe and Ito's colours, told apart by colour-blind readers too. The same
# thing has the same colour in every chapter.
SCALED = "#0072B2"
UNSCALED = "#D55E00"
OVERSCALED = "#009E73"  # divided by d_k instead of √d_k
THEORY = "#444444"
INK = "#1A1A1A"  # words and axes
ACCENT = "#CC79A7"
FAINT = "#BBBBBB"

PALETTE = [SCALED, UNSCALED, OVERSCALED, ACCENT, THEORY]
STYLE = {
    "figure.figsize": (5.2, 3.2),
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "lines.linewidth": 2,
    "lines.markersize": 5,
    "legend.frameon": False,
    "axes.prop_cycle": plt.cycler(color=PALETTE),
    **dict.fromkeys(
        (
            "text.color",
            "axes.labelcolor",
            "axes.edgecolor",
            "xtick.color",
            "ytick.color",
        ),
        INK,
    ),
    "svg.hashsalt": "book",  # the same names in every run
}

# One head from left to right: what stands in a box, how wide it is, and the
# chapter about it. Chapter 4 is about the way back, through softmax.
HEAD = (
    ("$x$", 0.7, None),
    (r"$q,\ k,\ v$", 1.8, 1),
    (r"$q \cdot k$", 1.3, 2),
    (r"$\div\sqrt{d_k}$", 1.5, 6),
    ("softmax", 2.1, 3),
    ("$a$", 0.7, 5),
    (r"$\Sigma\,a\,v$", 1.4, 7),
    ("$o$", 0.7, None),
)
GRADIENT = 4


def use_style() -> None:
    """Set matplotlib's defaults for the book: small figures, large type.

    In a notebook figures become SVG, sharp at every size.
    """
    plt.rcdefaults()
    plt.rcParams.update(STYLE)
    if get_ipython():
        set_matplotlib_formats(
            "svg", metadata={"Creator": None, "Date": None}
        )


def heatmap(
    ax: Axes,
    matrix: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    label: str,
    signed: bool = False,
) -> AxesImage:
    """Draw a matrix with named rows and columns and a colour bar.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    matrix : array_like (rows, columns)
        What to draw.
    rows, columns : sequence of str
        Their names; those of the columns stand upright.
    label : str
        Says at the colour bar what the numbers are.
    signed : bool
        Whether colours diverge from 0; else the map starts at 0.

    Returns
    -------
    AxesImage
        The image.
    """
    limit = np.abs(matrix).max()
    image = ax.imshow(
        matrix,
        cmap="RdBu_r" if signed else "Blues",
        vmin=-limit if signed else 0,
        vmax=limit,
    )
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xticks(range(len(columns)), columns, rotation=90)
    ax.spines[:].set_visible(False)
    ax.figure.colorbar(image, label=label, shrink=0.8)
    return image


def weight_bars(
    ax: Axes,
    weights: ArrayLike,
    names: Sequence[str],
    *,
    color: str = SCALED,
    label: str | None = None,
    offset: float = 0.0,
    height: float = 0.8,
) -> None:
    """Draw one row of attention weights as bars, the first token on top.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    weights : array_like (n,)
        The weights, between 0 and 1.
    names : sequence of str
        The tokens.
    color, label : str
        The bars' colour, and their words in a legend.
    offset, height : float
        How far below its place a bar is drawn, and how high; a place itself
        is 1 high.
    """
    place = np.arange(len(names)) + offset
    ax.barh(place, weights, height=height, color=color, label=label)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.set_xlabel("weight $a_{ij}$")


def head_map(chapter: int) -> None:
    """Draw the map of one head that stands at the top of a chapter.

    Parameters
    ----------
    chapter : int
        Its part is lit.
    """
    fig, ax = plt.subplots(figsize=(6.0, 1.14), layout="none")
    ax.set_position((0, 0, 1, 1))
    ax.set(xlim=(-0.05, 12.77), ylim=(-0.24, 1))
    ax.axis("off")
    legend = f"Numbers are chapters; the part of chapter {chapter} is blue."
    ax.text(0, -0.14, legend, va="center", size=14, color=THEORY)

    def arrow(start, end, color=THEORY, lw=1.1):
        style = {"arrowstyle": "->", "color": color, "lw": lw}
        style |= {"shrinkA": 0, "shrinkB": 0}
        ax.annotate("", end, start, arrowprops=style)

    left, gap, middle = 0, 0.36, {}
    for words, width, number in HEAD:
        lit = number == chapter
        edge, face, ink = (
            (SCALED, SCALED, "white") if lit else (FAINT, "none", INK)
        )
        ax.add_patch(
            plt.Rectangle((left, 0.42), width, 0.4, fc=face, ec=edge)
        )
        center = {"ha": "center", "va": "center"}
        middle[number] = left + width / 2
        ax.text(middle[number], 0.61, words, size=15, color=ink, **center)
        if number:
            style = {"color": SCALED, "weight": "bold"} if lit else {}
            style = {"color": THEORY, "size": 14} | style | center
            ax.text(middle[number], 0.28, number, **style)
        if left:
            arrow((left - gap + 0.03, 0.62), (left - 0.03, 0.62))
        left += width + gap

    # Values do without the scores; a gradient comes back through softmax.
    start, end = middle[1] + 0.5, middle[7] + 0.35
    ax.plot([start, start, end], [0.83, 0.95, 0.95], c=THEORY, lw=1.1)
    arrow((end, 0.955), (end, 0.83))
    lit = chapter == GRADIENT
    style = (
        {"color": SCALED, "weight": "bold"} if lit else {"color": THEORY}
    )
    arrow((middle[5], 0.09), (middle[2], 0.09), style["color"], 1.1 + lit)
    ax.text(
        middle[3],
        0.09,
        f"{GRADIENT}: gradient",
        size=13,
        bbox={"fc": "white", "ec": "none", "pad": 2},
        **center,
        **style,
    )
    plt.show()

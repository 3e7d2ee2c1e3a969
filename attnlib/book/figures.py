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

"""The book's look: one palette, one style, and the plots that are drawn more than once."""

import matplotlib.pyplot as plt
import numpy as np

# Okabe and Ito's colours, told apart by colour-blind readers too. The same thing has
# the same colour in every chapter.
SCALED = "#0072B2"
UNSCALED = "#D55E00"
OVERSCALED = "#009E73"  # divided by d_k instead of √d_k
THEORY = "#444444"
ACCENT = "#CC79A7"
FAINT = "#BBBBBB"


def use_style():
    """Set matplotlib's defaults for the book: small figures, large type, no chart junk."""
    plt.rcdefaults()
    plt.rcParams.update(
        {
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
            "axes.prop_cycle": plt.cycler(color=[SCALED, UNSCALED, OVERSCALED, ACCENT, THEORY]),
        }
    )


def heatmap(
    ax, matrix, rows=None, columns=None, *, label="", signed=False, annotate=False, limit=None
):
    """Draw ``matrix`` (rows × columns) with labelled rows and columns and a colour bar.

    ``signed`` uses a diverging map centred at 0, otherwise the map starts at 0;
    ``limit`` fixes the largest value of the map; ``annotate`` writes each value.
    Returns the image.
    """
    matrix = np.asarray(matrix)
    limit = np.abs(matrix).max() if limit is None else limit
    image = ax.imshow(
        matrix,
        cmap="RdBu_r" if signed else "Blues",
        vmin=-limit if signed else 0,
        vmax=limit,
        aspect="equal",
    )
    for axis, names in ((ax.yaxis, rows), (ax.xaxis, columns)):
        axis.set_ticks([] if names is None else range(len(names)), names)
    if columns is not None and max(map(len, map(str, columns))) > 2:
        ax.tick_params(axis="x", rotation=90)
    ax.spines[:].set_visible(False)
    if annotate:
        for i, j in np.ndindex(matrix.shape):
            dark = abs(matrix[i, j]) > 0.6 * limit
            ax.text(j, i, f"{matrix[i, j]:.2f}", ha="center", va="center",
                    color="white" if dark else "black", fontsize=8)
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)
    return image


def weight_bars(ax, weights, names, *, color=SCALED, label=None, offset=0.0, height=0.8):
    """Horizontal bars of one row of attention weights, first token on top."""
    place = np.arange(len(weights)) + offset
    ax.barh(place, weights, height=height, color=color, label=label)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.set_xlabel("weight $a_{ij}$")

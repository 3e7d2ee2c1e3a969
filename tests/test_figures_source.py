"""The look of the figures, the source that chapters show, and what importing attnlib costs."""

import ast
import inspect
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402

import attnlib  # noqa: E402
from attnlib.book import figures, show_source  # noqa: E402
from attnlib.book.source import source  # noqa: E402


@pytest.fixture
def ax():
    with plt.rc_context():
        figures.use_style()
        figure, ax = plt.subplots()
        yield ax
        plt.close(figure)


def test_colours_differ_in_lightness_or_hue_enough_to_be_told_apart():
    colours = [to_rgb(c) for c in (figures.SCALED, figures.UNSCALED, figures.OVERSCALED,
                                   figures.THEORY, figures.ACCENT, figures.FAINT)]  # fmt: skip
    distances = [
        np.abs(np.subtract(a, b)).sum() for i, a in enumerate(colours) for b in colours[:i]
    ]
    assert min(distances) > 0.3


def test_style_starts_from_the_defaults_and_draws_the_scaled_arm_first(ax):
    plt.rcParams["lines.linewidth"] = 99
    plt.rcParams["font.family"] = ["monospace"]
    figures.use_style()
    assert plt.rcParams["lines.linewidth"] == 2
    assert plt.rcParams["font.family"] == matplotlib.rcParamsDefault["font.family"]
    assert ax.plot([0, 1])[0].get_color() == figures.SCALED
    assert not ax.spines["top"].get_visible()


def test_heatmap_starts_at_zero_or_is_centred_there(ax):
    matrix = np.array([[1.0, -4.0, 2.0], [0.0, 1.0, 3.0]])
    assert figures.heatmap(ax, np.abs(matrix)).get_clim() == (0, 4)
    assert figures.heatmap(ax, matrix, signed=True).get_clim() == (-4, 4)
    assert figures.heatmap(ax, matrix, signed=True, limit=5).get_clim() == (-5, 5)


def test_heatmap_names_and_annotates_every_cell(ax):
    figures.heatmap(ax, [[0.25, 0.75]], rows=["bank"], columns=["river", "money"], annotate=True)
    assert [t.get_text() for t in ax.texts] == ["0.25", "0.75"]
    assert [t.get_color() for t in ax.texts] == ["black", "white"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["river", "money"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["bank"]


def test_weight_bars_put_the_first_token_on_top(ax):
    figures.weight_bars(ax, [0.7, 0.3], ["a", "b"])
    assert [p.get_width() for p in ax.patches] == [0.7, 0.3]
    low, high = ax.get_ylim()
    assert low > high and ax.get_xlim() == (0, 1)


# --- the source that is shown ------------------------------------------------------------


FUNCTIONS = [f for name in attnlib.__all__ if inspect.isfunction(f := getattr(attnlib, name))]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_the_source_shown_is_the_source_that_runs_without_its_docstring(function):
    shown = ast.parse(source(function)).body[0]
    full = ast.parse(inspect.getsource(function)).body[0]
    assert ast.get_docstring(full), f"{function.__name__} has no docstring"
    del full.body[0]
    assert ast.dump(shown) == ast.dump(full)


def test_a_function_without_docstring_is_shown_whole():
    def bare(x):
        return x + 1

    assert source(bare) == "def bare(x):\n    return x + 1"


def test_show_source_displays_python(monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    show_source(attnlib.softmax, attnlib.entropy)
    (markdown,) = shown
    assert markdown.data.startswith("```python\ndef softmax(x, axis=-1):\n")
    assert "\n\n\ndef entropy(a):\n" in markdown.data and markdown.data.endswith("\n```")


# --- imports -----------------------------------------------------------------------------


def test_the_numbers_need_no_plotting_no_algebra_and_no_notebook():
    heavy = ["matplotlib", "sympy", "IPython", "sphinx", "torch"]
    program = f"import sys, attnlib; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

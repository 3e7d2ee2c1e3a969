"""The look of the figures, the source that chapters show, and what importing attnlib costs."""

import ast
import inspect
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.colors import to_hex, to_rgb

import attnlib
from attnlib import random_energy, retrieval
from attnlib.book import figures, show_source
from attnlib.book.source import WIDTH, _signature, public_name, source


@pytest.fixture
def ax():
    with plt.rc_context():
        figures.use_style()
        figure, ax = plt.subplots()
        yield ax
        plt.close(figure)


def test_colours_differ_in_lightness_or_hue_enough_to_be_told_apart():
    colours = [to_rgb(c) for c in (*figures.PALETTE, figures.FAINT)]
    distances = [
        np.abs(np.subtract(a, b)).sum()
        for i, a in enumerate(colours)
        for b in colours[:i]
    ]
    assert min(distances) > 0.3


def test_style_starts_from_the_defaults_and_draws_the_scaled_arm_first(ax):
    plt.rcParams["lines.linewidth"] = 99
    plt.rcParams["font.family"] = ["monospace"]
    figures.use_style()
    assert plt.rcParams["lines.linewidth"] == 2
    assert (
        plt.rcParams["font.family"]
        == matplotlib.rcParamsDefault["font.family"]
    )
    assert ax.plot([0, 1])[0].get_color() == figures.SCALED
    assert not ax.spines["top"].get_visible()


MATRIX = np.array([[1.0, -4.0, 2.0], [0.0, 1.0, 3.0]])
NAMES = {"rows": ["bank", "of"], "columns": ["river", "a", "money"]}


@pytest.mark.parametrize(
    "signed, limits", [(False, (0, 4)), (True, (-4, 4))]
)
def test_heatmap_starts_at_zero_or_is_centred_there(ax, signed, limits):
    image = figures.heatmap(ax, MATRIX, **NAMES, label="s", signed=signed)
    assert image.get_clim() == limits
    assert image.get_cmap().name == ("RdBu_r" if signed else "Blues")
    assert np.array_equal(image.get_array(), MATRIX)


def test_heatmap_without_signs_is_what_a_bare_call_draws(ax):
    image = figures.heatmap(ax, MATRIX.tolist(), **NAMES, label="s")
    assert image.get_clim() == (0, 4)


def test_heatmap_names_rows_and_columns_and_says_what_it_shows(ax):
    image = figures.heatmap(ax, MATRIX, **NAMES, label="score")
    for axis, kind in ((ax.yaxis, "rows"), (ax.xaxis, "columns")):
        names, places = axis.get_ticklabels(), axis.get_ticklocs()
        assert [t.get_text() for t in names] == NAMES[kind]
        assert places.tolist() == list(range(len(names)))
    assert {t.get_rotation() for t in ax.get_xticklabels()} == {90}
    assert {spine.get_visible() for spine in ax.spines.values()} == {False}
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "score" and image.colorbar.ax is bar
    ax.figure.draw_without_rendering()
    heights = [a.get_position().height for a in (bar, ax)]
    assert heights[0] == pytest.approx(0.8 * heights[1], rel=0.01)


@pytest.mark.parametrize(
    "chapter, words",
    [
        (1, ["$q,\\ k,\\ v$", "1"]),
        (2, [r"$q \cdot k$", "2"]),
        (3, ["softmax", "3"]),
        (4, ["4: gradient"]),
        (5, ["$a$", "5"]),
        (6, [r"$\div\sqrt{d_k}$", "6"]),
        (7, [r"$\Sigma\,a\,v$", "7"]),
    ],
)
def test_head_map_lights_one_part(chapter, words):
    figures.head_map(chapter)
    ax = plt.gca()
    boxes = [p for p in ax.patches if isinstance(p, plt.Rectangle)]
    filled = [p for p in boxes if p.get_fill() and p.get_facecolor()[3]]
    assert len(boxes) == 8 and len(filled) == len(words) - 1
    lit = {to_rgb(figures.SCALED), to_rgb("white")}
    assert words == [
        t.get_text() for t in ax.texts if to_rgb(t.get_color()) in lit
    ]
    assert f"chapter {chapter} is blue" in ax.texts[0].get_text()
    # A phone shows the map 358 px wide.
    scale = 358 / (72 * ax.figure.get_figwidth())
    sizes = [t.get_size() for t in ax.texts if t.get_text()]
    assert min(sizes) * scale >= 10
    plt.close()


def test_weight_bars_put_the_first_token_on_top(ax):
    ax.set_xlim(-1, 5)
    figures.weight_bars(ax, [0.7, 0.3], ["a", "b"])
    assert [p.get_width() for p in ax.patches] == [0.7, 0.3]
    assert [p.get_y() + p.get_height() / 2 for p in ax.patches] == [0, 1]
    assert [p.get_height() for p in ax.patches] == [0.8, 0.8]
    assert {to_hex(p.get_facecolor()).upper() for p in ax.patches} == {
        figures.SCALED
    }
    assert ax.get_ylim() == (1.5, -0.5) and ax.get_xlim() == (0, 1)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_yticks().tolist() == [0, 1]
    assert ax.get_xlabel() == "weight $a_{ij}$"
    assert ax.get_legend_handles_labels() == ([], [])


def test_two_rows_of_weight_bars_stand_side_by_side(ax):
    for offset, color in ((-0.2, "#ff0000"), (0.2, "#0000ff")):
        figures.weight_bars(
            ax,
            [1.0],
            ["a"],
            color=color,
            label=color,
            offset=offset,
            height=0.4,
        )
    upper, lower = ax.patches
    assert [upper.get_y(), lower.get_y()] == pytest.approx([-0.4, 0])
    assert to_hex(lower.get_facecolor()) == "#0000ff"
    assert ax.get_legend_handles_labels()[1] == ["#ff0000", "#0000ff"]


# --- the source that is shown ------------------------------------------------------------


FUNCTIONS = [
    f
    for module in (attnlib, random_energy, retrieval)
    for name, f in vars(module).items()
    if inspect.isfunction(f) and f.__module__.startswith(module.__name__)
    if not name.startswith("_")
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_the_source_shown_is_the_source_that_runs_without_docstring_and_types(
    function,
):
    shown = ast.parse(source(function)).body[0]
    text = inspect.getsource(function)
    full = ast.parse(text).body[0]
    assert ast.get_docstring(full), f"{function.__name__} has no docstring"
    body = text.splitlines()[full.body[0].end_lineno :]
    assert source(function).splitlines()[-len(body) :] == body
    del full.body[0]
    full.returns = None
    for argument in ast.walk(full.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    assert ast.dump(shown) == ast.dump(full)
    assert max(map(len, source(function).splitlines())) <= 76


def test_a_signature_is_on_one_line_if_it_fits_and_its_body_as_written():
    def one(a: int, /, *more: float, key: int = 1_000, **rest: int) -> int:
        """Give 1."""
        x: int = 1  # a type in the body stays

        return x

    assert source(one) == (
        "def one(a, /, *more, key=1_000, **rest):\n"
        "    x: int = 1  # a type in the body stays\n\n"
        "    return x"
    )


def test_a_long_signature_is_wrapped():
    def two(
        first_argument: list[int],
        second_argument: list[int] | None = None,
        third_argument: float = 1e-8,
        fourth_argument: str = "x",
    ) -> int:
        """Give 2."""
        return 2

    assert source(two) == (
        "def two(\n"
        "    first_argument, second_argument=None, third_argument=1e-8,\n"
        '    fourth_argument="x"\n'
        "):\n"
        "    return 2"
    )


def signature(arguments):
    text = f"def f({arguments}): pass"
    return _signature(ast.parse(text).body[0], text)


def test_a_line_is_filled_to_the_width_and_no_further():
    room = WIDTH - len("def f():")
    assert signature("x" * room) == f"def f({'x' * room}):"
    assert signature("x" * (room + 1)).count("\n") == 2
    full = "x" * 35 + ", " + "y" * (WIDTH - 4 - 37)
    assert signature(full) == f"def f(\n    {full}\n):"
    # A default is not broken where it has a hyphen.
    assert signature("x" * 60 + ", y='per-cent'") == (
        f"def f(\n    {'x' * 60},\n    y='per-cent'\n):"
    )


def test_a_function_without_docstring_is_shown_whole():
    def bare(x: int):
        return x + 1

    assert source(bare) == "def bare(x: int):\n    return x + 1"


def test_a_function_of_nothing_but_a_docstring_is_shown_whole():
    def promise():
        """Do nothing."""

    assert source(promise) == 'def promise():\n    """Do nothing."""'


def test_a_class_and_a_long_docstring_are_shown_as_well():
    class Pair:
        """Two.

        Or more.
        """

        left = 1

    assert source(Pair) == "class Pair:\n\n    left = 1"


def test_what_has_no_source_is_refused():
    with pytest.raises(TypeError):
        source(len)


def test_the_name_of_an_entry_has_the_package_where_that_has_the_function():
    assert public_name(attnlib.softmax) == "attnlib.softmax"
    assert public_name(figures.heatmap) == "attnlib.book.figures.heatmap"
    assert public_name(show_source) == "attnlib.book.show_source"


def test_show_source_displays_python_and_links_to_the_reference(
    monkeypatch,
):
    import IPython.display

    def one():
        return 1

    def two():
        return 2

    one.__module__, two.__module__ = "attnlib.retrieval", "elsewhere"
    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    show_source(one, two)
    (markdown,) = shown
    assert isinstance(markdown, IPython.display.Markdown)
    assert markdown.data == (
        "```python\ndef one():\n    return 1\n\n\n"
        "def two():\n    return 2\n```\n\n"
        "Reference: [one](api.md#attnlib.retrieval.one) · "
        "[two](api.md#elsewhere.two)"
    )


# --- imports -----------------------------------------------------------------------------


def test_the_numbers_need_no_plotting_no_algebra_and_no_notebook():
    heavy = ["matplotlib", "sympy", "IPython", "sphinx", "torch"]
    program = f"import sys, attnlib; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"

"""The rules of the book's notebooks, on their stored state: nothing is executed here.

Each rule is a function of a notebook that yields what is wrong with it, and is itself tried on a
small notebook that was broken on purpose.
"""

import ast
import copy
import json
import re
import statistics
from collections import Counter

import pytest
from oracles import script
from stored import (
    BOOK,
    calls,
    code,
    code_cells,
    markdown,
    notebook,
    output_texts,
    read,
    shown,
    stream,
    text,
    tree,
)

import attnlib

NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
CHAPTER, ARGUES = re.compile(r"\d\d-"), re.compile(r"0[1-9]-|1[0-2]-")
WORDS = range(1500, 2401)  # prose and captions
PLACES = re.compile(r"/home/|/tmp/|/root\b|/Users/|\b[A-Z]:\\|site-packages|\b0x[0-9a-f]{6,}")
CLOCK = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d|\b\d{1,2}:\d\d:\d\d\b|\b[A-Z][a-z]{2} +\d+ +\d\d:\d\d"
)
NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?:[eE][+-]?\d+)?")
TEXTS = ("stream", "text/plain", "text/html", "text/markdown", "text/latex", "image/svg+xml")


# --- the rules -------------------------------------------------------------------------


def executed_in_order(nb):
    counts = [cell["execution_count"] for cell in code_cells(nb)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts are {counts}"


def no_errors_no_stderr(nb):
    for number, cell in enumerate(code_cells(nb), start=1):
        for output in cell["outputs"]:
            if output["output_type"] == "error" or output.get("name") == "stderr":
                yield f"code cell {number}: {output.get('ename', 'stderr')}"


def no_warnings(nb):
    for number, cell in enumerate(code_cells(nb), start=1):
        for words in output_texts(cell, *TEXTS):
            yield from (f"code cell {number}: {w}" for w in re.findall(r"\w*Warning\b.*", words))


def no_trace_of_a_machine(nb):
    """No path, address or time of day in outputs and metadata, no path in the source."""
    for cell in [{"metadata": nb["metadata"], "source": ""}, *nb["cells"]]:
        told = json.dumps(cell["metadata"], ensure_ascii=False)
        if "outputs" in cell:
            told += "".join(output_texts(cell, *TEXTS))
            told += json.dumps([o.get("metadata", {}) for o in cell["outputs"]])
        yield from (f"{found!r}" for found in PLACES.findall(told + text(cell["source"])))
        yield from (f"a time: {found!r}" for found in CLOCK.findall(told))


def kernel_is_python3(nb):
    name = nb["metadata"].get("kernelspec", {}).get("name")
    if name != "python3":
        yield f"kernelspec is {name}"


def figures_are_described(nb):
    for number, cell in enumerate(code_cells(nb), start=1):
        images = [
            o for o in cell["outputs"] if {"image/png", "image/svg+xml"} & set(o.get("data", {}))
        ]
        if not images:
            continue
        settings = cell["metadata"].get("mystnb", {})
        figure = settings.get("figure", {})
        words = {"caption": figure.get("caption"), "name": figure.get("name"),
                 "alt": settings.get("image", {}).get("alt")}  # fmt: skip
        if len(images) != 1:
            yield f"code cell {number}: {len(images)} images under one caption"
        for what, said in words.items():
            if not (said or "").strip():
                yield f"code cell {number}: no {what}"
        if words["alt"] and (words["alt"] or "").strip() == (words["caption"] or "").strip():
            yield f"code cell {number}: the alt text repeats the caption"


def random_draws_are_seeded(nb):
    modern = {"default_rng", "Generator", "SeedSequence", "PCG64"}
    for number, cell in enumerate(code_cells(nb), start=1):
        for call in calls(cell, "default_rng"):
            first = (call.args + [keyword.value for keyword in call.keywords])[:1]
            if not first or ast.unparse(first[0]) == "None":
                yield f"code cell {number}: default_rng without a seed"
        for node in ast.walk(tree(cell)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in (
                "np.random",
                "numpy.random",
            ):
                if node.attr not in modern:
                    yield f"code cell {number}: np.random.{node.attr} has no seed of its own"
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            if {"random", "secrets"} & set(modules):
                yield f"code cell {number}: imports {modules}"


def code_cells_are_short(nb):
    """About 25 lines at most: one cell of a chapter may have up to 30; the median is at most 5."""
    lengths = [len([line for line in text(c["source"]).splitlines() if line.strip()])
               for c in code_cells(nb)]  # fmt: skip
    long = [n for n in lengths if n > 25]
    if len(long) > 1 or max(lengths, default=0) > 30:
        yield f"cells of {long} lines"
    if lengths and statistics.median(lengths) > 5:
        yield f"the median cell has {statistics.median(lengths)} lines"


def prose_has_its_length(nb):
    """Words of text and captions; a formula counts as one, a directive's own line as none."""
    prose = "\n".join(text(c["source"]) for c in nb["cells"] if c["cell_type"] == "markdown")
    for cell in code_cells(nb):
        prose += "\n" + cell["metadata"].get("mystnb", {}).get("figure", {}).get("caption", "")
    prose = re.sub(r"\$\$.*?\$\$|\$[^$]+\$", " x ", prose, flags=re.S)
    prose = re.sub(r"^(```|:::|:[\w-]+:).*$", "", prose, flags=re.M)
    words = len(re.findall(r"\b[^\W\d_][\w'’-]*", prose))
    if words not in WORDS:
        yield f"{words} words of prose, not {WORDS[0]} to {WORDS[-1]}"


def attnlib_is_installed(nb):
    sources = [ast.unparse(tree(cell)) for cell in code_cells(nb)]
    if not any(re.search(r"^\s*(import|from) attnlib\b", s, flags=re.M) for s in sources):
        yield "attnlib is not imported"
    if any("sys.path" in s for s in sources):
        yield "sys.path is touched"


def numbers_are_short(nb):
    """At most 6 significant digits: more would differ between machines. Evidence is exempt."""
    for number, cell in enumerate(code_cells(nb), start=1):
        for words in output_texts(cell, "stream", "text/plain"):
            if re.match(r"✓ A\d\d · ", words):
                continue
            for found in NUMBER.findall(words):
                digits = re.split("[eE]", found)[0].replace(".", "").lstrip("0")
                if len(digits) > 6:
                    yield f"code cell {number}: {found}"


RULES = [executed_in_order, no_errors_no_stderr, no_warnings, no_trace_of_a_machine,
         kernel_is_python3, figures_are_described, random_draws_are_seeded,
         code_cells_are_short, prose_has_its_length, attnlib_is_installed,
         numbers_are_short]  # fmt: skip


ONLY_FOR = {prose_has_its_length: ARGUES, code_cells_are_short: CHAPTER,
            attnlib_is_installed: CHAPTER}  # fmt: skip
KEPT = [pytest.param(rule, path, id=f"{rule.__name__}-{path.stem}")
        for rule in RULES for path in NOTEBOOKS
        if rule not in ONLY_FOR or ONLY_FOR[rule].match(path.stem)]  # fmt: skip


@pytest.mark.parametrize("rule, path", KEPT)
def test_the_book(rule, path):
    assert list(rule(read(path))) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_book_is_normalised(path):
    script("run_notebooks").check(path)


def test_the_book_is_there():
    assert [p.stem[:2] for p in NOTEBOOKS if ARGUES.match(p.stem)] == [
        f"{n:02}" for n in range(1, 13)
    ]


def test_names_of_figures_are_unique_in_the_book():
    names = Counter(
        cell["metadata"]["mystnb"]["figure"]["name"]
        for path in NOTEBOOKS
        for cell in code_cells(read(path))
        if "figure" in cell["metadata"].get("mystnb", {})
    )
    assert names and [name for name, count in names.items() if count > 1] == []


# --- the rules on a notebook broken on purpose -----------------------------------------


def sound():
    """A notebook that keeps every rule."""
    figure = {
        "figure": {"caption": "The gap grows.", "name": "fig-gap"},
        "image": {"alt": "A line."},
    }
    return notebook(
        markdown("# A chapter\n\n" + "word " * 1500 + "\n$$a_i$$\n```{note}\n:class: tip\n"),
        code('import sys\nif "google.colab" in sys.modules:\n    %pip install x', count=1),
        code("import numpy as np\nimport attnlib", count=2),
        code("rng = np.random.default_rng(7)\nprint(1 / 3)", stream("0.333333\n"), count=3),
        code(
            "plot()", shown(png="iVBORw0KGgo=", plain="<Figure size 1x1>"), count=4, mystnb=figure
        ),
        code(
            "check('A01', 'x', x)", shown(plain="✓ A01 · x: 0.123456789", html="<p></p>"), count=5
        ),
    )


def change(cell, **new):
    def damage(nb):
        nb["cells"][cell].update(new)

    return damage


def figure_without(*keys, value=""):
    def damage(nb):
        place = nb["cells"][4]["metadata"]["mystnb"]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return damage


def two_images(nb):
    nb["cells"][4]["outputs"] *= 2


def no_settings(nb):
    nb["cells"][4]["metadata"] = {}


def long_cells(number, lines):
    return lambda nb: nb["cells"].extend(code("x = 1\n" * lines, count=9) for _ in range(number))


BROKEN = [
    (executed_in_order, change(2, execution_count=None), "None"),
    (executed_in_order, change(2, execution_count=3), "[1, 3, 3, 4, 5]"),
    (executed_in_order, lambda nb: nb["cells"].reverse(), "[5, 4"),
    (no_errors_no_stderr, change(3, outputs=[stream("oh", "stderr")]), "stderr"),
    (no_errors_no_stderr, change(3, outputs=[{"output_type": "error", "ename": "Oh"}]), "Oh"),
    (no_warnings, change(3, outputs=[stream("x.py:1: RuntimeWarning: oh")]), "RuntimeWarning"),
    (no_warnings, change(3, outputs=[shown(html="<b>UserWarning</b>")]), "UserWarning"),
    *[
        (no_trace_of_a_machine, change(3, outputs=[stream(words)]), found)
        for words, found in [
            ("in /home/ada/book", "/home/"), ("/tmp/x", "/tmp/"), ("/root/x", "/root"),
            ("/Users/ada", "/Users/"), (r"C:\book", "C:"), ("lib/site-packages/x", "site-packages"),
            ("<object at 0x7f51efeca250>", "0x7f51efeca250"), ("at 12:34:56", "12:34:56"),
            ("2026-01-02T03:04", "2026-01-02T03:04"), ("Jan  2 03:04", "Jan  2 03:04"),
        ]
    ],
    (no_trace_of_a_machine, change(3, source="open('/home/ada/x')"), "/home/"),
    (no_trace_of_a_machine, change(3, metadata={"execution": "2026-01-02T03:04:05"}), "2026-01-02"),
    (no_trace_of_a_machine, lambda nb: nb["metadata"].update(path="/tmp/x"), "/tmp/"),
    (kernel_is_python3, lambda nb: nb["metadata"]["kernelspec"].update(name="venv"), "venv"),
    (kernel_is_python3, lambda nb: nb["metadata"].clear(), "None"),
    (figures_are_described, figure_without("figure", "caption"), "no caption"),
    (figures_are_described, figure_without("figure", "name"), "no name"),
    (figures_are_described, figure_without("image", "alt", value=" "), "no alt"),
    (figures_are_described, figure_without("image", "alt", value="The gap grows."), "repeats"),
    (figures_are_described, two_images, "2 images"),
    (figures_are_described, no_settings, "no caption"),
    *[
        (random_draws_are_seeded, change(3, source=source), found)
        for source, found in [
            ("np.random.default_rng()", "without a seed"), ("default_rng()", "without a seed"),
            ("np.random.default_rng(None)", "without a seed"),
            ("np.random.default_rng(seed=None)", "without a seed"),
            ("np.random.normal(3)", "np.random.normal"), ("numpy.random.seed(1)", "np.random.seed"),
            ("import random", "random"), ("from random import choice", "random"),
            ("from numpy.random import normal\nimport secrets", "secrets"),
        ]
    ],
    (code_cells_are_short, long_cells(1, 31), "31"),
    (code_cells_are_short, long_cells(2, 26), "26, 26"),
    (code_cells_are_short, long_cells(9, 6), "the median cell has 6"),
    (prose_has_its_length, change(0, source="word " * 1196), "1199 words"),
    (prose_has_its_length, change(0, source="word " * 2598), "2601 words"),
    (prose_has_its_length, change(0, source="word " * 1195 + "$a b c$\n```{note} d"), "1199 words"),
    (attnlib_is_installed, change(2, source="import numpy"), "not imported"),
    (attnlib_is_installed, change(3, source="sys.path.insert(0, '..')"), "sys.path"),
    (numbers_are_short, change(3, outputs=[stream("0.3333333")]), "0.3333333"),
    (numbers_are_short, change(3, outputs=[shown(plain="[1.5, 12.345678]")]), "12.345678"),
    (numbers_are_short, change(3, outputs=[stream("1.2345678e-9")]), "1.2345678e-9"),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_a_sound_notebook_keeps_the_rule(rule):
    assert list(rule(sound())) == []


@pytest.mark.parametrize("rule, damage, found", BROKEN, ids=lambda x: getattr(x, "__name__", ""))
def test_a_broken_notebook_breaks_the_rule(rule, damage, found):
    nb = copy.deepcopy(sound())
    damage(nb)
    said = list(rule(nb))
    assert any(found in s for s in said), said


@pytest.mark.parametrize("path", NOTEBOOKS[:1], ids=lambda p: p.stem)
def test_a_notebook_saved_by_an_editor_is_not_normalised(path, tmp_path):
    nb = read(path)
    nb["cells"][1]["metadata"]["collapsed"] = False
    saved = tmp_path / path.name
    saved.write_text(json.dumps(nb), encoding="utf-8")
    module = script("run_notebooks")
    with pytest.raises(module.Refused, match="not normalised"):
        module.check(saved)


def test_every_public_function_is_shown_in_exactly_one_place():
    """A chapter shows each function of attnlib once, where it is explained."""
    names = [
        name
        for path in NOTEBOOKS
        for cell in code_cells(read(path))
        for call in re.findall(r"show_source\(([^)]*)\)", text(cell["source"]))
        for name in re.findall(r"attn\.(\w+)", call)
    ]
    assert sorted(names) == sorted(set(attnlib.__all__) - {"check", "show_source"})

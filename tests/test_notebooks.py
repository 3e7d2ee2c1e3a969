"""The book's notebooks as they are stored: nothing is executed here.

Each rule of rules.py is tried on a small notebook that was broken on purpose.
"""

import json
import re
from collections import Counter

import pytest
import rules
import yaml
from oracles import script
from stored import (
    BOOK,
    code,
    code_cells,
    markdown,
    notebook,
    read,
    shown,
    stream,
    text,
)

import attnlib

NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize(
    "path", NOTEBOOKS, ids=lambda path: path.stem
)


@each_notebook
def test_the_book_keeps_the_rules(path):
    assert list(rules.complaints(path)) == []


@each_notebook
def test_the_book_is_normalised(path):
    script("run_notebooks").check(path)


def test_chapters_are_numbered_as_their_files():
    toc = yaml.safe_load((BOOK.parent / "_toc.yml").read_text("utf-8"))
    files = {True: [], False: []}
    for part in toc["parts"]:
        files["numbered" in part] += [c["file"] for c in part["chapters"]]
    assert [name[:8] for name in files[True]] == [
        f"book/{n:02}-" for n in range(1, 14)
    ]
    assert not any(re.search(r"\d", name) for name in files[False])


def test_names_of_figures_are_unique_in_the_book():
    names = Counter(
        cell["metadata"]["mystnb"]["figure"]["name"]
        for path in NOTEBOOKS
        for cell in code_cells(read(path))
        if "figure" in cell["metadata"].get("mystnb", {})
    )
    assert names and max(names.values()) == 1


def test_every_public_function_is_used_and_shown_at_most_once():
    """A chapter uses each function of attnlib; at most one shows its source."""
    cells = [
        text(cell["source"])
        for path in NOTEBOOKS
        for cell in code_cells(read(path))
    ]
    shown = Counter(
        name
        for source in cells
        for call in re.findall(r"show_source\(([^)]*)\)", source)
        for name in re.findall(r"attn\.(\w+)", call)
    )
    used = {
        name
        for source in cells
        for name in re.findall(r"attn\.(\w+)", source)
    }
    assert max(shown.values()) == 1
    assert set(attnlib.__all__) - {"check", "show_source"} <= used


def test_the_index_says_what_the_chapters_say():
    index = "\n".join(rules.said(read(BOOK / "index.ipynb")))
    table = re.findall(
        r"^\| \{doc\}`\d+ <(\S+)>` .* \| (\d+) \|", index, re.M
    )
    chapters = [
        path for path in NOTEBOOKS if re.match(r"0\d|1[0-2]", path.stem)
    ]
    assert table == [
        (path.stem, str(*rules.said_minutes(read(path))))
        for path in chapters
    ]


def test_the_short_path_is_short():
    nb = read(BOOK / "index.ipynb")
    *_, last = nb["cells"]
    last["source"], paths = text(last["source"]).split("## Two paths")
    (claimed,) = re.findall(r"down to here, (\d+) minutes", paths)
    assert abs(int(claimed) - rules.minutes(nb)) <= 1


def glossary():
    words = (BOOK / "notation.md").read_text(encoding="utf-8")
    entries = re.search(r"```\{glossary\}\n(.*?)```", words, re.S)[1]
    return re.findall(r"(?:\A|\n\n)(\w[^\n]*)", entries)


def test_words_and_symbols_are_linked_once_a_chapter():
    """Each word of the glossary, and each symbol that has a place to link to."""
    notation = (BOOK / "notation.md").read_text(encoding="utf-8")
    wanted = {*glossary(), *re.findall(r"\{(#symbol-[\w-]+)\}", notation)}
    linked = set()
    for path in NOTEBOOKS:
        words = "\n".join(rules.said(read(path)))
        found = re.findall(
            r"\{term\}`(?:[^`<]+ <)?([^`>]+)>?`|\]\((#symbol-[\w-]+)\)",
            words,
        )
        counts = Counter(word or symbol for word, symbol in found)
        assert [w for w, n in counts.items() if n > 1] == [], path.stem
        linked |= set(counts)
    assert len(wanted) > 20 and linked == wanted


def test_chapters_of_the_first_part_begin_with_the_map_of_a_head():
    for number, path in enumerate(NOTEBOOKS[:7], start=1):
        map_cell = code_cells(read(path))[1]
        assert text(map_cell["source"]).endswith(f"head_map({number})")
        assert map_cell["metadata"]["tags"] == ["remove-input"]


def opening(path):
    """Question and answers of a chapter, links as the words that they show."""
    for words in map(rules.without_links, rules.said(read(path))):
        if found := re.search(
            r"^\*\*(.+[?.])\*\*\n\n(.+)", words, re.M | re.S
        ):
            return found.groups()


def test_one_page_says_what_the_chapters_say():
    """Each question with its answer, in the words with which the chapter opens."""
    page = "\n".join(rules.said(read(BOOK / "summary.ipynb")))
    items = re.findall(
        r"^\{doc\}`(\d+) <(\S+)>`\. \*\*(.+)\*\*\n((?:.+\n)+)", page, re.M
    )
    assert [number for number, *_ in items] == [
        f"{n}" for n in range(1, 13)
    ]
    for _, name, question, answer in items:
        asked, answered = opening(BOOK / f"{name}.ipynb")
        assert question == asked
        assert len(answer) > 80 and answer in answered + "\n"


ANSWER = (
    "Without the factor a wide head fails at its start: most of its rows are decided before "
    "anything is learned, and the gradient that is left comes from few rows and is mostly noise. "
    "Dividing by $\\sqrt{d_k}$ lets heads of every width start undecided, so that one learning "
    "rate can serve them all."
)


@pytest.mark.parametrize(
    "page",
    [
        "index",
        "summary",
        "05-collapse",
        "10-training",
        "wrong-answers",
        "13-ledger",
    ],
)
def test_the_answer_is_the_same_wherever_it_stands(page):
    cells = read(BOOK / f"{page}.ipynb")["cells"]
    said = [
        text(c["source"]) for c in cells if c["cell_type"] == "markdown"
    ]
    assert any(ANSWER in words for words in said)


# The rules on a notebook broken on purpose

SENTENCE, DRAW, FIGURE, EVIDENCE = 3, 4, 5, 7  # cells of the sound notebook


def sound():
    """A notebook that keeps every rule."""
    figure = {
        "figure": {"caption": "The gap grows.", "name": "fig-gap"},
        "image": {"alt": "A line."},
    }
    install = (
        'import sys\nif "google.colab" in sys.modules:\n    %pip install x'
    )
    hidden = ["colab-install", "remove-cell"]
    image = shown(png="iVBORw0KGgo=", plain="<Figure size 1x1>" + 60 * " ")
    evidence = shown(
        plain="✓ A01 · x: 0.123456789" + 60 * " ", html="<p></p>"
    )
    return notebook(
        markdown(
            "# A chapter\n\nThat is it. "
            + "word " * 1500
            + "\n```{note}\n```\n*8 minutes.* Go."
        ),
        code(install, count=1, tags=hidden),
        code("import numpy as np\nimport attnlib", count=2),
        markdown("## A draw\n\nWe draw three numbers."),
        code("default_rng(7)\nprint(1 / 3)", stream("0.333333\n"), count=3),
        code("plot()", image, count=4, mystnb=figure, tags=["hide-input"]),
        markdown("The gap is\n$$\nx = 1 .\n$$ (gap)"),
        code('x = 1\ncheck("A01", "x", x)', evidence, count=5),
    )


LISTED = {
    "output_type": "display_data",
    "data": {"text/markdown": "x\n" * 21},
}


def change(cell, **new):
    def damage(nb):
        nb["cells"][cell].update(new)

    return damage


def add(*cells):
    return lambda nb: nb["cells"].extend(cells)


def figure_without(*keys, value=""):
    def damage(nb):
        place = nb["cells"][FIGURE]["metadata"]["mystnb"]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return damage


def two_images(nb):
    nb["cells"][FIGURE]["outputs"] *= 2


def two_minutes(nb):
    nb["cells"][0]["source"] += "\n*8 minutes.*"


def prints(words):
    return change(DRAW, outputs=[stream(words)])


def runs(source):
    return change(DRAW, source=source)


BROKEN = {
    rules.code_follows_prose: [
        (
            change(SENTENCE, source="## A draw"),
            "code cell 3 (default_rng(7))",
        ),
        (change(SENTENCE, source="## Why does it grow?"), "code cell 3"),
        (change(SENTENCE, source="Then we draw"), "code cell 3"),
        (change(SENTENCE, source="Now:"), "code cell 3"),
        (change(SENTENCE, source="$$\nx = 1 .\n$$"), "code cell 3"),
        (
            change(SENTENCE, source="```{note} Of three words.\n```"),
            "cell 3",
        ),
        (add(code("x = 1")), "code cell 6 (x = 1)"),
        (
            add(code("y = 1", tags=["hide-input"]), code("x = 1")),
            "cell 7 (x =",
        ),
    ],
    rules.code_cells_are_short: [
        (runs("x = 1\n" * 17), "17 lines"),
        (change(DRAW, outputs=[LISTED]), "21 lines are listed"),
    ],
    rules.claims_are_checks: [
        (runs("for x in y:\n    assert x > 1"), "an assert"),
        (change(FIGURE, source="assert x > 1"), "an assert"),
    ],
    rules.no_cell_is_for_the_ledger_alone: [
        (runs('check("A01", "x", x)'), "nothing but check"),
        (runs("# two\nattn.check(x)\ncheck(y)"), "nothing but check"),
    ],
    rules.the_formatter_has_its_way: [
        (runs("x = [1,\n     2]  # fmt: skip"), "fmt: skip"),
        (runs("#fmt:off\nx = 1"), "fmt:off"),
    ],
    rules.printed_lines_fit: [
        (prints("x\n" + "-" * 61), "61 columns: ---"),
        (change(DRAW, outputs=[shown(plain="-" * 61)]), "61 columns"),
    ],
    rules.numbers_are_short: [
        (prints("0.3333333"), "0.3333333"),
        (
            change(DRAW, outputs=[shown(plain="[1.5, 12.345678]")]),
            "12.345678",
        ),
        (prints("1.2345678e-9"), "1.2345678e-9"),
    ],
    rules.figures_are_described: [
        (figure_without("figure", "caption"), "no caption"),
        (figure_without("figure", "name"), "no name"),
        (figure_without("image", "alt", value=" "), "no alt"),
        (figure_without("image", "alt", value="The gap grows."), "repeats"),
        (two_images, "2 images"),
        (change(FIGURE, metadata={}), "no caption"),
        (
            change(FIGURE, metadata={}, source="figures.head_map(1)"),
            "no alt",
        ),
    ],
    rules.prose_has_its_length: [
        (change(0, source="word " * 1485), "1499 words"),
        (change(0, source="word " * 2187), "2201 words"),
        (
            change(0, source="word " * 1484 + "$a b c$\n```{note} d"),
            "1499 words",
        ),
        (
            change(0, source="word " * 1483 + "{doc}`to it <a-page>`"),
            "1499 words",
        ),
    ],
    rules.minutes_are_right: [
        (change(0, source="word " * 1500), "says [] minutes, not 8.6"),
        (change(0, source="word " * 1500 + "\n*10 minutes.*"), "not 8.6"),
        (change(0, source="word " * 1800 + "\n*8 minutes.*"), "not 10."),
        (two_minutes, "says [8, 8]"),
    ],
    rules.chapters_are_cited_by_number: [
        (change(SENTENCE, source="In chapter 5 we"), "chapter 5"),
        (change(SENTENCE, source="It is in {doc}`05-collapse`."), "title"),
        (change(0, source="{doc}`Collapse <05-collapse>`"), "no number"),
        (change(0, source="{doc}`chapter 6 <05-collapse>`"), "no number"),
        (figure_without("figure", "caption", value="See chapter 5."), "no"),
    ],
    rules.executed_in_order: [
        (change(DRAW, execution_count=None), "None"),
        (change(DRAW, execution_count=2), "[1, 2, 2, 4, 5]"),
        (lambda nb: nb["cells"].reverse(), "[5, 4"),
    ],
    rules.no_errors_no_stderr: [
        (change(DRAW, outputs=[stream("oh", "stderr")]), "stderr"),
        (
            change(DRAW, outputs=[{"output_type": "error", "ename": "Oh"}]),
            "Oh",
        ),
    ],
    rules.no_warnings: [
        (prints("x.py:1: RuntimeWarning: oh"), "RuntimeWarning"),
        (
            change(DRAW, outputs=[shown(html="<b>UserWarning</b>")]),
            "UserWarning",
        ),
    ],
    rules.no_trace_of_a_machine: [
        (prints("in /home/ada/book"), "/home/"),
        (prints("/tmp/x"), "/tmp/"),
        (prints("/root/x"), "/root"),
        (prints("/Users/ada"), "/Users/"),
        (prints(r"C:\book"), "C:"),
        (prints("lib/site-packages/x"), "site-packages"),
        (prints("<object at 0x7f51efeca250>"), "0x7f51efeca250"),
        (prints("at 12:34:56"), "12:34:56"),
        (prints("2026-01-02T03:04"), "2026-01-02T03:04"),
        (prints("Jan  2 03:04"), "Jan  2 03:04"),
        (runs("open('/home/ada/x')"), "/home/"),
        (
            change(DRAW, metadata={"run": "2026-01-02T03:04:05"}),
            "2026-01-02",
        ),
        (lambda nb: nb["metadata"].update(path="/tmp/x"), "/tmp/"),
    ],
    rules.kernel_is_python3: [
        (
            lambda nb: nb["metadata"]["kernelspec"].update(name="venv"),
            "venv",
        ),
        (lambda nb: nb["metadata"].clear(), "None"),
    ],
    rules.attnlib_is_installed: [
        (change(2, source="import numpy"), "not imported"),
        (runs("sys.path.insert(0, '..')"), "sys.path"),
    ],
    rules.random_draws_are_seeded: [
        (runs("np.random.default_rng()"), "without a seed"),
        (runs("default_rng()"), "without a seed"),
        (runs("np.random.default_rng(None)"), "without a seed"),
        (runs("np.random.default_rng(seed=None)"), "without a seed"),
        (runs("np.random.normal(3)"), "np.random.normal"),
        (runs("numpy.random.seed(1)"), "np.random.seed"),
        (runs("import random"), "random"),
        (runs("from random import choice"), "random"),
        (
            runs("from numpy.random import normal\nimport secrets"),
            "secrets",
        ),
    ],
}

KEPT = {
    rules.code_follows_prose: [
        change(SENTENCE, source="In matrices,\n$$\nx = 1 .\n$$"),
        change(SENTENCE, source="**It draws three numbers:**"),
        add(code("x = 1", tags=["remove-cell"])),
        add(markdown("We draw once."), markdown("## Again"), code("x = 1")),
    ],
    rules.code_cells_are_short: [
        runs("x = 1\n" * 16 + "\n\n"),
        change(FIGURE, source="x = 1\n" * 26),
        change(DRAW, outputs=[LISTED], metadata={"tags": ["hide-output"]}),
    ],
    rules.no_cell_is_for_the_ledger_alone: [runs("check(x)\nx")],
    rules.the_formatter_has_its_way: [runs("# a format: skip it")],
    rules.printed_lines_fit: [
        prints("-" * 60 + "\n" + "✓ A01 · " + 60 * "-"),
        change(DRAW, outputs=[shown(plain="-" * 61, html="<p></p>")]),
    ],
    rules.chapters_are_cited_by_number: [
        change(
            0, source="{doc}`Chapter 5 <05-collapse>`, {doc}`a <index>`"
        ),
        change(0, source="chapters {doc}`9 <09-backward>`"),
    ],
    rules.random_draws_are_seeded: [runs("from . import x\nimport numpy")],
}


@pytest.mark.parametrize("rule", rules.RULES)
def test_a_sound_notebook_keeps_the_rule(rule):
    assert list(rule(sound())) == []
    for harmless in KEPT.get(rule, []):
        nb = sound()
        harmless(nb)
        assert list(rule(nb)) == []


def test_every_rule_is_tried():
    assert set(BROKEN) == set(rules.RULES)


@pytest.mark.parametrize(
    "rule, damage, found",
    [(rule, *case) for rule, cases in BROKEN.items() for case in cases],
)
def test_a_broken_notebook_breaks_the_rule(rule, damage, found):
    nb = sound()
    damage(nb)
    said = list(rule(nb))
    assert any(found in words for words in said), said


def test_a_page_that_argues_nothing_may_be_short(tmp_path):
    for name, expected in (
        ("01-x", ["prose_has_its_length", "minutes_are_right"]),
        ("index", []),
    ):
        path = tmp_path / f"{name}.ipynb"
        nb = sound()
        nb["cells"][0]["source"] = "Few words are here."
        path.write_text(json.dumps(nb), encoding="utf-8")
        assert [rule for rule, _ in rules.complaints(path)] == expected

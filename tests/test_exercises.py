"""The exercises: stubs read "not answered yet", wrong answers are refused, solutions accepted."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import sympy

import attnlib as attn
from attnlib.book.exercises import EXERCISES, _projected, answer

BOOK = Path(__file__).resolve().parent.parent / "book"
CHAPTERS = sorted({*BOOK.glob("0[1-9]-*.ipynb"), *BOOK.glob("1[0-2]-*.ipynb")})
A, N = sympy.symbols("a n", positive=True)

# Mistakes that a reader could make, for each exercise.
MISTAKES = {
    "01-one-hot": [
        lambda ids, e: e,
        lambda ids, e: np.eye(len(e))[ids],
        lambda ids, e: e[ids],
        lambda ids, e: np.eye(len(e))[ids] @ e + 1e-6,
    ],
    "01-head-width": [512, 8, 22.6],
    "02-symmetric": [
        np.zeros((8, 4)),
        np.ones((8, 4)),
        np.eye(8)[:, :4],
        np.ones(4),
        1e-9 * np.random.default_rng(0).random((8, 4)),
    ],
    "02-key-bias": [0, 1.0, -0.0196],
    "03-odds": [5, np.e, np.exp(-5), np.exp(3)],
    "03-sharpness": [1, 2.2, 1 / 2.2934, 0.9],
    "03-stable": [
        lambda s: np.exp(s - s.max()),
        lambda s: s / s.sum(),
        lambda s: attn.softmax(s) + 1e-6,
    ],
    "04-two-tokens": [0.881, 0.25, -0.105],
    "04-vjp": [
        lambda a, g: a * g,
        lambda a, g: a * (g - g.mean()),
        lambda a, g: attn.softmax_jacobian(a),
        lambda a, g: attn.softmax_jacobian(a) @ g,
    ],
    "04-sharpness": [
        lambda b, s: attn.softmax(b * s),
        lambda b, s: b * attn.softmax_vjp(attn.softmax(b * s), s),
    ],
    "05-gap": [np.log(8 * 0.95 / 0.05), np.log(7), np.log(7 * 0.05 / 0.95)],
    "05-two-level": [1 - A**2, A * (1 - A), 1 - A**2 - (1 - A) ** 2 / N, "1 - a**2"],
    "05-taking-part": [13, 3.0, 0.28],
    "06-correlated": [64, 64 + 64 * 63 * 0.1, 64 * 1.01],
    "06-linear-init": [1, 1 / 4, 1 / 3, 1 / np.sqrt(2)],
    "06-both-sides": [1 / 8, 8, 64**0.25],
    "08-half-frozen": [2 * np.log(512), 5, 512],
    "08-stein": [2, 1, 0.5],
    "09-loudest": [
        lambda r, p: int(np.sum(np.cumsum(np.sort(r)[::-1]) < p * r.sum())) + 1,
        lambda r, p: int(np.sum(np.cumsum(np.sort(r**2)[::-1]) < p * np.sum(r**2))),
        lambda r, p: int(np.sum(np.cumsum(np.sort(r**2)) < p * np.sum(r**2))) + 1,
        lambda r, p: p * len(r),
    ],
    "09-half-cure": [1 / 4, 0, 1 / 2, -1 / 8],
    "09-lead": [0.2502, 0.5, 1 / np.sqrt(2 * np.log(1024))],
    "10-twin-rate": [2, 16, 1 / 32, 2 * 64**-0.25],
    "10-gain": [1 / 256, 1 / 4, 16],
    "10-samples": [1, 0.1, 0.0425],
    "12-gain": [np.log(4095), np.log(9 * 4095) / 2, 64, np.log(4096)],
    "12-context": [1 / (1 + 511 * np.exp(-9)), 1 / (1 + 32767 * np.exp(-9)), 1, 0.9],
    "12-t5-adam": [1 / 64, 8, 1, 64],
    "11-row-variance": [
        lambda q, k: np.var(q @ k.T, axis=1),  # forms the scores
        lambda q, k: np.sum(q**2, axis=1) * np.trace(np.cov(k.T, bias=True)) / q.shape[1],
        lambda q, k: np.sum((q @ np.cov(k.T)) * q, axis=1),
        lambda q, k: np.sum((q @ k.T @ k) * q, axis=1) / len(k),
    ],
    "11-next-token": [0.02, 1, 0.2],
    "07-shape": [(10, 384), (512, 10), (8, 10, 48)],
    "07-value-gradient": [
        lambda w, g: w @ g if w.shape[1] == len(g) else g,
        lambda w, g: 2 * w.T @ g,
    ],
    "07-mean": [
        np.zeros(32),
        np.ones(32),
        np.zeros(13),
        _projected()[2][:, :32],
        attn.scaled_dot_product_attention(*_projected(), scale=0),
    ],
}
NEVER_RIGHT = [
    None,
    "yes",
    float("nan"),
    float("inf"),
    [],
    {},
    object(),
    np.full((2, 2), 7.0),
    -1e9,
]


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def asked(path):
    """[(exercise, stub or solution, stored output)] of every call of answer(…) in a chapter."""
    found, in_solution = [], False
    for cell in cells(path):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            for start, _end in re.findall(r"```\{(solution-start)\}|```\{(solution-end)\}", source):
                in_solution = bool(start)
        for name in re.findall(r'^answer\("([^"]+)"', source, re.MULTILINE):
            text = "".join(t for o in cell["outputs"] for t in o.get("text", ()))
            found.append((name, "solution" if in_solution else "stub", text))
    return found


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_solution_cells_are_folded_in_jupyterlab_too(path):
    in_solution = False
    for cell in cells(path):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            for start, _ in re.findall(r"```\{solution-(start)\}|```\{solution-(end)\}", source):
                in_solution = bool(start)
        else:
            hidden = cell["metadata"].get("jupyter", {}).get("source_hidden", False)
            assert hidden == in_solution, source


def reply(capsys, *arguments):
    answer(*arguments)
    return capsys.readouterr().out


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_stored_stubs_are_untouched_and_stored_solutions_accepted(path):
    found = asked(path)
    for name, place, text in found:
        expected = f"✓ {name}: right" if place == "solution" else f"· {name}: not answered yet"
        assert expected in text, f"{path.name}: {place} of {name} printed {text!r}"
    stubs = [name for name, place, _ in found if place == "stub"]
    solutions = [name for name, place, _ in found if place == "solution"]
    assert stubs == solutions, "one stub and one solution for each exercise, in one order"
    assert 2 <= len(stubs) <= 3
    assert all(name.startswith(path.stem[:2]) for name in stubs)


def test_every_exercise_stands_in_exactly_one_chapter():
    stubs = [name for path in CHAPTERS for name, place, _ in asked(path) if place == "stub"]
    assert sorted(stubs) == sorted(EXERCISES) == sorted(MISTAKES)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_exercises_and_solutions_are_directives_that_belong_together(path):
    text = "\n".join("".join(c["source"]) for c in cells(path) if c["cell_type"] == "markdown")
    labels = re.findall(r"```\{exercise\}.*\n:label: (\S+)", text)
    folded = re.findall(r"```\{solution-start\} (\S+)\n:class: dropdown", text)
    assert labels == folded and len(labels) >= 2
    assert len(folded) == len(re.findall(r"```\{solution-end\}", text))


@pytest.mark.parametrize("name", EXERCISES)
def test_untouched_stub(name, capsys):
    assert reply(capsys, name) == reply(capsys, name, ...) == f"· {name}: not answered yet\n"


@pytest.mark.parametrize("name", EXERCISES)
def test_wrong_answers_are_refused_with_the_hint(name, capsys):
    for wrong in MISTAKES[name] + NEVER_RIGHT:
        text = reply(capsys, name, wrong)
        assert text.startswith(f"· {name}: not right yet"), f"{name} took {wrong!r}"
        assert EXERCISES[name].hint in text


@pytest.mark.parametrize("name", EXERCISES)
def test_a_refusal_gives_nothing_away(name, capsys):
    """Two different wrong answers get the same reply, and the solution's number is not in it."""
    number = {
        "01-head-width": "64",
        "03-odds": "148.4",
        "03-sharpness": "2.29",
        "04-two-tokens": "0.105",
        "05-gap": "4.89",
        "05-taking-part": "3.57",
        "06-correlated": "104",
        "06-linear-init": "0.5",
        "06-both-sides": "0.35",
        "02-key-bias": "0.0",
    }
    first, second = (reply(capsys, name, wrong) for wrong in (-1e9, -2e9))
    assert first == second
    assert number.get(name, "impossible") not in first


def test_unknown_exercise():
    with pytest.raises(KeyError):
        answer("99-none", 1)


@pytest.mark.parametrize(
    "right",
    [
        1 - A**2 - (1 - A) ** 2 / (N - 1),
        "1 - a**2 - (1 - a)**2/(n - 1)",
        "(1-a)*(n*a + n - 2)/(n - 1)",
    ],
)
def test_an_expression_may_be_written_in_any_way(right, capsys):
    assert reply(capsys, "05-two-level", right) == "✓ 05-two-level: right\n"


def test_a_function_that_raises_is_answered_not_raised(capsys):
    text = reply(capsys, "04-vjp", lambda a, grad: 1 / 0)
    assert "ZeroDivisionError" in text and "not right yet" in text

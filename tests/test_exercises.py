"""The exercises: stubs are not answered, mistakes refused, solutions taken."""

import json
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy
import sympy
from scipy.optimize import brentq

import attnlib as attn
from attnlib import random_energy, retrieval
from attnlib.book import answer, exercises, minilm_heads, running_example
from attnlib.book.exercises import EXERCISES

BOOK = Path(__file__).resolve().parent.parent / "book"
CHAPTERS = sorted(
    {*BOOK.glob("0[1-9]-*.ipynb"), *BOOK.glob("1[0-2]-*.ipynb")}
)
EXAMPLE = running_example()
A, N = sympy.symbols("a n", positive=True)


def softmax_peak(scores):
    return scipy.special.softmax(scores).max()


def key_bias_effect():
    query = EXAMPLE.query[3]
    without = EXAMPLE.layer_input @ EXAMPLE.w_key
    return (query @ (EXAMPLE.key - without).T).mean()


def equicorrelated_variance(d=64, rho=0.1):
    cov = rho * np.ones((d, d)) + (1 - rho) * np.eye(d)
    return attn.dot_product_variance(np.zeros(d), cov, np.zeros(d), cov)


def stacked_init_spread(d=384, d_k=32):
    bound = np.sqrt(6 / (d + 3 * d))
    entry = (
        d * scipy.stats.uniform(-bound, 2 * bound).var()
    )  # of q and of k
    mean, cov = np.zeros(d_k), entry * np.eye(d_k)
    variance = attn.dot_product_variance(mean, cov, mean, cov)
    return np.sqrt(variance / d_k)


def layer_shape():
    x, w = np.zeros((10, 512)), np.zeros((512, 8 * 48))
    return attn.multi_head_attention(x, w, w, w, w.T, heads=8).shape


def value_gradient(weights, grad_output):
    # Scores ln a against keys that are unit vectors give the weights a.
    key = np.eye(weights.shape[1])
    value = np.zeros((weights.shape[1], grad_output.shape[1]))
    return attn.scaled_dot_product_attention_vjp(
        grad_output, np.log(weights), key, value, scale=1
    )[2]


def half_frozen_width():
    width = np.linspace(1, 50, 2000)
    ipr = [
        random_energy.expected_inverse_participation_ratio(512, sigma)
        for sigma in np.sqrt(width)
    ]
    return np.interp(1 / 2, ipr, width)


def loudest_one_by_one(r, p):
    energy, count = sorted(r**2), 0
    total, carried = sum(energy), 0
    while carried < p * total:
        carried, count = carried + energy.pop(), count + 1
    return count


def gradient_exponent(factor=-1 / 4):
    """Exponent in d_k of the RMS gradient, with scores times d_k^factor."""
    width = np.array([1e60, 1e61])
    norm = [
        random_energy.frozen_squared_jacobian_norm(m)
        for m in width ** (-0.5 - factor)
    ]
    energy = width ** (2 * factor + 1) * norm
    return np.log10(energy[1] / energy[0]) / 2


def median_lead(n=1024):
    norm = scipy.stats.norm

    def leads_by(lead):
        def integrand(x):
            return n * norm.pdf(x) * norm.cdf(x - lead) ** (n - 1)

        return scipy.integrate.quad(integrand, -8, 10)[0]

    return brentq(lambda lead: leads_by(lead) - 0.5, 0, 3)


def other_gain(width=256):
    """The gain at which raw weights are those of scores divided by d_k."""
    query, key = np.random.default_rng(0).normal(size=(2, 5, width))
    wanted = attn.inverse_width_weights(query, key)[0, 0]

    def excess(gain):
        raw = attn.attention_weights(gain * query, gain * key, scale=1)
        return raw[0, 0] - wanted

    return brentq(excess, 0.01, 0.5)


def next_token_weight(sentence=1, layer=1, head=8):
    tokens, query, key = minilm_heads().of(sentence)
    scores = query[layer, head] @ key[layer, head].T / np.sqrt(32)
    weights = scipy.special.softmax(scores, axis=-1)
    return np.mean([weights[i, i + 1] for i in range(len(tokens) - 1)])


def row_variance(query, key):
    cov = np.cov(key.T, bias=True)
    return np.sum((query @ cov) * query, axis=1)


def needed_gain(n=4096):
    query, key = np.ones((1, 1)), np.r_[1.0, -np.ones(n - 1)][:, None]
    return brentq(
        lambda gain: (
            attn.qk_norm_weights(query, key, gain=gain)[0, 0] - 0.5
        ),
        0,
        50,
    )


def leader_in_longer_context(n=32768):
    query, key = np.ones((1, 1)), np.r_[9.0, np.zeros(n - 1)][:, None]
    weights = attn.length_scaled_weights(query, key, reference_length=512)
    return weights[0, 0]


def adam_rate_for_folded_factor(d_k=64):
    """Adam's first step is the gradient's sign times the rate; ∂L/∂s = 1."""
    x = np.ones((1, 3))
    key = np.random.default_rng(0).normal(size=(1, d_k))

    def moved(scale):
        step = -np.sign(x.T @ (scale * key))
        return scale * (x @ step @ key.T).item()

    return moved(d_k**-0.5) / moved(1)


def noise_over_signal(*row):
    energy = random_energy.expected_squared_jacobian_norm(*row)
    return energy / random_energy.expected_jacobian_trace(*row) ** 2


# Right answers, each found in another way than the exercise finds it.
RIGHT = {
    "01-one-hot": lambda ids, e: np.eye(len(e))[ids] @ e,
    "01-head-width": attn.split_heads(np.ones((3, 512)), 8).shape[-1],
    "02-symmetric": exercises.key_exercise_query_matrix() @ np.ones((4, 4)),
    "02-key-bias": key_bias_effect(),
    "03-odds": np.divide(*attn.softmax(np.array([5.0, 0.0]))),
    "03-sharpness": brentq(
        lambda beta: softmax_peak([beta, 2 * beta, 3 * beta]) - 0.9, 0, 50
    ),
    "03-stable": scipy.special.softmax,
    "04-two-tokens": np.exp(2) / (1 + np.exp(2)) ** 2,
    "04-vjp": lambda a, grad: a * (grad - a @ grad),
    "04-sharpness": lambda beta, s: (
        attn.softmax_jacobian(attn.softmax(beta * s)) @ s
    ),
    "05-gap": brentq(
        lambda gap: softmax_peak([gap] + 7 * [0]) - 0.95, 0, 50
    ),
    "05-two-level": 1 - A**2 - (1 - A) ** 2 / (N - 1),
    "05-taking-part": 1
    / np.sum(attn.attention_weights(EXAMPLE.query, EXAMPLE.key)[8] ** 2),
    "06-correlated": equicorrelated_variance(),
    "06-linear-init": stacked_init_spread(),
    "06-both-sides": np.sqrt(attn.default_scale(64)),
    "07-shape": layer_shape(),
    "07-value-gradient": value_gradient,
    "07-mean": attn.scaled_dot_product_attention(
        EXAMPLE.query, EXAMPLE.key, EXAMPLE.value, scale=0
    )[3],
    "08-half-frozen": half_frozen_width(),
    "08-stein": np.diff(
        [random_energy.expected_log_partition(100, s) for s in (1.99, 2.01)]
    )
    / 0.02,
    "09-loudest": loudest_one_by_one,
    "09-half-cure": gradient_exponent(),
    "09-lead": median_lead(),
    "10-twin-rate": retrieval.raw_equivalent(64, "sgd", 2.0)[
        "learning_rate"
    ],
    "10-gain": other_gain(),
    "10-samples": noise_over_signal(64, 512**0.5),
    "11-row-variance": row_variance,
    "11-next-token": next_token_weight(),
    "12-gain": needed_gain(),
    "12-context": leader_in_longer_context(),
    "12-t5-adam": adam_rate_for_folded_factor(),
}

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
        exercises.key_exercise_query_matrix() + 0.01 * np.eye(8)[:, :4],
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
    "05-two-level": [
        1 - A**2,
        A * (1 - A),
        1 - A**2 - (1 - A) ** 2 / N,
        "1 - a**2",
    ],
    "05-taking-part": [13, 3.0, 0.28],
    "06-correlated": [64, 64 + 64 * 63 * 0.1, 64 * 1.01],
    "06-linear-init": [1, 1 / 4, 1 / 3, 1 / np.sqrt(2)],
    "06-both-sides": [1 / 8, 8, 64**0.25],
    "08-half-frozen": [2 * np.log(512), 5, 512],
    "08-stein": [2, 1, 0.5],
    "09-loudest": [
        lambda r, p: (
            int(np.sum(np.cumsum(np.sort(r)[::-1]) < p * r.sum())) + 1
        ),
        lambda r, p: int(
            np.sum(np.cumsum(np.sort(r**2)[::-1]) < p * np.sum(r**2))
        ),
        lambda r, p: (
            int(np.sum(np.cumsum(np.sort(r**2)) < p * np.sum(r**2))) + 1
        ),
        lambda r, p: p * len(r),
    ],
    "09-half-cure": [1 / 4, 0, 1 / 2, -1 / 8],
    "09-lead": [0.2502, 0.5, 1 / np.sqrt(2 * np.log(1024))],
    "10-twin-rate": [2, 16, 1 / 32, 2 * 64**-0.25],
    "10-gain": [1 / 256, 1 / 4, 16],
    "10-samples": [1, 0.1, 0.0425],
    "12-gain": [np.log(4095), np.log(9 * 4095) / 2, 64, np.log(4096)],
    "12-context": [
        1 / (1 + 511 * np.exp(-9)),
        1 / (1 + 32767 * np.exp(-9)),
        1,
        0.9,
    ],
    "12-t5-adam": [1 / 64, 8, 1, 64],
    "11-row-variance": [
        lambda q, k: np.var(q @ k.T, axis=1),  # forms the scores
        lambda q, k: (
            np.sum(q**2, axis=1)
            * np.trace(np.cov(k.T, bias=True))
            / q.shape[1]
        ),
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
        EXAMPLE.value[:, :32],
        attn.scaled_dot_product_attention(
            EXAMPLE.query, EXAMPLE.key, EXAMPLE.value, scale=0
        ),
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
            for start, _end in re.findall(
                r"```\{(solution-start)\}|```\{(solution-end)\}", source
            ):
                in_solution = bool(start)
        for name in re.findall(r'^answer\("([^"]+)"', source, re.MULTILINE):
            text = "".join(
                t for o in cell["outputs"] for t in o.get("text", ())
            )
            found.append(
                (name, "solution" if in_solution else "stub", text)
            )
    return found


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_solution_cells_are_folded_in_jupyterlab_too(path):
    in_solution = False
    for cell in cells(path):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            for start, _ in re.findall(
                r"```\{solution-(start)\}|```\{solution-(end)\}", source
            ):
                in_solution = bool(start)
        else:
            hidden = (
                cell["metadata"]
                .get("jupyter", {})
                .get("source_hidden", False)
            )
            is_map = "figures.head_map(" in source
            assert hidden == (in_solution or is_map), source


def reply(capsys, *arguments):
    answer(*arguments)
    return capsys.readouterr().out


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_stored_stubs_are_untouched_and_stored_solutions_accepted(path):
    found = asked(path)
    for name, place, text in found:
        expected = (
            f"✓ {name}: right"
            if place == "solution"
            else f"· {name}: not answered yet"
        )
        assert expected in text, (
            f"{path.name}: {place} of {name} printed {text!r}"
        )
    stubs = [name for name, place, _ in found if place == "stub"]
    solutions = [name for name, place, _ in found if place == "solution"]
    assert stubs == solutions, (
        "one stub and one solution for each exercise, in one order"
    )
    assert 2 <= len(stubs) <= 3
    assert all(name.startswith(path.stem[:2]) for name in stubs)


def test_every_exercise_stands_in_exactly_one_chapter():
    stubs = [
        name
        for path in CHAPTERS
        for name, place, _ in asked(path)
        if place == "stub"
    ]
    assert sorted(stubs) == sorted(EXERCISES)
    assert EXERCISES.keys() == MISTAKES.keys() == RIGHT.keys()


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_exercises_and_solutions_are_directives_that_belong_together(path):
    text = "\n".join(
        "".join(c["source"])
        for c in cells(path)
        if c["cell_type"] == "markdown"
    )
    labels = re.findall(r"```\{exercise\}.*\n:label: (\S+)", text)
    folded = re.findall(
        r"```\{solution-start\} (\S+)\n:class: dropdown", text
    )
    assert labels == folded and len(labels) >= 2
    assert len(folded) == len(re.findall(r"```\{solution-end\}", text))


@pytest.mark.parametrize("name", EXERCISES)
def test_untouched_stub(name, capsys):
    assert (
        reply(capsys, name)
        == reply(capsys, name, ...)
        == f"· {name}: not answered yet\n"
    )


@pytest.mark.parametrize("name", EXERCISES)
def test_wrong_answers_are_refused_with_the_hint(name, capsys):
    for wrong in MISTAKES[name] + NEVER_RIGHT:
        text = reply(capsys, name, wrong)
        assert text.startswith(f"· {name}: not right yet"), (
            f"{name} took {wrong!r}"
        )
        assert EXERCISES[name].hint in text


@pytest.mark.parametrize("name", EXERCISES)
def test_a_refusal_gives_nothing_away(name, capsys):
    """Wrong answers get one reply, and the solution's number is not in it."""
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


@pytest.mark.parametrize("name", EXERCISES)
def test_right_answers_are_taken(name, capsys):
    assert reply(capsys, name, RIGHT[name]) == f"✓ {name}: right\n"


NUMBERS = [name for name, right in RIGHT.items() if np.isscalar(right)]


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_asked_for_to_three_digits(name, capsys):
    right = float(RIGHT[name])
    for near in (right * 0.996, right * 1.004):
        assert reply(capsys, name, near) == f"✓ {name}: right\n"
    for off in (right * 0.994, right * 1.006, -right):
        assert "It takes a number, to three digits." in reply(
            capsys, name, off
        )


def test_unknown_exercise():
    with pytest.raises(KeyError):
        answer("99-none", 1)


def test_a_refusal_says_what_it_takes_and_gives_the_hint(capsys):
    assert reply(capsys, "12-gain", 64) == (
        "· 12-gain: not right yet. It takes a number, to three digits. "
        "Hint: at best it has +g and all others -g.\n"
    )
    assert reply(capsys, "12-gain", []) == reply(capsys, "12-gain", 64)


def test_an_answer_that_raises_is_answered_with_the_reason(capsys):
    text = reply(capsys, "04-vjp", lambda a, grad: 1 / 0)
    assert text.startswith(
        "· 04-vjp: not right yet (ZeroDivisionError on the way: "
        "division by zero). It takes a function of a and grad. Hint: "
    )


KINDS = {
    "01-one-hot": "a function of ids and embedding",
    "02-symmetric": "an array of shape (8, 4), not all zero",
    "03-stable": "a function of one array",
    "05-two-level": "a sympy expression in a and n",
    "07-shape": "a tuple of two integers",
    "07-mean": "an array of 32 numbers",
}


@pytest.mark.parametrize("name", KINDS)
def test_a_refusal_names_the_kind_of_answer(name, capsys):
    assert f"It takes {KINDS[name]}. Hint: " in reply(capsys, name, -1e9)


# --- the kinds of exercises --------------------------------------------------


@pytest.mark.parametrize(
    "make, asked, kind, right",
    [
        ("number", {"expected": 2}, "a number, to three digits", 2),
        ("array", {"expected": [2], "kind": "a list"}, "a list", [2]),
        ("function", {"reference": abs, "of": "x"}, "a function of x", abs),
        (
            "expression",
            {"formula": "b + 1", "of": "b"},
            "a sympy expression in b",
            "1 + b",
        ),
    ],
)
def test_an_exercise_knows_its_kind_and_its_hint(make, asked, kind, right):
    exercise = getattr(exercises, make)(**asked, hint="why")
    assert (exercise.kind, exercise.hint) == (kind, "why")
    assert exercise.accepts(right)


def test_a_number_may_come_in_any_clothes():
    accepts = exercises.number(1, hint="").accepts
    right = [
        1,
        1.0,
        np.float32(1),
        [1.0],
        np.ones((1, 1)),
        sympy.Integer(1),
    ]
    assert all(map(accepts, right))
    assert not any(map(accepts, ["1", True, [1.0, 1.0], [], 2]))


def test_what_is_computed_is_computed_when_an_answer_is_looked_at():
    calls = []
    exercise = exercises.number(lambda: calls.append(1) or 3, hint="")
    assert not calls
    assert exercise.accepts(3) and calls == [1]


def test_an_array_must_have_the_shape_and_four_digits():
    accepts = exercises.array([1.0, 0.0], kind="", hint="").accepts
    assert accepts((1.00009, 0)) and accepts(np.array([1.0, 1e-13]))
    for wrong in ([1.0002, 0], [1.0, 1e-11], [[1.0, 0.0]], [1.0], 1.0):
        assert not accepts(wrong)


def asks_for_cumsum(*inputs):
    return exercises.function(np.cumsum, *inputs, of="", hint="").accepts


def test_a_function_must_agree_on_every_input():
    accepts = asks_for_cumsum((np.ones(1),), (np.ones(3),))
    assert accepts(lambda x: np.cumsum(x) * (1 + 1e-9))
    assert not accepts(lambda x: np.cumsum(x) * (1 + 1e-7))
    assert not accepts(lambda x: x)  # right for the first
    assert not accepts(lambda x: np.cumsum(x)[:, None])
    assert not accepts(np.arange(1.0, 4.0))


def test_a_function_may_overwrite_what_it_is_given():
    given = np.ones(3)
    accepts = asks_for_cumsum((given,))
    assert accepts(lambda x: np.cumsum(x, out=x))
    assert not accepts(lambda x: np.multiply(x, 0, out=x))
    assert given.tolist() == [1, 1, 1]


def test_a_function_must_do_with_little_memory():
    accepts = asks_for_cumsum((np.ones(3),))
    assert accepts(lambda x: np.cumsum(x) + np.zeros(560_000)[:3])
    assert not accepts(lambda x: np.cumsum(x) + np.zeros(640_000)[:3])
    assert not tracemalloc.is_tracing()
    with pytest.raises(ZeroDivisionError):
        accepts(lambda x: 1 / 0)
    assert not tracemalloc.is_tracing()


def test_a_lookup_that_indexes_is_told_so(capsys):
    text = reply(
        capsys, "01-one-hot", lambda ids, embedding: embedding[ids]
    )
    assert "(TypeError on the way: embedding was indexed)" in text


def test_an_expression_must_be_equal_and_its_symbols_count_by_name():
    accepts = exercises.expression("(b + 1)**2", of="b", hint="").accepts
    b = sympy.Symbol("b", positive=True)
    assert accepts(b**2 + 2 * b + 1) and accepts("1 + b*(b + 2)")
    wrong = b**2 + 2 * b, b**2 + 2 * b + 2, -((b + 1) ** 2), "(c + 1)**2", 1
    assert not any(map(accepts, wrong))


@pytest.mark.parametrize("size", range(2, 7))
def test_the_two_level_trace_is_that_of_the_jacobian_written_out(size):
    weights = sympy.Matrix([A] + [(1 - A) / (size - 1)] * (size - 1))
    jacobian = sympy.diag(*weights) - weights * weights.T
    formula = RIGHT["05-two-level"].subs(N, size)
    assert sympy.simplify(formula - jacobian.trace()) == 0


@pytest.mark.parametrize("wrong", ["b", "1 - ", [1], None, "a + n"])
def test_a_refused_expression_does_not_give_the_formula_away(wrong, capsys):
    text = reply(capsys, "05-two-level", wrong).partition("Hint")[0]
    assert "a**2" not in text and "(n - 1)" not in text


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

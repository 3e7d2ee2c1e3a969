"""Exercises that check themselves: stubs and solutions call `answer`.

`EXERCISES` holds the right answers: a formula where a formula is the
answer, else what attnlib computes. A reply never shows them.
"""

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

import attnlib as attn
from attnlib import random_energy
from attnlib.book.data import minilm_heads, running_example


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes
    ----------
    kind : str
        What it takes: "a number", "a function of one array", …
    hint : str
        What a reader is told whose answer is wrong.
    accepts : function
        Whether an answer is right; what a wrong one raises is not caught.
    """

    kind: str
    hint: str
    accepts: Callable[[Any], bool]


def answer(name: str, value: Any = ...) -> None:
    """Say whether an answer is right, with a hint if it is not.

    Parameters
    ----------
    name : str
        The exercise.
    value : object
        The answer. ``...``, the untouched stub, reads as not answered yet.
        A wrong one is answered by saying what the exercise takes.

    Raises
    ------
    KeyError
        For an unknown exercise; never for an answer.
    """
    exercise, reason = EXERCISES[name], ""
    if value is ...:
        print(f"· {name}: not answered yet")
        return
    try:
        if exercise.accepts(value):
            print(f"✓ {name}: right")
            return
    except Exception as error:  # a reader's function may raise anything
        reason = f" ({type(error).__name__} on the way: {error})"
    print(
        f"· {name}: not right yet{reason}. "
        f"It takes {exercise.kind}. Hint: {exercise.hint}"
    )


def number(expected: Any, *, hint: str) -> Exercise:
    """Ask for one number, to three digits.

    Parameters
    ----------
    expected : float or function
        The number, or what computes it when an answer is looked at.
    hint : str
        That of `Exercise`.

    Returns
    -------
    Exercise
        Takes any number; text and truth values are none.
    """

    def accepts(value):
        if isinstance(value, str | bool) or np.size(value) != 1:
            return False
        return _close(np.reshape(value, ()), expected, rtol=5e-3)

    return Exercise("a number, to three digits", hint, accepts)


def array(expected: Any, *, kind: str, hint: str) -> Exercise:
    """Ask for an array, to four digits.

    Parameters
    ----------
    expected : array_like or function
        The array, or what computes it when an answer is looked at.
    kind, hint : str
        Those of `Exercise`.

    Returns
    -------
    Exercise
        Takes what numpy makes an array of this shape of.
    """

    def accepts(value):
        return _close(value, expected, rtol=1e-4)

    return Exercise(kind, hint, accepts)


def function(
    reference: Callable, *inputs: tuple, of: str, hint: str
) -> Exercise:
    """Ask for a function.

    Parameters
    ----------
    reference : function
        What it should agree with.
    *inputs : tuple of arrays
        Each holds the arguments of one comparison.
    of : str
        What the function takes, in words.
    hint : str
        That of `Exercise`.

    Returns
    -------
    Exercise
        Takes a function that agrees on all the inputs, in less than 5 MB:
        some exercises forbid a big array, and none needs one.
    """

    def agrees(value, arguments):
        got, megabytes = _with_memory(value, arguments)
        return megabytes < 5 and _close(got, reference(*arguments), 1e-8)

    def accepts(value):
        return callable(value) and all(agrees(value, a) for a in inputs)

    return Exercise(f"a function of {of}", hint, accepts)


def expression(formula: str, *, of: str, hint: str) -> Exercise:
    """Ask for an expression in symbols.

    Parameters
    ----------
    formula : str
        The expression, as sympy reads it.
    of : str
        Its symbols, in words.
    hint : str
        That of `Exercise`.

    Returns
    -------
    Exercise
        Takes a sympy expression or its text, written in any way. Symbols
        count by name: a reader's may have assumptions, such as positive.
    """

    def accepts(value):
        import sympy  # takes half a second, and one exercise needs it

        difference = sympy.sympify(str(value)) - sympy.sympify(formula)
        return sympy.simplify(difference) == 0

    return Exercise(f"a sympy expression in {of}", hint, accepts)


def _close(got, expected, rtol):
    right = np.asarray(expected() if callable(expected) else expected)
    got = np.asarray(got)
    return got.shape == right.shape and np.allclose(got, right, rtol, 1e-12)


def _with_memory(function, arguments):
    """What a function returns, and the megabytes it takes at its peak."""
    tracemalloc.start()
    try:
        result = function(*(a.copy() for a in arguments))
        return result, tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


class _NoIndexing(np.ndarray):
    """An array for an exercise that asks to do without indexing it."""

    def __getitem__(self, index):
        raise TypeError("embedding was indexed")


def _draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def key_exercise_query_matrix() -> np.ndarray:
    """The W_Q (8 × 4) of exercise 02-symmetric.

    Returns
    -------
    array (8, 4)
        Standard normal draws, the same every time.
    """
    return _draws(8, 4, seed=2)


def _makes_scores_symmetric(w_key):
    w_query, w_key = key_exercise_query_matrix(), np.asarray(w_key)
    product = w_query @ w_key.T
    asymmetry = np.linalg.norm(product - product.T)
    # W_K = 0 has no asymmetry either: it fails the strict comparison.
    return w_key.shape == w_query.shape and (
        asymmetry < 1e-8 * np.linalg.norm(product)
    )


def _tokens_taking_part():
    example = running_example()
    weights = attn.attention_weights(example.query, example.key)
    return 1 / attn.inverse_participation_ratio(weights[8])


def _half_frozen_width(n):
    ipr = random_energy.expected_inverse_participation_ratio
    return brentq(lambda width: ipr(n, np.sqrt(width)) - 1 / 2, 1, 1000)


def _loudest(r, p):
    energy = np.sort(r**2)[::-1]
    return np.argmax(np.cumsum(energy) >= p * energy.sum()) + 1


def _median_lead(n):
    """The lead that the best of n normal scores has in half of the rows."""
    best = np.linspace(-8, 10, 10_001)
    density = n * np.exp(-(best**2) / 2) / np.sqrt(2 * np.pi)

    def leads_by(lead):
        return np.trapezoid(density * ndtr(best - lead) ** (n - 1), best)

    return brentq(lambda lead: leads_by(lead) - 1 / 2, 0, 3)


def _noise_over_signal(n, sigma):
    energy = random_energy.expected_squared_jacobian_norm(n, sigma)
    return energy / random_energy.expected_jacobian_trace(n, sigma) ** 2


def _weight_of_the_next_token(sentence, layer, head):
    _, query, key = minilm_heads().of(sentence)
    weights = attn.attention_weights(query[layer, head], key[layer, head])
    return weights.diagonal(offset=1).mean()


EXERCISES = {
    "01-one-hot": function(
        attn.embed,
        (np.array([3, 0, 3]), _draws(5, 2).view(_NoIndexing)),
        (np.array([1]), _draws(4, 3).view(_NoIndexing)),
        of="ids and embedding",
        hint="which matrix has the one-hot vectors as its rows?",
    ),
    "01-head-width": number(
        512 / 8, hint="the heads share the model's width between them."
    ),
    "02-symmetric": Exercise(
        "an array of shape (8, 4), not all zero",
        "S = X (W_Q W_Kᵀ) Xᵀ: when is its middle its own transpose?",
        _makes_scores_symmetric,
    ),
    "02-key-bias": number(
        lambda: running_example().query[3] @ running_example().b_key,
        hint="q·(k + b) = q·k + q·b: which part knows the key's place?",
    ),
    "03-odds": number(
        np.exp(5), hint="the denominator is the same, so it cancels."
    ),
    "03-sharpness": number(
        -np.log((-1 + np.sqrt(1 + 4 / 9)) / 2),  # 1 + x + x² = 1/0.9
        hint="where the largest weight is 0.9: brentq, or a few tries.",
    ),
    "03-stable": function(
        attn.softmax,
        (_draws(4),),
        (_draws(7) * 1000,),
        of="one array",
        hint="softmax ignores a shift: which keeps exp from overflowing?",
    ),
    "04-two-tokens": number(
        lambda: attn.softmax_jacobian(attn.softmax([2.0, 0.0]))[0, 0],
        hint="the first weight is a = 1/(1 + e^(-gap)); then a(1 - a).",
    ),
    "04-vjp": function(
        attn.softmax_vjp,
        (attn.softmax(_draws(5)), _draws(5, seed=1)),
        (attn.softmax(_draws(1000)), _draws(1000, seed=1)),
        of="a and grad",
        hint="(diag(a) - a aᵀ) grad on paper first: a scalar appears.",
    ),
    "04-sharpness": function(
        lambda beta, s: attn.softmax_vjp(attn.softmax(beta * s), s),
        (np.float64(0.5), _draws(4)),
        (np.float64(2.0), _draws(6, seed=1)),
        of="beta and s",
        hint="chain rule: the scores go through the Jacobian of softmax.",
    ),
    "05-gap": number(
        np.log(7 * 0.95 / 0.05),
        hint="at worst all others are equal: a = 1/(1 + (n - 1)e^(-gap)).",
    ),
    "05-two-level": expression(
        "1 - a**2 - (1 - a)**2 / (n - 1)",
        of="a and n",
        hint="Tr J = 1 - Σa²; the n - 1 others have (1 - a)/(n - 1) each.",
    ),
    "05-taking-part": number(
        _tokens_taking_part, hint="1/Σa² of that row's scaled weights."
    ),
    "06-correlated": number(
        64 + 64 * 63 * 0.1**2,
        hint="Tr(Σ_q Σ_k): both have ones on the diagonal and ρ elsewhere.",
    ),
    "06-linear-init": number(
        1 / 2,
        hint="U(-c, c) has variance c²/3; an entry of q sums d products.",
    ),
    "06-both-sides": number(
        64**-0.25, hint="the two factors multiply to 1/√d_k."
    ),
    "07-shape": array(
        (10, 512),
        kind="a tuple of two integers",
        hint="the heads' outputs, put side by side, go through W_O.",
    ),
    "07-value-gradient": function(
        lambda weights, grad_output: weights.T @ grad_output,
        (attn.softmax(_draws(4, 3)), _draws(4, 2)),
        of="weights and grad_output",
        hint="value j takes part in every output i, with weight a_ij.",
    ),
    "07-mean": array(
        lambda: running_example().value.mean(axis=0),
        kind="an array of 32 numbers",
        hint="a score of 0 for all tokens gives all the same weight.",
    ),
    "08-half-frozen": number(
        lambda: _half_frozen_width(512),
        hint="spread_at returns a spread; the raw width is its square.",
    ),
    "08-stein": number(
        lambda: 2 * random_energy.expected_jacobian_trace(100, 2),
        hint="random_energy knows the expected trace.",
    ),
    "09-loudest": function(
        _loudest,
        (_draws(50) ** 2, np.float64(0.9)),
        (np.ones(4), np.float64(0.5)),  # two carry exactly the share
        (np.exp(3 * _draws(400, seed=1)), np.float64(0.99)),
        of="r and p",
        hint="sort the energies, largest first, and take a running sum.",
    ),
    "09-half-cure": number(
        1 / 8, hint="energy: the number in front times ‖J‖². What is σ now?"
    ),
    "09-lead": number(
        lambda: _median_lead(1024),
        hint="median_lead above takes the number of scores.",
    ),
    "10-twin-rate": number(
        2 / np.sqrt(64),
        hint="SGD's rate shrinks by the square of the gain of one matrix.",
    ),
    "10-gain": number(
        256**-0.5, hint="the two gains multiply in front of q·k."
    ),
    "10-samples": number(
        lambda: _noise_over_signal(64, np.sqrt(512)),
        hint="random_energy has a function for each of the two averages.",
    ),
    "11-row-variance": function(
        lambda query, key: np.var(query @ key.T, axis=1),
        (_draws(5, 3), _draws(7, 3, seed=1) + 2),
        (_draws(2000, 4), _draws(2000, 4, seed=1)),
        of="query and key",
        hint="q·k_j is linear in k_j: its variance? (QKᵀ is too big.)",
    ),
    "11-next-token": number(
        lambda: _weight_of_the_next_token(1, 1, 8),
        hint="softmax of the scaled scores, then one of its diagonals.",
    ),
    "12-gain": number(
        np.log(4095) / 2, hint="at best it has +g and all others -g."
    ),
    "12-context": number(
        1 / (1 + 32767 * np.exp(-15)),
        hint="how large has the lead become? There are still n - 1 rivals.",
    ),
    "12-t5-adam": number(
        64**-0.5,
        hint="how far must U move if W_Q moves by 1, whatever the slope?",
    ),
}

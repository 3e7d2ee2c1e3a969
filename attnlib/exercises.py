"""Exercises that check themselves: the chapters' stubs and folded solutions call `answer`.

No expected value is typed here: each is computed when an answer is looked at, by
attnlib, scipy or sympy, and the reply never shows it.
"""

from dataclasses import dataclass
from typing import Callable

import numpy as np

import attnlib as attn


@dataclass(frozen=True)
class Exercise:
    """One exercise: what kind of answer it takes, whether it accepts one, and a hint."""

    kind: str
    accepts: Callable[[object], bool]
    hint: str


def answer(name, value=...):
    """Say whether ``value`` answers exercise ``name``, with a hint if it does not.

    ``...``, the untouched stub, reads as not answered yet. A value that is not what
    the exercise takes (a number, a function, …) is answered by saying what it takes.
    Raises KeyError for an unknown exercise.
    """
    exercise = EXERCISES[name]
    if value is ...:
        reply = "not answered yet"
    else:
        try:
            right = bool(exercise.accepts(value))
        except Exception as error:  # a reader's function may raise anything
            right, reason = False, f" ({type(error).__name__} on the way: {error})"
        else:
            reason = ""
        reply = "right" if right else (
            f"not right yet{reason}. It takes {exercise.kind}. Hint: {exercise.hint}"
        )
    print(f"{'✓' if reply == 'right' else '·'} {name}: {reply}")


def _number(expected, rtol=1e-3):
    def accepts(value):
        if isinstance(value, (str, bool)) or np.size(value) != 1:
            return False
        right = float(expected())
        return abs(float(value) - right) <= rtol * abs(right)

    return accepts


def _expression(expected):
    def accepts(value):
        import sympy

        return sympy.simplify(sympy.sympify(value) - expected()) == 0

    return accepts


def _function(reference, *inputs):
    """Accept a function that agrees with ``reference`` on every tuple of ``inputs``."""

    def accepts(value):
        if not callable(value):
            return False
        for arguments in inputs:
            right = np.asarray(reference(*arguments))
            got = np.asarray(value(*(np.array(a) for a in arguments)), dtype=float)
            if got.shape != right.shape or not np.allclose(got, right, rtol=1e-8, atol=1e-12):
                return False
        return True

    return accepts


def _draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def _one_hot_lookup(ids, embedding):
    return attn.embed(np.asarray(ids), np.asarray(embedding))


def _symmetric_key_matrix(w_key):
    w_query, w_key = key_exercise_query_matrix(), np.asarray(w_key, dtype=float)
    product = w_query @ w_key.T
    return bool(np.any(w_key)) and np.allclose(product, product.T)


def key_exercise_query_matrix():
    """The W_Q (8 × 4) of exercise 02-symmetric."""
    return _draws(8, 4, seed=2)


def _key_bias_effect():
    example = attn.running_example()
    query = attn.project(example.layer_input, example.w_query, example.b_query)
    shift = query @ example.b_key
    return shift[3]


def _sharpness_for(weight):
    from scipy.optimize import brentq

    logits = np.array([1.0, 2.0, 3.0])
    return brentq(lambda beta: attn.softmax(beta * logits).max() - weight, 0, 50)


def _sharpness_derivative(beta, logits):
    a = attn.softmax(beta * np.asarray(logits))
    return a * (logits - a @ logits)


def _two_level_trace():
    import sympy

    a, n = sympy.symbols("a n", positive=True)
    return a * (1 - a) + (n - 1) * ((1 - a) / (n - 1)) * (1 - (1 - a) / (n - 1))


def _tokens_taking_part():
    example = attn.running_example()
    query = attn.project(example.layer_input, example.w_query, example.b_query)
    key = attn.project(example.layer_input, example.w_key, example.b_key)
    return 1 / attn.inverse_participation_ratio(attn.attention_weights(query, key))[3]


def _equicorrelated_variance(d, rho):
    cov = rho * np.ones((d, d)) + (1 - rho) * np.eye(d)
    return attn.dot_product_variance(np.zeros(d), cov, np.zeros(d), cov)


def _uniform_init_std(d=384):
    # W ~ U(-1/√d, 1/√d) has variance 1/(3d); x white, so a query entry has variance 1/3.
    entry = d * (1 / np.sqrt(d)) ** 2 / 3
    cov = entry * np.eye(d)
    return np.sqrt(attn.dot_product_variance(np.zeros(d), cov, np.zeros(d), cov) / d)


def _value_gradient(weights, grad_output):
    return np.swapaxes(weights, -1, -2) @ grad_output


def _layer_shape():
    x = np.zeros((10, 512))
    w, w_output = np.zeros((512, 8 * 48)), np.zeros((8 * 48, 512))
    return attn.multi_head_attention(x, w, w, w, w_output, heads=8).shape


EXERCISES = {
    "01-one-hot": Exercise(
        "a function of ids and embedding",
        _function(_one_hot_lookup, (np.array([3, 0, 3]), _draws(5, 2)), (np.array([1]), _draws(4, 3))),
        "rows of an identity matrix are one-hot vectors: np.eye(len(embedding))[ids].",
    ),
    "01-head-width": Exercise(
        "a number",
        _number(lambda: attn.split_heads(_draws(3, 512), 8).shape[-1]),
        "the heads share the model's width between them.",
    ),
    "02-symmetric": Exercise(
        "an array of shape (8, 4), not all zero",
        _symmetric_key_matrix,
        "S = X (W_Q W_Kᵀ) Xᵀ. When is the matrix in the middle its own transpose?",
    ),
    "02-key-bias": Exercise(
        "a number",
        _number(_key_bias_effect),
        "q·(k + b) = q·k + q·b. Which part of this knows the key's position?",
    ),
    "03-odds": Exercise(
        "a number",
        _number(lambda: np.divide(*attn.softmax(np.array([3.0, 0.0])))),
        "the denominator is the same for both weights, so it cancels in the ratio.",
    ),
    "03-sharpness": Exercise(
        "a number, to three digits",
        _number(lambda: _sharpness_for(0.9), rtol=2e-3),
        "try a few factors, or let scipy.optimize.brentq find where the largest weight is 0.9.",
    ),
    "03-stable": Exercise(
        "a function of one array",
        _function(attn.softmax, (_draws(4),), (_draws(7) * 1000,), (np.full(3, 2000.0),)),
        "softmax does not notice a shift of all logits: which shift keeps exp from overflowing?",
    ),
    "04-two-tokens": Exercise(
        "a number",
        _number(lambda: attn.softmax_jacobian(attn.softmax(np.array([2.0, 0.0])))[0, 0]),
        "with two tokens the first weight is 1/(1 + e^(-gap)); then use a(1 - a).",
    ),
    "04-vjp": Exercise(
        "a function of a and grad",
        _function(attn.softmax_vjp, *((attn.softmax(_draws(n, seed=n)), _draws(n)) for n in (2, 5))),
        "multiply J = diag(a) - a aᵀ by grad on paper first: a scalar appears.",
    ),
    "04-sharpness": Exercise(
        "a function of beta and logits",
        _function(_sharpness_derivative, (0.5, _draws(4)), (2.0, _draws(6, seed=1))),
        "chain rule: the vector of logits goes through the Jacobian of softmax.",
    ),
    "05-gap": Exercise(
        "a number",
        _number(lambda: np.log((1024 - 1) * 0.95 / 0.05)),
        "the worst case has all other logits equal: a = 1/(1 + (n - 1)e^(-gap)).",
    ),
    "05-two-level": Exercise(
        "a sympy expression in a and n, both declared positive",
        _expression(_two_level_trace),
        "Tr J = 1 - Σa²; each of the n - 1 others has (1 - a)/(n - 1).",
    ),
    "05-taking-part": Exercise(
        "a number",
        _number(_tokens_taking_part),
        "1/Σa², from the scaled weights of row 3.",
    ),
    "06-correlated": Exercise(
        "a number",
        _number(lambda: _equicorrelated_variance(64, 0.1)),
        "Tr(Σ_q Σ_k) with ones on the diagonal and ρ everywhere else, in both matrices.",
    ),
    "06-linear-init": Exercise(
        "a number",
        _number(_uniform_init_std),
        "the variance of U(-c, c) is c²/3; a query's entry sums d products.",
    ),
    "06-both-sides": Exercise(
        "a number",
        _number(lambda: np.sqrt(attn.dot_product_scores(np.ones((1, 64)), np.ones((1, 64))).item() / 64)),
        "the two factors multiply to 1/√d_k.",
    ),
    "07-shape": Exercise(
        "a tuple of two integers",
        lambda value: tuple(value) == _layer_shape(),
        "the heads' outputs are put side by side and then go through W_O.",
    ),
    "07-value-gradient": Exercise(
        "a function of weights and grad_output",
        _function(_value_gradient, (attn.softmax(_draws(4, 3)), _draws(4, 2))),
        "value j takes part in every output i, with weight a_ij.",
    ),
    "07-mean": Exercise(
        "an array of 32 numbers",
        lambda value: np.allclose(
            np.asarray(value, dtype=float), _mean_value(), rtol=1e-4, atol=1e-6
        ),
        "a score of 0 for every token gives every token the same weight.",
    ),
}


def _mean_value():
    example = attn.running_example()
    query, key, value = (
        attn.project(example.layer_input, w, b)
        for w, b in (
            (example.w_query, example.b_query),
            (example.w_key, example.b_key),
            (example.w_value, example.b_value),
        )
    )
    return attn.scaled_dot_product_attention(query, key, value, scale=0)[3]

"""Exercises that check themselves: the chapters' stubs and folded solutions call `answer`.

No expected value is typed here: each is computed when an answer is looked at, by
attnlib, scipy or sympy, and the reply never shows it.
"""

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

import attnlib as attn
from attnlib import random_energy, retrieval
from attnlib.book.data import minilm_heads, running_example


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
        return abs(np.asarray(value).item() - right) <= rtol * abs(right)

    return accepts


def _array(expected):
    def accepts(value):
        got, right = np.asarray(value, dtype=float), expected()
        return got.shape == right.shape and np.allclose(got, right, rtol=1e-4, atol=1e-6)

    return accepts


def _function(reference, *inputs, megabytes=np.inf):
    """Accept a function that agrees with ``reference`` on every tuple of ``inputs``.

    ``megabytes`` bounds the memory it may take, for exercises that forbid a big array.
    """

    def accepts(value):
        return callable(value) and all(
            _agrees(value, reference, arguments, megabytes) for arguments in inputs
        )

    return accepts


def _agrees(function, reference, arguments, megabytes):
    right = np.asarray(reference(*arguments))
    tracemalloc.start()
    try:
        got = np.asarray(function(*(a.copy() for a in arguments)), dtype=float)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
    close = got.shape == right.shape and np.allclose(got, right, rtol=1e-8, atol=1e-12)
    return close and peak <= megabytes


class _NoIndexing(np.ndarray):
    """An array for an exercise that asks to do without indexing it."""

    def __getitem__(self, index):
        raise TypeError("embedding was indexed")


def _draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def _one_hot_lookup(ids, embedding):
    return attn.embed(ids, np.asarray(embedding))


def _symmetric_key_matrix(w_key):
    w_query, w_key = key_exercise_query_matrix(), np.asarray(w_key, dtype=float)
    if w_key.shape != w_query.shape or not np.any(w_key):
        return False
    product = w_query @ w_key.T
    return np.linalg.norm(product - product.T) <= 1e-8 * np.linalg.norm(product)


def key_exercise_query_matrix():
    """The W_Q (8 × 4) of exercise 02-symmetric."""
    return _draws(8, 4, seed=2)


def _key_bias_effect():
    return _projected()[0][3] @ running_example().b_key


def _sharpness_for(weight):
    scores = np.array([1.0, 2.0, 3.0])
    return brentq(lambda beta: attn.softmax(beta * scores).max() - weight, 0, 50)


def _gap_for(weight, n):
    return brentq(lambda gap: attn.softmax(np.r_[gap, np.zeros(n - 1)])[0] - weight, 0, 50)


def _sharpness_derivative(beta, scores):
    return attn.softmax_jacobian(attn.softmax(beta * scores)) @ scores


def _is_two_level_trace(value):
    """Compare with the trace of the Jacobian written out for two to six tokens."""
    import sympy

    a, n = sympy.symbols("a n")
    expression = sympy.sympify(value)
    expression = expression.subs({s: sympy.Symbol(s.name) for s in expression.free_symbols})
    if not expression.free_symbols <= {a, n}:
        return False
    for size in range(2, 7):
        weights = sympy.Matrix([a] + [(1 - a) / (size - 1)] * (size - 1))
        jacobian = sympy.diag(*weights) - weights * weights.T
        if sympy.simplify(expression.subs(n, size) - jacobian.trace()) != 0:
            return False
    return True


def _projected():
    """Queries, keys and values of the running example."""
    e = running_example()
    parts = ((e.w_query, e.b_query), (e.w_key, e.b_key), (e.w_value, e.b_value))
    return [attn.project(e.layer_input, weight, bias) for weight, bias in parts]


def _tokens_taking_part():
    query, key, _ = _projected()
    return 1 / attn.inverse_participation_ratio(attn.attention_weights(query, key))[8]


def _equicorrelated_variance(d, rho):
    cov = rho * np.ones((d, d)) + (1 - rho) * np.eye(d)
    return attn.dot_product_variance(np.zeros(d), cov, np.zeros(d), cov)


def _stacked_init_std(d=384, d_k=32):
    from scipy.stats import uniform

    bound = np.sqrt(6 / (d + 3 * d))
    cov = d * uniform(-bound, 2 * bound).var() * np.eye(d_k)  # of a query, and of a key
    return np.sqrt(attn.dot_product_variance(np.zeros(d_k), cov, np.zeros(d_k), cov) / d_k)


def _value_gradient(weights, grad_output):
    # Scores ln a against keys that are unit vectors give back the weights a.
    key = np.eye(weights.shape[1])
    value = np.zeros((weights.shape[1], grad_output.shape[1]))
    return attn.scaled_dot_product_attention_vjp(
        grad_output, np.log(weights), key, value, scale=1
    )[2]


def _layer_shape():
    x = np.zeros((10, 512))
    w, w_output = np.zeros((512, 8 * 48)), np.zeros((8 * 48, 512))
    return attn.multi_head_attention(x, w, w, w, w_output, heads=8).shape


def _half_frozen_width(n):
    expected = random_energy.expected_inverse_participation_ratio
    return brentq(lambda width: expected(n, width**0.5) - 0.5, 1, 1000)


def _log_partition_slope(n, sigma):
    return sigma * random_energy.expected_jacobian_trace(n, sigma)


def _loudest(lengths, share):
    energy = np.sort(lengths**2)[::-1]
    return np.argmax(np.cumsum(energy) >= share * energy.sum()) + 1


def _gradient_exponent(factor):
    """Exponent in d_k of the RMS gradient as d_k → ∞, with scores times d_k^factor."""
    width = np.array([1e60, 1e61])
    norm = [random_energy.frozen_squared_jacobian_norm(m) for m in width ** (-0.5 - factor)]
    energy = width ** (2 * factor + 1) * norm
    return np.log10(energy[1] / energy[0]) / 2


def _median_lead(n):
    from scipy.integrate import quad
    from scipy.stats import norm

    def excess(lead):
        return quad(lambda x: n * norm.pdf(x) * norm.cdf(x - lead) ** (n - 1), -8, 10)[0] - 0.5

    return brentq(excess, 0, 3)


def _noise_over_signal(n, sigma):
    energy = random_energy.expected_squared_jacobian_norm(n, sigma)
    return energy / random_energy.expected_jacobian_trace(n, sigma) ** 2


def _needed_gain(weight, n):
    query, key = np.ones((1, 1)), np.r_[1.0, -np.ones(n - 1)][:, None]
    return brentq(lambda g: attn.qk_norm_weights(query, key, gain=g)[0, 0] - weight, 0, 50)


def _leader_in_longer_context(lead=9.0, reference=512, n=32768):
    query, key = np.ones((1, 1)), np.r_[lead, np.zeros(n - 1)][:, None]
    return attn.length_scaled_weights(query, key, reference_length=reference)[0, 0]


def _adam_rate_for_folded_factor(d_k=64):
    # Adam's first step is the sign of the gradient times the rate; ∂L/∂s is 1 here.
    x, key = np.ones((1, 3)), _draws(1, d_k)
    moved = [
        scale * (x @ -np.sign(x.T @ (scale * key)) @ key.T).item() for scale in (1, d_k**-0.5)
    ]
    return moved[1] / moved[0]


def _row_variances(query, key):
    return np.var(query @ key.T, axis=1)


def _mean_weight_of_the_next_token(sentence, layer, head):
    _, query, key = minilm_heads().of(sentence)
    return np.diagonal(attn.attention_weights(query, key)[layer, head], offset=1).mean()


_ones = np.ones((1, 64))

EXERCISES = {
    "01-one-hot": Exercise(
        "a function of ids and embedding",
        _function(
            _one_hot_lookup,
            (np.array([3, 0, 3]), _draws(5, 2).view(_NoIndexing)),
            (np.array([1]), _draws(4, 3).view(_NoIndexing)),
        ),
        "which matrix has the one-hot vectors as its rows?",
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
        _number(lambda: np.divide(*attn.softmax(np.array([5.0, 0.0])))),
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
        "softmax does not notice a shift of all scores: which shift keeps exp from overflowing?",
    ),
    "04-two-tokens": Exercise(
        "a number",
        _number(lambda: attn.softmax_jacobian(attn.softmax(np.array([2.0, 0.0])))[0, 0]),
        "with two tokens the first weight is 1/(1 + e^(-gap)); then use a(1 - a).",
    ),
    "04-vjp": Exercise(
        "a function of a and grad",
        _function(
            attn.softmax_vjp,
            *((attn.softmax(_draws(n, seed=n)), _draws(n)) for n in (2, 5, 1000)),
            megabytes=1,  # the matrix for n = 1000 takes 8
        ),
        "multiply J = diag(a) - a aᵀ by grad on paper first: a scalar appears.",
    ),
    "04-sharpness": Exercise(
        "a function of beta and s",
        _function(
            _sharpness_derivative,
            (np.float64(0.5), _draws(4)),
            (np.float64(2.0), _draws(6, seed=1)),
        ),
        "chain rule: the vector of scores goes through the Jacobian of softmax.",
    ),
    "05-gap": Exercise(
        "a number",
        _number(lambda: _gap_for(0.95, 8)),
        "the worst case has all other scores equal: a = 1/(1 + (n - 1)e^(-gap)).",
    ),
    "05-two-level": Exercise(
        "a sympy expression in a and n",
        _is_two_level_trace,
        "Tr J = 1 - Σa²; each of the n - 1 others has (1 - a)/(n - 1).",
    ),
    "05-taking-part": Exercise(
        "a number",
        _number(_tokens_taking_part),
        "1/Σa², from the scaled weights of that row.",
    ),
    "06-correlated": Exercise(
        "a number",
        _number(lambda: _equicorrelated_variance(64, 0.1)),
        "Tr(Σ_q Σ_k) with ones on the diagonal and ρ everywhere else, in both matrices.",
    ),
    "06-linear-init": Exercise(
        "a number",
        _number(_stacked_init_std),
        "the variance of U(-c, c) is c²/3; an entry of a query sums d products.",
    ),
    "06-both-sides": Exercise(
        "a number",
        _number(lambda: np.sqrt(attn.dot_product_scores(_ones, _ones).item() / 64)),
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
        _array(lambda: attn.scaled_dot_product_attention(*_projected(), scale=0)[3]),
        "a score of 0 for every token gives every token the same weight.",
    ),
    "08-half-frozen": Exercise(
        "a number",
        _number(lambda: _half_frozen_width(512)),
        "half_frozen returns a spread; the raw width is its square.",
    ),
    "08-stein": Exercise(
        "a number",
        _number(lambda: _log_partition_slope(100, 2), rtol=5e-3),
        "random_energy has a function for the expected trace.",
    ),
    "09-loudest": Exercise(
        "a function of r and p",
        _function(
            _loudest,
            (_draws(50) ** 2, np.float64(0.9)),
            (np.array([1.0, 5.0, 1.0, 1.0]), np.float64(0.5)),
            (np.exp(3 * _draws(400, seed=1)), np.float64(0.99)),
        ),
        "sort the energies, the largest first, and look at their running sum.",
    ),
    "09-half-cure": Exercise(
        "a number",
        _number(lambda: _gradient_exponent(-1 / 4)),
        "energy is the number in front times ‖J‖²; which spread do the scores have now?",
    ),
    "09-lead": Exercise(
        "a number",
        _number(lambda: _median_lead(1024), rtol=5e-3),
        "median_lead above takes the number of scores.",
    ),
    "10-twin-rate": Exercise(
        "a number",
        _number(lambda: retrieval.raw_equivalent(64, "sgd", 2.0)["learning_rate"]),
        "SGD's rate shrinks by the square of the gain of one matrix.",
    ),
    "10-gain": Exercise(
        "a number",
        _number(lambda: attn.dot_product_scores(np.ones((1, 256)), np.ones((1, 256))).item() ** -1),
        "the product of the two gains stands in front of q·k.",
    ),
    "10-samples": Exercise(
        "a number",
        _number(lambda: _noise_over_signal(64, 512**0.5)),
        "random_energy has a function for each of the two averages.",
    ),
    "11-row-variance": Exercise(
        "a function of query and key",
        _function(
            _row_variances,
            (_draws(5, 3), _draws(7, 3, seed=1) + 2),
            (_draws(2000, 4), _draws(2000, 4, seed=1)),
            megabytes=8,  # the scores of the second pair take 32
        ),
        "q·k_j is linear in k_j: what is its variance? (QKᵀ would not fit into the memory.)",
    ),
    "11-next-token": Exercise(
        "a number",
        _number(lambda: _mean_weight_of_the_next_token(1, 1, 8)),
        "take softmax of the scaled scores first, then one of the matrix's diagonals.",
    ),
    "12-gain": Exercise(
        "a number",
        _number(lambda: _needed_gain(0.5, 4096)),
        "the best case has the token at +g and all others at -g.",
    ),
    "12-context": Exercise(
        "a number",
        _number(_leader_in_longer_context),
        "how large has the lead become? There are still n - 1 rivals.",
    ),
    "12-t5-adam": Exercise(
        "a number",
        _number(_adam_rate_for_folded_factor),
        "how far must U move if W_Q moves by one unit? Adam ignores how large the gradient is.",
    ),
}

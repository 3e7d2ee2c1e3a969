"""Each variant's exact statement, as its docstring makes it."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from oracles import loops_attention
from scipy.special import expit

import attnlib as attn
from attnlib.variants import (
    inverse_width_weights,
    length_scaled_weights,
    qk_norm_weights,
    sigmoid_weights,
    sink_weights,
    soft_capped_weights,
)

ALL = {
    "inverse_width": inverse_width_weights,
    "qk_norm": lambda *a, **k: qk_norm_weights(*a, gain=3, **k),
    "soft_capped": lambda *a, **k: soft_capped_weights(*a, cap=2, **k),
    "length_scaled": lambda *a, **k: length_scaled_weights(
        *a, reference_length=7, **k
    ),
    "sigmoid": sigmoid_weights,
    "sink": lambda *a, **k: sink_weights(*a, sink=1, **k),
}
SUM_TO_ONE = ("inverse_width", "qk_norm", "soft_capped", "length_scaled")


def draw(n=9, d=16, seed=0, lead=(2,)):
    return np.random.default_rng(seed).normal(size=(2, *lead, n, d)) * 2


def two_level(n, gap):
    """A query and n keys of width 1 whose raw scores are ``gap`` once and 0 otherwise."""
    return np.ones((1, 1)), np.r_[gap, np.zeros(n - 1)][:, None]


def odds(weights):
    return weights[..., :, None] / weights[..., None, :]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_shape_dtype_and_masks(name, dtype):
    query, key = draw().astype(dtype)
    keep = np.random.default_rng(1).random((9, 9)) < 0.6
    keep[4] = False
    weights = ALL[name](query, key, keep, is_causal=True)
    assert weights.shape == (2, 9, 9) and weights.dtype == dtype
    forbidden = ~keep | ~np.tri(9, dtype=bool)
    assert np.all(weights[:, forbidden] == 0) and np.all(
        weights[:, ~forbidden] > 0
    )
    assert np.all(weights[:, 4] == 0)
    if name in SUM_TO_ONE:
        alive = ~forbidden.all(axis=1)
        tolerance = 0.01 if dtype == "float16" else 1e-5
        assert_allclose(weights[:, alive].sum(axis=-1), 1, atol=tolerance)


@pytest.mark.parametrize("name", ALL)
def test_heads_of_the_query_may_share_a_key(name):
    query, key = draw(lead=(2, 4))
    key = key[:, :2, :7]
    keep = np.random.default_rng(1).random((4, 9, 7)) < 0.8
    weights = ALL[name](query, key, keep, enable_gqa=True)
    repeated = np.repeat(key, 2, axis=1)
    assert_array_equal(weights, ALL[name](query, repeated, keep))
    with pytest.raises(ValueError, match="enable_gqa=True repeats heads"):
        ALL[name](query, key, keep)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("queries", [9, 3, 1])
def test_the_last_query_of_a_cache_sees_every_key(name, queries):
    query, key = draw()
    weights = ALL[name](query, key, is_causal=True)
    continued = ALL[name](query[:, -queries:], key, is_causal="lower_right")
    assert_allclose(continued, weights[:, -queries:], rtol=1e-12)


@pytest.mark.parametrize(
    "name", ["soft_capped", "length_scaled", "sigmoid", "sink"]
)
def test_each_head_may_have_its_scale(name):
    query, key = draw(lead=(2, 3))
    scale = np.array([0.0, 0.1, 1.0])
    weights = ALL[name](query, key, scale=scale[:, None, None])
    for head, own in enumerate(scale):
        alone = ALL[name](query[:, head], key[:, head], scale=own)
        assert_allclose(weights[:, head], alone, rtol=1e-12)


@pytest.mark.parametrize(
    "function, parameter",
    [(sink_weights, "sink"), (qk_norm_weights, "gain")],
)
def test_each_head_may_have_its_sink_and_its_gain(function, parameter):
    query, key = draw(lead=(2, 3))
    numbers = np.array([0.5, 0.0, 40.0])
    weights = function(query, key, **{parameter: numbers[:, None, None]})
    for head, own in enumerate(numbers):
        alone = function(query[:, head], key[:, head], **{parameter: own})
        assert_allclose(weights[:, head], alone, rtol=1e-12)
    message = (
        f"{parameter} must be a number, or one for each head in the shape "
        "(heads, 1, 1), got shape (3,) for (2, 3, 1, 1)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        function(query, key, **{parameter: numbers})


def test_sinks_and_shared_heads_are_those_of_the_loops():
    query, key = draw(5, 4, lead=(2, 4))
    key, value = key[:, :2], draw(5, 3, seed=1, lead=(2, 2))[0]
    sink = np.array([-1.0, 0.0, 2.0, 5.0])
    weights = sink_weights(
        query,
        key,
        sink=sink[:, None, None],
        enable_gqa=True,
        is_causal=True,
    )
    expected = loops_attention(
        query, key, value, sink=sink, past=np.zeros(2)
    )
    assert_allclose(
        weights @ np.repeat(value, 2, axis=1), expected, rtol=1e-9
    )


@pytest.mark.parametrize("name", ALL)
def test_no_keys(name):
    query, key = draw()
    assert ALL[name](query, key[:, :0]).shape == (2, 9, 0)


@pytest.mark.parametrize("name", ALL)
def test_bad_arrays_are_refused_by_name(name):
    query, key = draw()
    with pytest.raises(ValueError, match="query and key"):
        ALL[name](query, key[..., :-1])
    with pytest.raises(TypeError, match="query"):
        ALL[name](query.astype(complex), key)
    with pytest.raises(ValueError, match="query"):
        ALL[name](query[0, 0], key)
    with pytest.raises(TypeError, match="attn_mask"):
        ALL[name](query, key, np.zeros((9, 9), dtype=int))
    for one in ("query", "key"):
        arrays = {"query": query, "key": key, one: key[0, 0]}
        with pytest.raises(
            ValueError, match=rf"^{one} needs at least 2 axes, got .*16,\)"
        ):
            ALL[name](*arrays.values())


@pytest.mark.parametrize("name", ALL)
def test_without_a_mask_every_key_is_seen(name):
    assert (ALL[name](*draw()) > 0).all()


@pytest.mark.parametrize(
    "function, parameter, wrong",
    [
        (qk_norm_weights, "gain", (-1, np.nan, "x", True)),
        (soft_capped_weights, "cap", (0, -2, np.inf, None)),
        (length_scaled_weights, "reference_length", (1, 0, np.nan, "x")),
        (sigmoid_weights, "bias", (np.inf, "x", False)),
        (sink_weights, "sink", (np.nan, None, [])),
    ],
)
def test_bad_parameters_are_refused_by_name(function, parameter, wrong):
    for value in wrong:
        with pytest.raises((ValueError, TypeError), match=parameter):
            function(*draw(), **{parameter: value})


@pytest.mark.parametrize(
    "function, bad, message",
    [
        (qk_norm_weights, {"gain": -1}, "finite and at least 0, got -1.0"),
        (
            soft_capped_weights,
            {"cap": -1},
            "finite and at least 0, got -1.0",
        ),
        (soft_capped_weights, {"cap": 0}, "above 0"),
        (
            length_scaled_weights,
            {"reference_length": 1.5},
            "finite and at least 2, got 1.5",
        ),
        (sigmoid_weights, {"bias": np.inf}, "finite, got inf"),
        (sink_weights, {"sink": np.nan}, "finite, got nan"),
    ],
)
def test_the_message_says_what_a_parameter_must_be(function, bad, message):
    (name,) = bad
    with pytest.raises(ValueError, match=f"^{name} must be {message}$"):
        function(*draw(), **bad)


def test_parameters_may_be_as_small_as_is_said():
    query, key = two_level(2, 100)
    weights = soft_capped_weights(query, key, cap=0.5, scale=1)
    assert_allclose(weights[0, 0] / weights[0, 1], np.e**0.5)
    weights = length_scaled_weights(query / 100, key, reference_length=2)
    assert_allclose(weights[0, 0] / weights[0, 1], np.e)
    assert_allclose(qk_norm_weights(query, key, gain=0), 0.5)


def test_inverse_width_divides_by_the_width():
    query, key = draw()
    scores = query @ key.swapaxes(-1, -2) / 16
    assert_allclose(inverse_width_weights(query, key), attn.softmax(scores))


def test_inverse_width_ignores_repeated_components():
    query, key = draw()
    twice = [np.concatenate([x, x], axis=-1) for x in (query, key)]
    assert_allclose(
        inverse_width_weights(*twice),
        inverse_width_weights(query, key),
        rtol=1e-12,
    )
    by_root = attn.attention_weights(query, key)
    assert not np.allclose(
        attn.attention_weights(*twice), by_root, rtol=0.1
    )


def test_qk_norm_ignores_lengths():
    query, key = draw()
    lengths = np.random.default_rng(3).uniform(0.01, 100, size=(2, 2, 9, 1))
    stretched = qk_norm_weights(
        query * lengths[0], key * lengths[1], gain=4
    )
    assert_allclose(
        stretched, qk_norm_weights(query, key, gain=4), rtol=1e-12
    )


@pytest.mark.parametrize("n", [2, 10, 1000])
def test_qk_norm_bound_is_reached_and_never_exceeded(n):
    gain = np.log(9 * (n - 1)) / 2
    query, key = np.array([[3.0, 0.0]]), np.tile([-0.5, 0.0], (n, 1))
    key[0] = [7.0, 0.0]
    assert_allclose(
        qk_norm_weights(query, key, gain=gain)[0, 0], 0.9, rtol=1e-12
    )
    bound = np.exp(gain) / (np.exp(gain) + (n - 1) * np.exp(-gain))
    assert qk_norm_weights(*draw(n=n), gain=gain).max() <= bound + 1e-12


def test_qk_norm_of_a_zero_query_is_uniform():
    assert_allclose(
        qk_norm_weights(np.zeros((1, 16)), draw()[1][0], gain=5),
        1 / 9,
        rtol=1e-12,
    )


def test_soft_cap_bounds_the_odds_and_keeps_the_order():
    query, key = 10 * draw()
    weights = soft_capped_weights(query, key, cap=1.5)
    assert odds(weights).max() <= np.exp(3) + 1e-9
    scores = attn.dot_product_scores(query[0, :1] / 40, key[0] / 40)
    small = soft_capped_weights(query[0, :1] / 40, key[0] / 40, cap=1.5)
    assert np.array_equal(np.argsort(scores), np.argsort(small))
    assert_allclose(
        odds(small),
        np.exp(np.subtract.outer(*[1.5 * np.tanh(scores[0] / 1.5)] * 2))[
            None
        ],
    )


def test_soft_cap_slope():
    """A score's change reaches the capped score with the factor 1 - tanh²."""
    cap, step = 2.0, 1e-6
    for raw in (0.3, 2.0, 5.0):
        log_odds = [
            np.log(
                np.divide(
                    *soft_capped_weights(
                        *two_level(2, raw + h), cap=cap, scale=1
                    )[0]
                )
            )
            for h in (-step, step)
        ]
        slope = (log_odds[1] - log_odds[0]) / (2 * step)
        assert_allclose(slope, 1 - np.tanh(raw / cap) ** 2, rtol=1e-6)


def test_soft_cap_far_away_changes_nothing():
    weights = soft_capped_weights(*draw(), cap=1e7)
    assert_allclose(weights, attn.attention_weights(*draw()), rtol=1e-9)


@pytest.mark.parametrize("kappa", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("n", [2, 64, 4096])
def test_length_scaled_leader(kappa, n):
    reference = 64
    query, key = two_level(n, kappa * np.log(reference))
    leader = length_scaled_weights(
        query, key, reference_length=reference, scale=1
    )[0, 0]
    assert_allclose(
        leader, 1 / (1 + (n - 1) * float(n) ** -kappa), rtol=1e-10
    )


def test_length_scaled_at_the_reference_is_plain_attention():
    weights = length_scaled_weights(*draw(), reference_length=9)
    assert_allclose(weights, attn.attention_weights(*draw()), rtol=1e-12)


def test_sigmoid_weights_are_logistic_in_their_own_score():
    query, key = draw()
    scores = attn.dot_product_scores(query, key)
    assert_allclose(
        sigmoid_weights(query, key), expit(scores - np.log(9)), rtol=1e-12
    )
    changed = key.copy()
    changed[..., 3, :] += 1
    others = np.arange(9) != 3
    before, after = (
        sigmoid_weights(query, key),
        sigmoid_weights(query, changed),
    )
    assert np.array_equal(before[..., others], after[..., others])
    assert not np.allclose(before[..., 3], after[..., 3])


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_sigmoid_row_of_equal_zero_scores(n):
    total = sigmoid_weights(np.zeros((1, 4)), np.zeros((n, 4))).sum()
    assert_allclose(total, n / (1 + n), rtol=1e-12)


@pytest.mark.parametrize("sink", [-700.0, -1.0, 0.0, 3.0, 700.0])
def test_sink_is_one_more_token(sink):
    """A key of one more component, which every query reads as 1, has score ``sink`` there."""
    query, key = draw(lead=())
    wide_query = np.pad(query, ((0, 0), (0, 1)), constant_values=1.0)
    wide_key = np.pad(key, ((0, 1), (0, 1)))
    wide_key[-1, -1] = sink / 0.25
    expected = attn.attention_weights(wide_query, wide_key, scale=0.25)[
        :, :-1
    ]
    weights = sink_weights(query, key, sink=sink, scale=0.25)
    assert_allclose(weights, expected, rtol=1e-10, atol=1e-300)


def test_a_sink_is_computed_in_the_scores_dtype():
    query, key = draw().astype(np.float32)
    scores = attn.dot_product_scores(query, key)
    column = np.full((*scores.shape[:-1], 1), 0.1, np.float32)
    expected = attn.masked_softmax(
        np.concatenate([scores, column], axis=-1)
    )
    found = sink_weights(query, key, sink=0.1)
    assert_array_equal(found, expected[..., :-1])


def test_sink_mass():
    query, key = draw(lead=())
    total = np.exp(attn.dot_product_scores(query, key)).sum(axis=-1)
    mass = sink_weights(query, key, sink=1.3).sum(axis=-1)
    assert_allclose(mass, total / (total + np.exp(1.3)), rtol=1e-12)


# --- what a row may not see does not change it ------------------------------------------

WITH_PLAIN = {"plain": attn.attention_weights, **ALL}
LENGTHS = st.integers(1, 12), st.integers(0, 6), st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("name", WITH_PLAIN)
@settings(deadline=None, max_examples=30)
@given(*LENGTHS)
def test_what_comes_later_changes_nothing_earlier(name, n, later, seed):
    query, key = draw(n=n + later, seed=seed)
    long = WITH_PLAIN[name](query, key, is_causal=True)
    short = WITH_PLAIN[name](query[:, :n], key[:, :n], is_causal=True)
    assert_allclose(long[:, :n, :n], short, rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize("name", WITH_PLAIN)
@pytest.mark.parametrize("kind", ["bool", "additive"])
@settings(deadline=None, max_examples=30)
@given(*LENGTHS)
def test_padding_changes_nothing(name, kind, n, padding, seed):
    query, key = draw(n=n + padding, seed=seed)
    keep = np.arange(n + padding) < n
    mask = keep if kind == "bool" else np.where(keep, 0.0, -np.inf)
    padded = WITH_PLAIN[name](query, key, mask)
    alone = WITH_PLAIN[name](query, key[:, :n])
    assert_allclose(padded[..., :n], alone, rtol=1e-10, atol=1e-300)
    assert not padded[..., n:].any()


def test_keys_are_counted_as_far_as_a_row_may_see():
    query, key = np.ones((5, 1)), np.array([[3.0], [0], [0], [0], [0]])
    leader = length_scaled_weights(
        query, key, reference_length=2, scale=1, is_causal=True
    )[:, 0]
    seen = np.arange(1, 6)
    kappa = 3 / np.log(2)
    assert_allclose(leader, 1 / (1 + (seen - 1) * seen**-kappa))
    sums = sigmoid_weights(query, 0 * key, is_causal=True).sum(axis=-1)
    assert_allclose(sums, seen / (1 + seen))
    nothing = np.zeros((5, 5), bool)
    assert not sigmoid_weights(query, key, nothing).any()

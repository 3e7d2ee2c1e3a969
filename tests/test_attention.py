"""attnlib.attention against the textbook, torch (stored and live) and finite differences."""

import inspect
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from oracles import (
    loops_attention,
    script,
    slope,
    textbook_attention,
    textbook_gradients,
    textbook_weights,
    torch_reference,
)

import attnlib
from attnlib import (
    attention,
    attention_weights,
    dot_product_scores,
    scaled_dot_product_attention,
    scaled_dot_product_attention_vjp,
    softmax,
)

pytestmark = pytest.mark.filterwarnings("error")
# Around a test that computes with infinities: there numpy warns, as it should.
QUIET = np.errstate(over="ignore", invalid="ignore", divide="ignore")

STORED = torch_reference("attention")
NAMES = ("query", "key", "value", "attn_mask")
GRADIENTS = ("grad_query", "grad_key", "grad_value")
CAUSAL = [False, True, "lower_right"]
# Of the largest entry, as rounding errors are.
TOLERANCE = {"float64": 1e-13, "float32": 2e-6, "float16": 2e-3}


def normal(*shape, seed=0, dtype=float):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def close(actual, expected, dtype="float64", factor=1):
    """Shape, and every entry to the dtype's rounding of the largest one."""
    assert actual.shape == expected.shape
    expected = np.asarray(expected, float)
    size = max(1, np.abs(expected[np.isfinite(expected)]).max(initial=0))
    assert_allclose(
        np.asarray(actual, float),
        expected,
        rtol=0,
        atol=factor * size * TOLERANCE[str(dtype)],
    )


def compare_with(arrays, options):
    """Both directions of one case against the results that stand beside its inputs."""
    inputs = {name: arrays[name] for name in NAMES if name in arrays}
    dtype = inputs["query"].dtype
    output = scaled_dot_product_attention(**inputs, **options)
    grads = scaled_dot_product_attention_vjp(
        arrays["grad_output"], **inputs, **options
    )
    for name, actual in zip(
        ("output", *GRADIENTS), (output, *grads), strict=True
    ):
        assert actual.dtype == dtype, name
        close(actual, arrays[name], dtype, factor=10)


# --- torch ---------------------------------------------------------------------------


@pytest.mark.parametrize("case", STORED)
def test_output_and_gradients_equal_the_stored_ones_of_torch(case):
    compare_with(*STORED[case])


@pytest.mark.needs_torch
def test_the_stored_results_are_what_torch_gives_here():
    maker = script("make_torch_reference")
    assert list(maker.ATTENTION) == list(STORED)
    for name, array in maker.reference().items():
        kind, _, case_and_name = name.partition("/")
        if kind == "attention":
            case, _, argument = case_and_name.rpartition("/")
            close(
                STORED[case][0][argument],
                array,
                array.dtype if array.dtype != bool else "float64",
            )


@pytest.mark.needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [255, 256, 257, 600])
@pytest.mark.parametrize("is_causal", [False, True])
def test_lengths_around_a_block_equal_torch_live(length, is_causal, dtype):
    q, k, v, grad = normal(4, 2, length, 16, dtype=dtype)
    expected = script("make_torch_reference").torch_attention(
        q, k, v, grad, is_causal=is_causal
    )
    compare_with(
        {"query": q, "key": k, "value": v, "grad_output": grad, **expected},
        {"is_causal": is_causal},
    )


@pytest.mark.needs_torch
def test_float16_equals_torch_in_half_precision_live():
    import torch

    q, k, v = normal(3, 1, 2, 6, 8, dtype=np.float16)
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *map(torch.tensor, (q, k, v))
    )
    close(scaled_dot_product_attention(q, k, v), theirs.numpy(), "float16")


# --- the textbook formula ------------------------------------------------------------


@st.composite
def calls(draw, dtypes=("float16", "float32", "float64"), largest=4.0):
    """Arguments of one call: small shapes, every kind of mask, magnitudes up to 1e4."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from(dtypes))
    lead = draw(st.sampled_from([(), (2,), (2, 1), (1, 3), (2, 3)]))
    queries, keys = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    d_k, d_v = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    sizes = [10.0 ** draw(st.floats(-4, largest)) for _ in range(3)]

    def drawn(length, width, size):
        own = tuple(n if draw(st.booleans()) else 1 for n in lead)
        own = own[draw(st.integers(0, len(own))) :]
        return np.clip(
            rng.normal(size=own + (length, width)) * size, -1e4, 1e4
        ).astype(dtype)

    args = [
        drawn(n, w, s)
        for n, w, s in zip(
            (queries, keys, keys), (d_k, d_k, d_v), sizes, strict=True
        )
    ]
    mask = None
    kind = draw(st.sampled_from(["none", "bool", "additive", "rows"]))
    if kind != "none":
        mask = rng.random((queries, keys)) < draw(st.floats(0, 1))
    if kind == "additive":
        mask = np.where(mask, 0, -np.inf).astype(dtype)
    elif kind == "rows" and queries:
        mask = mask[:, :1] & np.ones((1, keys), dtype=bool)
    scale = draw(st.sampled_from([None, 0.0, 1.0, 0.1]))
    options = {"is_causal": draw(st.sampled_from(CAUSAL)), "scale": scale}
    return args, mask, options


def score_error(query, key, scale):
    """Bound of the rounding error of one score, in the dtype that the scores are computed in."""
    q, k = (
        np.abs(np.asarray(x, float)).max(initial=0) for x in (query, key)
    )
    d = query.shape[-1]
    eps = np.finfo(np.promote_types(query.dtype, np.float32)).eps
    return eps * q * k * d * (d + 3) * (d**-0.5 if scale is None else scale)


@settings(deadline=None, max_examples=150)
@given(calls())
def test_any_call_equals_the_textbook_within_its_rounding(call):
    (q, k, v), mask, options = call
    before = [x.copy() for x in (q, k, v)]
    output = scaled_dot_product_attention(q, k, v, mask, **options)
    expected = textbook_attention(q, k, v, mask, **options)
    assert output.dtype == q.dtype and output.shape == expected.shape
    assert np.isfinite(output).all()
    # A score wrong by δ moves a weight by a factor within exp(±2δ); a weight is at most 1.
    factor = min(
        2, np.expm1(min(1, 2 * score_error(q, k, options["scale"])))
    )
    tolerance = np.abs(v.astype(float)).max(initial=0) * (
        factor + 20 * np.finfo(q.dtype).eps
    )
    assert_allclose(output.astype(float), expected, rtol=0, atol=tolerance)
    for now, then in zip((q, k, v), before, strict=True):
        assert_array_equal(now, then)


@settings(deadline=None, max_examples=100)
@given(calls())
def test_weights_of_any_call_sum_to_one_or_are_zero(call):
    (q, k, _), mask, options = call
    weights = attention_weights(q, k, mask, **options)
    expected = textbook_weights(q, k, mask, **options)
    assert weights.shape == expected.shape and weights.dtype == q.dtype
    assert (weights >= 0).all()
    if weights.shape[-1]:
        # A float16 weight is rounded, and one below 6e-8 is lost.
        assert_allclose(
            weights.astype(float).sum(-1),
            expected.sum(-1),
            rtol=0,
            atol=20 * np.finfo(q.dtype).eps,
        )
    assert_array_equal(weights[expected == 0], 0)


@settings(deadline=None, max_examples=100)
@given(calls(dtypes=("float64",), largest=0.5))
def test_gradients_of_any_call_equal_the_textbook(call):
    (q, k, v), mask, options = call
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in (q, k, v)))
    grad = normal(*lead, q.shape[-2], v.shape[-1])
    grads = scaled_dot_product_attention_vjp(grad, q, k, v, mask, **options)
    for actual, expected in zip(
        grads,
        textbook_gradients(grad, q, k, v, mask, **options),
        strict=True,
    ):
        close(
            actual, expected, factor=100 * max(1, np.abs(v).max(initial=0))
        )


@settings(deadline=None, max_examples=60)
@given(calls())
def test_gradients_are_finite_at_every_magnitude_and_keep_shapes_and_dtype(
    call,
):
    (q, k, v), mask, options = call
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in (q, k, v)))
    grad = np.full(lead + (q.shape[-2], v.shape[-1]), 1e-4, q.dtype)
    grads = scaled_dot_product_attention_vjp(grad, q, k, v, mask, **options)
    for x, g in zip((q, k, v), grads, strict=True):
        assert g.shape == x.shape and g.dtype == q.dtype
        # In float16 a gradient may be larger than the largest number.
        assert not np.isnan(g).any() and (
            q.dtype == np.float16 or np.isfinite(g).all()
        )


@pytest.mark.parametrize("is_causal", CAUSAL)
@pytest.mark.parametrize(
    "lengths",
    [(3, 3), (4, 4), (5, 5), (9, 9), (9, 4), (4, 9), (9, 7), (5, 12)],
)
@pytest.mark.parametrize("mask", [None, "bool", "additive"])
def test_blocks_of_four_rows_equal_the_textbook(
    monkeypatch, lengths, is_causal, mask
):
    monkeypatch.setattr(attention, "block_rows", lambda source: 4)
    q, k, v = (
        normal(2, lengths[0], 3),
        normal(2, lengths[1], 3, seed=1),
        normal(lengths[1], 2),
    )
    keep = normal(2, *lengths, seed=2) > 0
    mask = {"bool": keep, "additive": np.where(keep, 0.5, -np.inf)}.get(
        mask
    )
    grad = normal(2, lengths[0], 2, seed=3)
    close(
        scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal),
        textbook_attention(q, k, v, mask, is_causal=is_causal),
    )
    grads = scaled_dot_product_attention_vjp(
        grad, q, k, v, mask, is_causal=is_causal
    )
    expected = textbook_gradients(grad, q, k, v, mask, is_causal)
    for actual, wanted in zip(grads, expected, strict=True):
        close(actual, wanted, factor=10)


@pytest.mark.parametrize("length", [255, 256, 257, 600])
@pytest.mark.parametrize("is_causal", [False, True])
def test_lengths_around_a_real_block_equal_the_textbook(length, is_causal):
    q, k, v, grad = normal(4, 2, length, 8)
    close(
        scaled_dot_product_attention(q, k, v, is_causal=is_causal),
        textbook_attention(q, k, v, is_causal=is_causal),
        factor=10,
    )
    grads = scaled_dot_product_attention_vjp(
        grad, q, k, v, is_causal=is_causal
    )
    for actual, expected in zip(
        grads,
        textbook_gradients(grad, q, k, v, is_causal=is_causal),
        strict=True,
    ):
        close(actual, expected, factor=10)


def test_views_and_read_only_arrays_do():
    q, k, v, grad = (
        np.swapaxes(normal(4, 5, 2, seed=s), 0, 1) for s in range(4)
    )
    for x in (q, k, v, grad):
        x.setflags(write=False)
    close(
        scaled_dot_product_attention(q, k, v), textbook_attention(q, k, v)
    )
    grads = scaled_dot_product_attention_vjp(grad, q, k, v)
    for actual, expected in zip(
        grads, textbook_gradients(grad, q, k, v), strict=True
    ):
        close(actual, expected)


# --- finite differences --------------------------------------------------------------


@pytest.mark.parametrize("scale", [None, 1.0, 0.3])
@pytest.mark.parametrize("mask", [None, "bool", "additive"])
@pytest.mark.parametrize("is_causal", CAUSAL)
@pytest.mark.parametrize(
    "leads", [((), (), ()), ((2, 3), (1, 3), (3,)), ((1,), (2,), ())]
)
def test_gradients_equal_finite_differences(leads, is_causal, mask, scale):
    shapes = [
        lead + s
        for lead, s in zip(leads, [(5, 3), (6, 3), (6, 2)], strict=True)
    ]
    arrays = {
        n: normal(*s, seed=i)
        for i, (n, s) in enumerate(zip(NAMES[:3], shapes, strict=True))
    }
    keep = normal(5, 6, seed=7) > -0.5
    mask = {
        "bool": keep,
        "additive": np.where(keep, normal(5, 6), -np.inf),
    }.get(mask)
    options = {"attn_mask": mask, "is_causal": is_causal, "scale": scale}
    grad = normal(
        *scaled_dot_product_attention(**arrays, **options).shape, seed=8
    )

    def loss(**arrays):
        return np.sum(
            grad * scaled_dot_product_attention(**arrays, **options)
        )

    grads = scaled_dot_product_attention_vjp(grad, **arrays, **options)
    for name, g in zip(arrays, grads, strict=True):
        direction = normal(*g.shape, seed=9)
        assert np.sum(g * direction) == pytest.approx(
            slope(loss, arrays, name, direction), rel=1e-6, abs=1e-8
        )


# --- scores and scale ----------------------------------------------------------------


def test_scores_are_scaled_dot_products_one_row_for_each_query():
    q, k = normal(2, 1, 4, 3), normal(5, 5, 3, seed=1)
    scores = dot_product_scores(q, k, scale=0.7)
    assert scores.shape == (2, 5, 4, 5)
    for b, h, i, j in np.ndindex(scores.shape):
        assert scores[b, h, i, j] == pytest.approx(
            0.7 * (q[b, 0, i] @ k[h, j]), abs=1e-14
        )


def test_no_scale_is_the_inverse_root_of_the_width_of_the_keys():
    q, k, v = normal(4, 9), normal(6, 9), normal(6, 2)
    close(dot_product_scores(q, k), q @ k.T / 3)
    close(
        scaled_dot_product_attention(q, k, v),
        scaled_dot_product_attention(q, k, v, scale=1 / 3),
    )


def test_the_width_is_named():
    with pytest.raises(ValueError, match="^d_k must be at least 1, got 0$"):
        attention.default_scale(0)


def test_weights_are_the_softmax_of_the_scores():
    q, k = normal(2, 4, 9), normal(2, 6, 9)
    close(
        attention_weights(q, k, scale=2),
        softmax(dot_product_scores(q, k, scale=2)),
    )


def test_scale_zero_takes_the_mean_of_the_values():
    q, k, v = normal(4, 3), normal(6, 3), normal(6, 2)
    close(
        scaled_dot_product_attention(q, k, v, scale=0),
        np.tile(v.mean(axis=0), (4, 1)),
    )


def test_a_finite_scaled_score_does_not_overflow_on_the_way():
    q = np.array([[3e20], [0]], np.float32)
    k = np.array([[3e20], [1e20]], np.float32)  # q·k = 9e40 > 3.4e38
    scores = dot_product_scores(q, k, scale=1e-40)
    assert_allclose(scores, [[9, 3], [0, 0]], rtol=1e-4)
    weight = 1 / (1 + np.exp(-6))
    output = scaled_dot_product_attention(
        q, k, np.float32([[1], [0]]), scale=1e-40
    )
    assert_allclose(output, [[weight], [0.5]], rtol=1e-3)


def test_float16_is_computed_in_float32():
    q, k = (
        np.full((1, 4), 200, np.float16),
        np.full((1, 4), 200, np.float16),
    )
    k = np.concatenate([k, -k])  # q·k = ±160000, beyond float16's 65504
    output = scaled_dot_product_attention(q, k, np.float16([[1], [2]]))
    assert output.dtype == np.float16
    assert_array_equal(output, [[1]])
    # Rounding happens once, at the end.
    q, k, v = normal(3, 40, 16, dtype=np.float16)
    wide = scaled_dot_product_attention(
        *(x.astype(np.float32) for x in (q, k, v))
    )
    assert_array_equal(
        scaled_dot_product_attention(q, k, v), wide.astype(np.float16)
    )


def test_the_common_dtype_is_returned():
    q, k, v = normal(3, 4, 2)
    mixed = q.astype(np.float16), k.astype(np.float32), v.astype(np.float16)
    assert scaled_dot_product_attention(*mixed).dtype == np.float32
    assert attention_weights(*mixed[:2]).dtype == np.float32
    assert dot_product_scores(mixed[0], mixed[2]).dtype == np.float16
    grads = scaled_dot_product_attention_vjp(v, *mixed)
    assert {g.dtype for g in grads} == {np.dtype(np.float32)}


def test_a_masked_copy_leaves_the_scores_alone():
    scores = normal(3, 4)
    before = scores.copy()
    for options in ({}, {"is_causal": True}, {"attn_mask": scores < 0}):
        found = attention.masked_scores(scores, **options)
        assert not np.shares_memory(found, scores)
        attention.masked_softmax(scores, **options)
        assert_array_equal(scores, before)


def test_masked_softmax_of_float16_is_rounded_once():
    scores = normal(3, 500, dtype=np.float16)
    wide = attention.masked_softmax(scores.astype(np.float32))
    assert_array_equal(
        attention.masked_softmax(scores), wide.astype(np.float16)
    )


# --- what saves time ---------------------------------------------------------------


@pytest.mark.parametrize(
    "source, rows",
    [(0, 256), (1, 256), (2048, 256), (3000, 174), (8192, 64), (10**6, 64)],
)
def test_a_block_of_rows_holds_half_a_million_scores(source, rows):
    assert attention.block_rows(source) == rows


def test_causal_blocks_end_at_their_last_row_and_need_no_shift(monkeypatch):
    seen = []
    monkeypatch.setattr(attention, "block_rows", lambda source: 2)
    monkeypatch.setattr(
        attention, "_exponentiate", lambda *block: seen.append(block)
    )
    query, key = normal(2, 4, 3)
    one = np.ones((1, 1))
    for is_causal, source, widths in [
        (True, 4, [2, 4]),
        ("lower_right", 4, [2, 4]),
        ("lower_right", 3, [1, 3]),
        ("lower_right", 1, [0, 1]),
    ]:
        keys = key[:source]
        list(attention._row_blocks(query, keys, keys, None, is_causal, one))
        assert [x.shape for x, _ in seen] == [(2, n) for n in widths]
        assert all(bounded for _, bounded in seen)
        seen.clear()


def test_a_large_mask_is_shifted_away():
    q, v = np.zeros((2, 3)), normal(2, 4)
    output = scaled_dot_product_attention(q, q, v, np.full((2, 2), 1e4))
    close(output, np.tile(v.mean(axis=0), (2, 1)))


def test_bounded_scores_are_not_shifted():
    for bounded, lead in ((True, 3.0), (False, 0.0)):
        scores = np.array([[1.0, 3.0]])
        total = attention._exponentiate(scores, bounded)
        assert_allclose(scores, np.exp([[lead - 2, lead]]), rtol=1e-15)
        assert_allclose(total, scores.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize(
    "query, scale, bounded",
    [
        ([[3.0, 4.0], [0.0, 1.0]], 1.0, True),  # 5 · 12 = 60
        ([[0.0, 1.0], [3.0, -4.0]], 1.0, True),
        ([[3.0, 4.1]], 1.0, False),
        ([[3.0, 4.0]], 1.01, False),
        ([[6.0, 8.0]], 0.5, True),
        ([[0.0, 0.5]], 10.0, True),
        ([[np.nan, 1.0]], 1.0, False),
        ([[1e200, 1.0]], 0.5, False),
        (np.empty((0, 2)), 1.0, True),
    ],
)
def test_scores_are_bounded_by_the_longest_vectors(query, scale, bounded):
    key = np.array([[[1.0, 1.0], [0.0, -12.0]]])
    keep = np.ones((len(query), 2), bool)
    query = np.array([query])
    for mask in (None, keep):
        assert attention._are_bounded(query, key, mask, scale) == bounded
    assert not attention._are_bounded(query, key, keep * 1.0, scale)


def test_the_largest_entry_by_its_size():
    for x in ([0.5, -0.25], [0.25, -0.5], [0.5], [-0.5]):
        assert attention._largest(np.array(x)) == 0.5
    assert attention._largest(np.empty(0)) == 0


def all_finite(
    query=1e18,
    key=1e20,
    value=1.0,
    attn_mask=None,
    scale=1.0,
    grad_output=None,
    width=2,
    value_width=2,
):
    def row(x, n):
        return None if x is None else np.full((1, 1, n), x, np.float32)

    return attention._all_finite(
        row(query, width),
        row(key, width),
        row(value, value_width),
        attn_mask,
        scale,
        row(grad_output, value_width),
    )


@pytest.mark.parametrize(
    "changed, finite",
    [
        ({}, True),
        ({"query": -2e18}, False),
        ({"query": np.nan}, False),
        ({"key": -2e20}, False),
        ({"scale": 2.0}, False),
        ({"width": 4}, False),
        ({"width": 1, "scale": 2.0}, True),
        ({"value": np.inf}, False),
        ({"value": np.nan}, False),
        ({"value": 1e19, "grad_output": -1e19}, True),
        ({"value": 1e19, "grad_output": -2e19}, False),
        ({"value": -2e19, "grad_output": 1e19}, False),
        ({"value": 1e19, "grad_output": 1e19, "value_width": 4}, False),
        ({"attn_mask": [[0, 1e38]]}, True),
        ({"attn_mask": [[0, 2e38]]}, False),
        ({"attn_mask": [[0.0, np.nan]]}, False),
        ({"attn_mask": [[0, -np.inf]]}, True),
        ({"attn_mask": [[True, False]], "scale": 1.7}, True),
    ],
)
def test_what_cannot_overflow_in_float32(changed, finite):
    """1e18 · 1e20 in two products is 2e38, and float32 ends at 3.4e38."""
    assert all_finite(**changed) == finite


# --- masks and empty lengths ---------------------------------------------------------


def test_causal_is_aligned_at_the_top_left():
    for length, source in [(3, 5), (4, 4), (5, 3)]:
        weights = attention_weights(
            np.zeros((length, 1)), np.zeros((source, 1)), is_causal=True
        )
        for i in range(length):
            seen = min(i + 1, source)
            close(
                weights[i],
                np.r_[np.full(seen, 1 / seen), np.zeros(source - seen)],
            )


@pytest.mark.parametrize("length, source", [(3, 5), (4, 4), (5, 3), (1, 6)])
def test_lower_right_lets_the_last_query_see_all(length, source):
    weights = attention_weights(
        np.zeros((length, 1)),
        np.zeros((source, 1)),
        is_causal="lower_right",
    )
    for i in range(length):
        seen = max(source - length + i + 1, 0)
        close(
            weights[i],
            np.r_[np.full(seen, 1 / max(seen, 1)), np.zeros(source - seen)],
        )


def test_queries_one_after_the_other_are_all_at_once():
    """Decoding with a growing cache gives the rows of the causal call."""
    q, k, v = normal(3, 2, 6, 4)
    whole = scaled_dot_product_attention(q, k, v, is_causal=True)
    for i in range(6):
        row = scaled_dot_product_attention(
            q[:, i : i + 1],
            k[:, : i + 1],
            v[:, : i + 1],
            is_causal="lower_right",
        )
        close(row, whole[:, i : i + 1])


@pytest.mark.parametrize("wrong", ["upper_left", "", None, 1, [True], 0.0])
def test_another_alignment_is_refused_by_name(wrong):
    message = f'is_causal must be a bool or "lower_right", got {wrong!r}'
    x = np.zeros((2, 2))
    for call in (
        lambda: attention.masked_scores(x, is_causal=wrong),
        lambda: scaled_dot_product_attention(x, x, x, is_causal=wrong),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call()
    assert_array_equal(
        attention.masked_scores(x, is_causal=np.True_),
        attention.masked_scores(x, is_causal=True),
    )


def test_every_docstring_says_which_keys_a_causal_query_sees():
    told = 0
    for name in attnlib.__all__:
        function = getattr(attnlib, name)
        if "is_causal" in inspect.signature(function).parameters:
            words = " ".join(inspect.getdoc(function).split())
            assert "query i sees keys 0 … i" in words, name
            told += 1
    assert told == 13


def test_a_mask_and_causal_combine():
    keep = np.array(
        [[True, True, True], [False, True, True], [True, True, False]]
    )
    weights = attention_weights(
        np.zeros((3, 1)), np.zeros((3, 1)), keep, is_causal=True
    )
    close(weights, np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0]]))


def test_an_additive_mask_is_added_after_scaling():
    bias = np.log([[1.0, 3.0]])
    weights = attention_weights(
        np.zeros((1, 4)), np.zeros((2, 4)), bias, scale=0.01
    )
    close(weights, np.array([[0.25, 0.75]]))


@pytest.mark.parametrize(
    "mask", [np.zeros((3, 4), bool), np.full((3, 4), -np.inf)]
)
def test_a_fully_masked_row_gives_zero_and_finite_gradients(mask):
    mask[0] = 1
    q, k, v, grad = normal(3, 2), normal(4, 2), normal(4, 5), normal(3, 5)
    assert_array_equal(attention_weights(q, k, mask)[1:], 0)
    output = scaled_dot_product_attention(q, k, v, mask)
    assert_array_equal(output[1:], 0)
    assert np.abs(output[0]).min() > 0
    grads = scaled_dot_product_attention_vjp(grad, q, k, v, mask)
    assert_array_equal(grads[0][1:], 0)
    # The masked rows give nothing to keys and values either.
    for g, alone in zip(
        grads[1:],
        scaled_dot_product_attention_vjp(grad[:1], q[:1], k, v)[1:],
        strict=True,
    ):
        close(g, alone)


@pytest.mark.parametrize("is_causal", CAUSAL)
def test_without_keys_the_output_is_zero(is_causal):
    q, k, v = normal(2, 3, 4), np.empty((2, 0, 4)), np.empty((2, 0, 5))
    assert_array_equal(
        scaled_dot_product_attention(q, k, v, is_causal=is_causal),
        np.zeros((2, 3, 5)),
    )
    grads = scaled_dot_product_attention_vjp(
        np.ones((2, 3, 5)), q, k, v, is_causal=is_causal
    )
    assert_array_equal(grads[0], np.zeros((2, 3, 4)))
    assert grads[1].shape == (2, 0, 4) and grads[2].shape == (2, 0, 5)


@pytest.mark.parametrize("is_causal", CAUSAL)
def test_without_queries_the_output_is_empty(is_causal):
    q, k, v = np.empty((2, 0, 4)), normal(2, 3, 4), normal(2, 3, 5)
    assert scaled_dot_product_attention(
        q, k, v, is_causal=is_causal
    ).shape == (2, 0, 5)
    grads = scaled_dot_product_attention_vjp(
        np.empty((2, 0, 5)), q, k, v, is_causal=is_causal
    )
    assert grads[0].shape == (2, 0, 4)
    assert_array_equal(grads[1], np.zeros((2, 3, 4)))


# --- heads ---------------------------------------------------------------------------

HEADS = [(9, 3), (4, 1), (6, 6), (4, 2)]


def grouped(heads, groups, length=4, source=6, seed=0):
    """Query, key, value and a gradient by the output; two batch entries."""
    rng = np.random.default_rng(seed)
    shapes = (
        (2, heads, length, 8),
        (2, groups, source, 8),
        (2, groups, source, 5),
        (2, heads, length, 5),
    )
    return [rng.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize("heads, groups", HEADS)
def test_consecutive_heads_of_the_query_share_a_key(heads, groups):
    q, k, v, _ = grouped(heads, groups)
    output = scaled_dot_product_attention(q, k, v, enable_gqa=True)
    close(output, loops_attention(q, k, v), factor=10)
    weights = attention_weights(q, k, enable_gqa=True)
    close(weights @ np.repeat(v, heads // groups, axis=1), output)
    scores = dot_product_scores(q, k, enable_gqa=True)
    close(softmax(scores), weights)


@pytest.mark.parametrize("heads, groups", HEADS)
def test_gradients_of_shared_heads_are_summed(heads, groups):
    q, k, v, grad = grouped(heads, groups)
    mask = normal(heads, 4, 6) > -1  # one for each head of the query
    grads = scaled_dot_product_attention_vjp(
        grad, q, k, v, mask, enable_gqa=True
    )
    repeated = [np.repeat(x, heads // groups, axis=1) for x in (k, v)]
    expected = textbook_gradients(grad, q, *repeated, mask)
    close(grads[0], expected[0], factor=10)
    for actual, wanted in zip(grads[1:], expected[1:], strict=True):
        by_group = np.split(wanted, groups, axis=1)
        summed = np.stack([g.sum(axis=1) for g in by_group], axis=1)
        close(actual, summed, factor=10)


def test_shared_heads_and_a_broadcast_batch_go_together():
    q, k, v, grad = grouped(4, 2)
    k, v = k[:1], v[0]
    options = {"enable_gqa": True}
    output = scaled_dot_product_attention(q, k, v, **options)
    whole = np.concatenate([k, k]), np.stack([v, v])
    close(output, scaled_dot_product_attention(q, *whole, **options))
    _, by_key, by_value = scaled_dot_product_attention_vjp(
        grad, q, k, v, **options
    )
    _, every_key, every_value = scaled_dot_product_attention_vjp(
        grad, q, *whole, **options
    )
    close(by_key, every_key.sum(axis=0, keepdims=True))
    close(by_value, every_value.sum(axis=0))


def test_key_and_value_may_be_shared_by_different_numbers_of_heads():
    q, k, v, grad = grouped(4, 2)
    v = v[:, :1]
    output = scaled_dot_product_attention(q, k, v, enable_gqa=True)
    close(output, loops_attention(q, k, np.concatenate([v, v], axis=1)))
    _, by_key, by_value = scaled_dot_product_attention_vjp(
        grad, q, k, v, enable_gqa=True
    )
    assert by_key.shape == k.shape and by_value.shape == v.shape


@pytest.mark.parametrize(
    "enable_gqa, query, key",
    [
        (False, (8, 4, 3), (2, 5, 3)),
        (False, (2, 4, 3), (8, 5, 3)),
        (True, (8, 4, 3), (3, 5, 3)),
        (True, (2, 4, 3), (8, 5, 3)),
        (True, (0, 4, 3), (2, 5, 3)),
        (True, (2, 4, 3), (0, 5, 3)),
        (True, (2, 8, 4, 3), (3, 2, 5, 3)),
    ],
)
def test_heads_that_do_not_fit_are_told_what_would(enable_gqa, query, key):
    message = (
        "leading axes (batch, heads) do not broadcast: "
        f"query {query}, key {key}; "
        "enable_gqa=True repeats heads that divide the query's"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        dot_product_scores(
            np.zeros(query), np.zeros(key), enable_gqa=enable_gqa
        )


def test_without_an_axis_of_heads_nothing_is_repeated():
    q, k, v, _ = grouped(4, 4)
    for query, key, value in [(q, k[0, 0], v[0, 0]), (q[0, 0], k, v)]:
        assert_array_equal(
            scaled_dot_product_attention(
                query, key, value, enable_gqa=True
            ),
            scaled_dot_product_attention(query, key, value),
        )


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("is_causal", CAUSAL)
def test_each_head_has_its_own_scale(groups, is_causal):
    q, k, v, grad = grouped(4, groups)
    scale = np.array([0.0, 0.1, 1.0, 2.0])[:, None, None]
    options = {"is_causal": is_causal, "enable_gqa": True, "scale": scale}
    output = scaled_dot_product_attention(q, k, v, **options)
    grads = scaled_dot_product_attention_vjp(grad, q, k, v, **options)
    sums = [np.zeros(x.shape) for x in (q, k, v)]
    for h, factor in enumerate(scale.ravel()):
        g = h // (4 // groups)
        one = {"is_causal": is_causal, "scale": factor}
        alone = q[:, h], k[:, g], v[:, g]
        close(output[:, h], textbook_attention(*alone, **one))
        own = textbook_gradients(grad[:, h], *alone, **one)
        for total, place, part in zip(sums, (h, g, g), own, strict=True):
            total[:, place] += part
    for actual, expected in zip(grads, sums, strict=True):
        close(actual, expected, factor=10)
    close(
        attention_weights(q, k, **options),
        np.stack(
            [
                textbook_weights(
                    q[:, h], k[:, h // (4 // groups)], None, is_causal, s
                )
                for h, s in enumerate(scale.ravel())
            ],
            axis=1,
        ),
    )


def test_a_scale_may_differ_by_head_and_batch_entry_and_keeps_the_dtype():
    q, k, v, grad = (x.astype(np.float32) for x in grouped(3, 3))
    scale = np.arange(6.0).reshape(2, 3, 1, 1)
    output = scaled_dot_product_attention(q, k, v, scale=scale)
    grads = scaled_dot_product_attention_vjp(grad, q, k, v, scale=scale)
    assert {x.dtype for x in (output, *grads)} == {np.dtype("float32")}
    close(
        output,
        scaled_dot_product_attention(scale * q, k, v, scale=1),
        "float32",
    )
    wide = scale / 10
    assert_array_equal(  # computed in the arrays' dtype, whatever the scale's
        dot_product_scores(q, k, scale=wide),
        dot_product_scores(q, k, scale=wide.astype(np.float32)),
    )
    listed = scaled_dot_product_attention(q, k, v, scale=scale.tolist())
    assert_array_equal(listed, output)
    for one in (np.array(0.5), np.array([0.5]), np.array([[0.5]])):
        assert_array_equal(
            scaled_dot_product_attention(q, k, v, scale=one),
            scaled_dot_product_attention(q, k, v, scale=0.5),
        )


@pytest.mark.parametrize("shape", [(3,), (4,), (6,), (3, 1), (3, 4, 1)])
def test_a_scale_that_would_go_along_the_keys_is_refused(shape):
    q, k, v, _ = grouped(3, 3)
    message = (
        "scale must be a number, or one for each head in the shape "
        f"(heads, 1, 1), got shape {shape} for (2, 3, 1, 1)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        scaled_dot_product_attention(q, k, v, scale=np.ones(shape))


@pytest.mark.parametrize(
    "wrong, error",
    [
        ([1.0, -1.0, 1.0], ValueError),
        ([1.0, np.nan, 1.0], ValueError),
        ([1.0, 1.0, np.inf], ValueError),
        ([True, True, True], TypeError),
        ([1j, 1j, 1j], TypeError),
    ],
)
def test_every_head_has_a_finite_scale(wrong, error):
    q, k, _, _ = grouped(3, 3)
    with pytest.raises(error, match=r"^scale must (be finite|hold real)"):
        attention_weights(q, k, scale=np.array(wrong)[:, None, None])


@QUIET
def test_the_largest_scale_bounds_the_scores(monkeypatch):
    """Where one head alone can be large, scores are shifted, and no block is cut."""
    seen = []
    monkeypatch.setattr(
        attention, "_exponentiate", lambda *block: seen.append(block)
    )
    x = np.full((2, 4, 1), 5.0, np.float32)
    for largest, bounded, width in [
        (2.4, True, 2),
        (2.5, False, 2),
        (1e38, False, 4),
    ]:
        scale = np.array([1.0, largest], np.float32)[:, None, None]
        monkeypatch.setattr(attention, "block_rows", lambda source: 2)
        list(attention._row_blocks(x, x, x, None, True, scale))
        assert [b for _, b in seen] == 4 * [bounded]
        assert seen[0][0].shape == (2, width)
        seen.clear()


# --- as the ONNX operator --------------------------------------------------------------


@pytest.mark.parametrize("heads, groups", HEADS)
@pytest.mark.parametrize("lengths", [(6, 6), (2, 5), (0, 1)])
def test_rows_of_different_lengths_are_a_mask(heads, groups, lengths):
    q, k, v, grad = grouped(heads, groups)
    lengths = np.array(lengths)
    keep = np.arange(6) < lengths[:, None, None, None]
    output = scaled_dot_product_attention(q, k, v, keep, enable_gqa=True)
    close(output, loops_attention(q, k, v, lengths=lengths), factor=10)
    _, by_key, by_value = scaled_dot_product_attention_vjp(
        grad, q, k, v, keep, enable_gqa=True
    )
    for b, n in enumerate(lengths):
        assert_array_equal(by_key[b, :, n:], 0)
        assert_array_equal(by_value[b, :, n:], 0)


@pytest.mark.parametrize("length, source", [(1, 6), (3, 5), (4, 4), (5, 3)])
def test_queries_continue_a_cache_of_past_keys(length, source):
    q, k, v, _ = grouped(4, 2, length, source)
    past = np.full(2, source - length)
    output = scaled_dot_product_attention(
        q, k, v, enable_gqa=True, is_causal="lower_right"
    )
    close(output, loops_attention(q, k, v, past=past))
    top_left = scaled_dot_product_attention(
        q, k, v, enable_gqa=True, is_causal=True
    )
    close(top_left, loops_attention(q, k, v, past=np.zeros(2)))


@pytest.mark.parametrize("lengths", [(6, 4), (3, 5), (2, 6)])
def test_caches_of_different_lengths_are_a_mask(lengths):
    """nonpad_kv_seqlen with is_causal: query i sees keys 0 … length - L + i."""
    q, k, v, _ = grouped(4, 2, 3, 6)
    lengths = np.array(lengths)
    last = lengths[:, None] - 3 + np.arange(3)
    keep = np.arange(6) <= last[:, None, :, None]
    output = scaled_dot_product_attention(q, k, v, keep, enable_gqa=True)
    expected = loops_attention(q, k, v, lengths=lengths, past=lengths - 3)
    close(output, expected)


# --- torch, live: what the stored results have not -----------------------------------


def torch_gradients(grad, *arrays, **options):
    """Output and gradients of torch's function in float64."""
    import torch

    tensors = [torch.tensor(x, requires_grad=True) for x in arrays]
    output = torch.nn.functional.scaled_dot_product_attention(
        *tensors, **options
    )
    output.backward(torch.tensor(grad))
    return [
        x.detach().numpy() for x in (output, *(t.grad for t in tensors))
    ]


@pytest.mark.needs_torch
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("heads, groups", HEADS)
def test_shared_heads_equal_torch_live(heads, groups, is_causal):
    *arrays, grad = grouped(heads, groups)
    options = {"enable_gqa": True, "is_causal": is_causal}
    theirs = torch_gradients(grad, *arrays, **options)
    ours = [
        scaled_dot_product_attention(*arrays, **options),
        *scaled_dot_product_attention_vjp(grad, *arrays, **options),
    ]
    for actual, expected in zip(ours, theirs, strict=True):
        close(actual, expected, factor=10)


@pytest.mark.needs_torch
@pytest.mark.parametrize("length, source", [(1, 6), (3, 5), (4, 4)])
def test_lower_right_equals_torch_live(length, source):
    from torch.nn.attention.bias import causal_lower_right

    *arrays, grad = grouped(3, 3, length, source)
    theirs = torch_gradients(
        grad, *arrays, attn_mask=causal_lower_right(length, source)
    )
    options = {"is_causal": "lower_right"}
    ours = [
        scaled_dot_product_attention(*arrays, **options),
        *scaled_dot_product_attention_vjp(grad, *arrays, **options),
    ]
    for actual, expected in zip(ours, theirs, strict=True):
        close(actual, expected, factor=10)


@pytest.mark.needs_torch
def test_a_scale_for_each_head_equals_torch_head_by_head_live():
    *arrays, grad = grouped(3, 3)
    scales = [0.0, 0.3, 1.7]
    options = {"scale": np.array(scales)[:, None, None]}
    ours = [
        scaled_dot_product_attention(*arrays, **options),
        *scaled_dot_product_attention_vjp(grad, *arrays, **options),
    ]
    for h, scale in enumerate(scales):
        alone = [x[:, h : h + 1] for x in (grad, *arrays)]
        theirs = torch_gradients(*alone, scale=scale)
        for actual, expected in zip(ours, theirs, strict=True):
            close(actual[:, h : h + 1], expected, factor=10)


# --- NaN and infinities --------------------------------------------------------------


def poisoned(name, amount):
    """Arguments of length 9 with one entry of `name` at key 7 (of `grad_output` at row 5)."""
    arrays = {
        n: normal(9, 2, seed=i)
        for i, n in enumerate(("query", "key", "value"))
    }
    arrays["grad_output"] = normal(9, 2, seed=5)
    if name == "attn_mask":
        arrays["attn_mask"] = np.zeros((9, 9))
        arrays["attn_mask"][2, 7] = amount
    else:
        arrays[name][5 if name == "grad_output" else 7, 0] = amount
    return arrays


@pytest.mark.parametrize(
    "name", ["query", "key", "value", "attn_mask", "grad_output"]
)
@pytest.mark.parametrize("amount", [np.nan, np.inf, -np.inf, 1e308])
@pytest.mark.parametrize("is_causal", [True, "lower_right"])
@QUIET
def test_what_stands_in_the_future_does_not_depend_on_the_block(
    monkeypatch, name, amount, is_causal
):
    arrays = poisoned(name, amount)
    inputs = {n: x for n, x in arrays.items() if n != "grad_output"}
    answers = []
    for size in (256, 4, 3, 1):
        monkeypatch.setattr(
            attention, "block_rows", lambda _, size=size: size
        )
        output = scaled_dot_product_attention(**inputs, is_causal=is_causal)
        grads = scaled_dot_product_attention_vjp(
            **arrays, is_causal=is_causal
        )
        answers.append([output, *grads])
    for answer in answers[1:]:
        for actual, expected in zip(answer, answers[0], strict=True):
            assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["key", "value"])
@pytest.mark.parametrize("mask", ["bool", "causal"])
def test_nan_behind_a_mask_stays_nan(name, mask):
    """As torch does with a boolean mask: NaN + -inf and 0 · NaN are NaN.

    (Torch's causal CPU kernel skips some future keys, so that there the answer
    depends on the position; attnlib's never does.)
    """
    arrays = poisoned(name, np.nan)
    del arrays["grad_output"]
    options = (
        {"is_causal": True}
        if mask == "causal"
        else {"attn_mask": np.tri(9, dtype=bool)}
    )
    output = scaled_dot_product_attention(**arrays, **options)
    assert np.isnan(output[:, 0]).all()
    assert np.isnan(output[:, 1]).all() == (name == "key")


@pytest.mark.needs_torch
@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_nan_behind_a_boolean_mask_is_nan_where_torch_has_it(name):
    maker = script("make_torch_reference")
    arrays = {**poisoned(name, np.nan), "attn_mask": np.tri(9, dtype=bool)}
    expected = maker.torch_attention(**arrays)["output"]
    del arrays["grad_output"]
    assert_array_equal(
        np.isnan(scaled_dot_product_attention(**arrays)), np.isnan(expected)
    )


@QUIET
def test_an_infinite_score_gives_nan_in_its_row_only():
    q, k, v = np.ones((2, 1)), np.array([[1.0], [np.inf]]), np.ones((2, 1))
    output = scaled_dot_product_attention(q * [[1], [-1]], k, v)
    assert np.isnan(output[0]) and output[1] == 1


# --- memory --------------------------------------------------------------------------


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_working_memory_is_a_block_of_rows(backward, is_causal):
    n = 2048
    q, k, v = normal(3, n, 8, dtype=np.float32)
    tracemalloc.start()
    try:
        if backward:
            scaled_dot_product_attention_vjp(
                v, q, k, v, is_causal=is_causal
            )
        else:
            scaled_dot_product_attention(q, k, v, is_causal=is_causal)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    block = 4 * attention.block_rows(n) * n
    assert peak < (4 if backward else 2) * block < 4 * n * n


# --- errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shapes, message",
    [
        [
            ((4, 3), (5, 2), (5, 2)),
            r"^query and key must .*\(4, 3\) and \(5, 2\)$",
        ],
        [((4, 0), (5, 0), (5, 2)), r"d_k ≥ 1.*\(4, 0\) and \(5, 0\)"],
        [
            ((4, 3), (5, 3), (6, 2)),
            r"^key and value must .*\(5, 3\) and \(6, 2\)$",
        ],
        [
            ((2, 4, 3), (3, 5, 3), (5, 2)),
            r"query \(2, 4, 3\), key \(3, 5, 3\)",
        ],
        [((3,), (5, 3), (5, 2)), r"query .*\(3,\)"],
        [((4, 3), (5, 3), (5,)), r"value .*\(5,\)"],
    ],
)
def test_shapes_that_do_not_fit_are_named(shapes, message):
    with pytest.raises(ValueError, match=message):
        scaled_dot_product_attention(*(np.zeros(s) for s in shapes))


def test_a_row_alone_is_refused_by_name():
    row, rows = np.zeros(3), np.zeros((2, 3))
    for name, call in {
        "query": lambda: dot_product_scores(row, rows),
        "key": lambda: dot_product_scores(rows, row),
        "scores": lambda: attention.masked_scores(row),
        "value": lambda: scaled_dot_product_attention(rows, rows, row),
    }.items():
        message = rf"^{name} needs at least 2 axes, got shape \(3,\)$"
        with pytest.raises(ValueError, match=message):
            call()


def test_without_a_mask_scores_stay_as_they_are():
    scores = normal(3, 4)
    assert_array_equal(attention.masked_scores(scores), scores)


@pytest.mark.parametrize(
    "mask", [np.zeros((4, 5), int), np.zeros((4, 5), complex)]
)
def test_a_mask_is_boolean_or_floating(mask):
    with pytest.raises(TypeError, match=f"attn_mask .*{mask.dtype}"):
        scaled_dot_product_attention(
            np.zeros((4, 3)), np.zeros((5, 3)), np.zeros((5, 2)), mask
        )


@pytest.mark.parametrize("shape", [(5, 4), (2, 4, 5), (6,)])
def test_a_mask_fits_the_scores(shape):
    with pytest.raises(ValueError, match=r"attn_mask of shape .*\(4, 5\)"):
        attention_weights(
            np.zeros((4, 3)), np.zeros((5, 3)), np.ones(shape, bool)
        )


def test_grad_output_has_the_shape_of_the_output():
    q, k, v = np.zeros((2, 4, 3)), np.zeros((5, 3)), np.zeros((5, 6))
    with pytest.raises(
        ValueError, match=r"grad_output .*\(2, 4, 6\), got \(4, 6\)"
    ):
        scaled_dot_product_attention_vjp(np.zeros((4, 6)), q, k, v)


def test_a_factor_moved_into_the_query_multiplies_its_gradient():
    """T5's way: U = W_Q/√d_k at scale 1 has √d_k times the gradient."""
    q, k, v, grad = normal(4, 5, 16)
    scaled = scaled_dot_product_attention_vjp(grad, q, k, v)[0]
    moved = scaled_dot_product_attention_vjp(grad, q / 4, k, v, scale=1)[0]
    close(moved, 4 * scaled)

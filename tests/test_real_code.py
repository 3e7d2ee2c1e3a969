"""The page "The factor in real code": what its assertion catches, and what it lets pass.

The function is taken from the notebook's own cell; the layers here are written in plain numpy.
"""

import re
from functools import partial

import numpy as np
import pytest
from stored import BOOK, code_cells, read, text

import attnlib

PAGE = BOOK / "real-code.ipynb"
WIDTHS = (2, 16, 64, 100, 256)


def cells_that(pattern):
    sources = [text(cell["source"]) for cell in code_cells(read(PAGE))]
    return [s for s in sources if re.search(pattern, s, re.M)]


def names_of(*patterns):
    """What the page's cells that match define."""
    space = {"np": np, "attn": attnlib}
    for pattern in patterns:
        (source,) = cells_that(pattern)
        exec(source, space)
    return space


@pytest.fixture(scope="module")
def assert_scale():
    return names_of(r"^def assert_scale\(")["assert_scale"]


def attend(q, k, v, scale=None, causal=False, sink=None, cap=None):
    """One head in plain numpy, with the default of the usual kernels."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = q @ k.T * scale
    if cap is not None:
        scores = cap * np.tanh(scores / cap)
    if causal:
        scores = np.where(np.tri(len(q), dtype=bool), scores, -np.inf)
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    extra = 0 if sink is None else np.exp(sink - scores.max(axis=-1))
    return e @ v / (e.sum(axis=-1) + extra)[:, None]


# The right layer passes, however it is written


@pytest.mark.parametrize("d_k", WIDTHS)
def test_the_right_layer_passes(assert_scale, d_k):
    right = d_k**-0.5
    assert_scale(attend, d_k, right)
    assert_scale(lambda *x: attend(*x, causal=True), d_k, right)
    assert_scale(lambda *x: attend(*x, sink=0.3), d_k, right)
    assert_scale(lambda q, k, v: attend(q * right, k, v, 1), d_k, right)
    root = d_k**-0.25
    assert_scale(
        lambda q, k, v: attend(q * root, k * root, v, 1), d_k, right
    )


@pytest.mark.parametrize("scale", [1, 1 / 12, 1 / 64, 10, 1.87 / 192**0.5])
def test_a_constant_of_the_models_own_passes(assert_scale, scale):
    assert_scale(lambda *x: attend(*x, scale), 64, scale)


@pytest.mark.parametrize(
    "dtype, options",
    [
        ("float32", {}),
        ("float16", {}),
        ("bfloat16", {"rtol": 0.2}),
        ("bfloat16", {"size": 8}),
    ],
)
@pytest.mark.parametrize("d_k", (64, 128, 256))
def test_the_right_layer_passes_in_low_precision(
    assert_scale, dtype, options, d_k
):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dtype = getattr(ml_dtypes, dtype, dtype)

    def layer(q, k, v):
        q, k, v = (x.astype(dtype).astype(np.float32) for x in (q, k, v))
        return attend(q, k, v).astype(dtype)

    assert_scale(layer, d_k, d_k**-0.5, **options)
    with pytest.raises(AssertionError):
        assert_scale(layer, d_k, 1, **options)
    # A head of 7/8 of the width, as 224 for 256, needs more digits.
    if "rtol" in options:
        assert_scale(layer, d_k, (7 / 8 * d_k) ** -0.5, **options)
    else:
        with pytest.raises(AssertionError):
            assert_scale(layer, d_k, (7 / 8 * d_k) ** -0.5, **options)


def rms(x):
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True))


def test_after_rms_norm_the_width_times_the_factor(assert_scale):
    def layer(q, k, v):
        return attend(rms(q), rms(k), v, scale=1 / 8)

    assert_scale(layer, 64, 64 / 8)
    with pytest.raises(AssertionError):
        assert_scale(layer, 64, 1 / 8)


# The six bugs, each of them written again


def model_width(q, k, v):
    return attend(q, k, v, (12 * q.shape[-1]) ** -0.5)


def reversed_sign(q, k, v):
    return attend(q, k, v, q.shape[-1] ** +0.5)


def missing(q, k, v):
    return attend(q, k, v, 1)


def absorbed_width(q, k, v):
    W_UK = np.random.default_rng(0).normal(size=(512, len(v) - 64))
    latent = k[:, :-64] @ np.linalg.pinv(W_UK)
    return attend(
        np.hstack([q[:, :-64] @ W_UK.T, q[:, -64:]]),
        np.hstack([latent, k[:, -64:]]),
        v,
    )


def applied_twice(q, k, v):
    return attend(q * q.shape[-1] ** -0.5, k, v)


def norm_and_default(q, k, v):
    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    return attend(unit(q), unit(k), v)  # 10 was wanted


BUGS = {
    model_width: None,
    reversed_sign: None,
    missing: None,
    absorbed_width: None,
    applied_twice: None,
    norm_and_default: 10,
}


@pytest.mark.parametrize("d_k", (96, 192, 256))
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_bug_is_caught(assert_scale, bug, d_k):
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_scale(bug, d_k, BUGS[bug] or d_k**-0.5)


def test_the_absorbed_product_passes_with_its_own_constant(assert_scale):
    def absorbed(q, k, v):
        return absorbed_width(q * (576 / 256) ** 0.5, k, v)

    assert_scale(absorbed, 256, 256**-0.5)


def test_small_errors_and_nan_are_caught(assert_scale):
    with pytest.raises(AssertionError):  # 224 for 256
        assert_scale(lambda *x: attend(*x, 224**-0.5), 256, 256**-0.5)
    with pytest.raises(AssertionError):
        assert_scale(lambda q, k, v: v * np.nan, 64, 1 / 8)
    with np.errstate(divide="ignore"), pytest.raises(AssertionError):
        assert_scale(lambda q, k, v: np.eye(64), 64, 1 / 8)  # collapsed


def test_a_bias_by_position_is_not_taken_for_a_factor(assert_scale):
    def layer(q, k, v):
        bias = np.exp(-0.1 * np.abs(np.subtract.outer(*2 * [range(64)])))
        a = bias * attend(q, k, np.eye(64))
        return a / a.sum(axis=-1, keepdims=True)

    with pytest.raises(AssertionError):
        assert_scale(layer, 64, 1 / 8)


# The page itself


def test_the_page_shows_six_bugs_caught_and_the_right_layer():
    page = names_of(r"^def attend\(", r"^def assert_scale\(")
    bugs = [
        r"^def model_width",
        r"^def reversed_sign",
        r"^def two_paths",
        r"^def absorbed_width",
        r"^def applied_twice",
        r"^def norm_and_default",
    ]
    for pattern in bugs:
        (source,) = cells_that(pattern)
        exec(source.split("\n\n\ncompare(")[0], page)
    (source,) = cells_that(r"^layers = \{")
    said = []
    exec(source, page | {"print": said.append})
    assert said[0] == "right layer: passes"
    assert len(said) == 7 and all(s.endswith(": caught") for s in said[1:])


@pytest.mark.needs_torch
def test_the_adapter_for_torch_is_right(assert_scale):
    import torch

    prose = "\n".join(
        text(cell["source"])
        for cell in read(PAGE)["cells"]
        if cell["cell_type"] == "markdown"
    )
    (adapter,) = re.findall(r"```python\n(.*?)```", prose, re.S)
    space = {"torch": torch}
    exec(adapter, space)
    for d_k in (16, 64, 256):
        assert_scale(space["attention"], d_k, d_k**-0.5)
        short = partial(space["attention"], dtype=torch.bfloat16)
        assert_scale(short, d_k, d_k**-0.5, size=8)
        with pytest.raises(AssertionError):
            assert_scale(space["attention"], d_k, 1 / d_k)

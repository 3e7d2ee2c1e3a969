"""attnlib.layers against torch (stored and live), finite differences and one by hand."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracles import script, slope, textbook_attention, torch_reference

from attnlib import (
    embed,
    merge_heads,
    multi_head_attention,
    multi_head_attention_vjp,
    project,
    split_heads,
)
from attnlib.book import running_example

pytestmark = pytest.mark.filterwarnings("error")

STORED = torch_reference("layer")
WEIGHTS = ("w_query", "w_key", "w_value", "w_output")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def layer(x_shape=(2, 5, 6), d_k=2, d_v=3, d_out=7, heads=2):
    """Arguments of a layer whose widths all differ, so that none stands in for another."""
    d = x_shape[-1]
    shapes = {
        "x": x_shape,
        "w_query": (d, heads * d_k),
        "w_key": (d, heads * d_k),
        "w_value": (d, heads * d_v),
        "w_output": (heads * d_v, d_out),
    }
    return {
        name: normal(*s, seed=i)
        for i, (name, s) in enumerate(shapes.items())
    }


# --- the whole layer -----------------------------------------------------------------


@pytest.mark.parametrize("case", STORED)
def test_layer_and_gradients_equal_the_stored_ones_of_torch(case):
    arrays, options = STORED[case]
    inputs = {name: arrays[name] for name in ("x", *WEIGHTS)}
    assert_allclose(
        multi_head_attention(**inputs, **options),
        arrays["output"],
        atol=1e-13,
    )
    grads = multi_head_attention_vjp(
        arrays["grad_output"], **inputs, **options
    )
    for name, grad in zip(inputs, grads, strict=True):
        assert_allclose(
            grad, arrays[f"grad_{name}"], atol=1e-12, err_msg=name
        )


@pytest.mark.needs_torch
@pytest.mark.parametrize("case", STORED)
def test_the_stored_layers_are_what_torch_gives_here(case):
    arrays, options = STORED[case]
    inputs = {name: arrays[name] for name in ("grad_output", "x", *WEIGHTS)}
    for name, array in (
        script("make_torch_reference")
        .torch_layer(**inputs, **options)
        .items()
    ):
        assert_allclose(arrays[name], array, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    "options", [{}, {"is_causal": True}, {"scale": 1.0}]
)
def test_layer_is_its_heads_side_by_side(options):
    arguments = layer()
    x, w_query, w_key, w_value, w_output = arguments.values()
    heads = [
        textbook_attention(
            x @ w_query[:, 2 * h : 2 * h + 2],
            x @ w_key[:, 2 * h : 2 * h + 2],
            x @ w_value[:, 3 * h : 3 * h + 3],
            **options,
        )
        for h in range(2)
    ]
    expected = np.concatenate(heads, axis=-1) @ w_output
    assert_allclose(
        multi_head_attention(**arguments, heads=2, **options),
        expected,
        atol=1e-13,
    )


def test_each_head_may_have_its_scale():
    """As W_Q with the head's columns multiplied by the head's factor."""
    arguments = layer()
    scale = np.array([0.1, 2.0])
    options = {"heads": 2, "is_causal": "lower_right"}
    grad = normal(*multi_head_attention(**arguments, heads=2).shape, seed=8)
    ours = [
        multi_head_attention(
            **arguments, **options, scale=scale[:, None, None]
        ),
        *multi_head_attention_vjp(
            grad, **arguments, **options, scale=scale[:, None, None]
        ),
    ]
    columns = np.repeat(scale, 2)
    moved = {**arguments, "w_query": arguments["w_query"] * columns}
    options = {"heads": 2, "is_causal": True, "scale": 1}
    theirs = [
        multi_head_attention(**moved, **options),
        *multi_head_attention_vjp(grad, **moved, **options),
    ]
    theirs[2] = theirs[2] * columns  # the gradient by W_Q itself
    for actual, expected in zip(ours, theirs, strict=True):
        assert_allclose(actual, expected, atol=1e-12)


def test_default_scale_uses_the_width_of_the_head():
    arguments = layer(d_k=4)
    assert_allclose(
        multi_head_attention(**arguments, heads=2),
        multi_head_attention(**arguments, heads=2, scale=0.5),
    )


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize(
    "options",
    [{}, {"is_causal": True}, {"scale": 1.0}, {"attn_mask": "per head"}],
)
def test_gradients_equal_finite_differences(lead, options):
    arguments = layer(lead + (5, 6))
    if "attn_mask" in options:
        options = {"attn_mask": normal(2, 5, 5, seed=9) > -1}
    grad = normal(*lead, 5, 7, seed=8)

    def loss(**arguments):
        return np.sum(
            grad * multi_head_attention(**arguments, heads=2, **options)
        )

    grads = multi_head_attention_vjp(grad, **arguments, heads=2, **options)
    for name, g in zip(arguments, grads, strict=True):
        assert g.shape == arguments[name].shape
        direction = normal(*g.shape, seed=10)
        expected = slope(loss, arguments, name, direction)
        assert np.sum(g * direction) == pytest.approx(
            expected, rel=1e-6, abs=1e-7
        ), name


def test_a_mask_may_differ_between_heads():
    arguments = layer((5, 6))
    mask = np.ones((2, 5, 5), bool)
    mask[1] = False  # the second head says nothing
    output = multi_head_attention(**arguments, heads=2, attn_mask=mask)
    first = {
        **arguments,
        "w_output": np.vstack(
            [arguments["w_output"][:3], np.zeros((3, 7))]
        ),
    }
    assert_allclose(
        output, multi_head_attention(**first, heads=2), atol=1e-14
    )


def test_empty_sequences_pass_through():
    arguments = layer((2, 0, 6))
    assert multi_head_attention(**arguments, heads=2).shape == (2, 0, 7)
    grads = multi_head_attention_vjp(
        np.empty((2, 0, 7)), **arguments, heads=2
    )
    for g, x in zip(grads, arguments.values(), strict=True):
        assert_array_equal(g, np.zeros(x.shape))


# --- its parts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(5, 12), (2, 5, 12), (2, 3, 5, 12), (0, 12), (2, 0, 12)]
)
@pytest.mark.parametrize("heads", [1, 3, 12])
def test_merge_undoes_split(shape, heads):
    x = normal(*shape)
    split = split_heads(x, heads)
    assert split.shape == shape[:-2] + (heads, shape[-2], 12 // heads)
    assert_array_equal(merge_heads(split), x)


def test_each_head_takes_its_own_columns():
    x = normal(5, 6)
    assert_array_equal(split_heads(x, 2), [x[:, :3], x[:, 3:]])


def test_embedding_selects_rows_as_a_one_hot_product_does():
    table, ids = normal(7, 4), np.array([[0, 6, 3], [3, 3, 1]])
    assert_array_equal(embed(ids, table), np.eye(7)[ids] @ table)
    assert embed(np.int64(2), table).shape == (4,)
    assert embed(np.empty((0,), int), table).shape == (0, 4)
    assert (
        embed(ids.astype(np.uint8), table.astype(np.float32)).dtype
        == np.float32
    )


@pytest.mark.parametrize("ids", [[7], [-1], [[0, 100]]])
def test_ids_outside_the_table_are_refused(ids):
    with pytest.raises(ValueError, match=r"ids must lie in 0 … 6"):
        embed(np.array(ids), normal(7, 4))


def test_projection_is_a_product_and_a_bias():
    x, weight, bias = normal(2, 5, 3), normal(3, 4), normal(4)
    expected = np.einsum("bni,ij->bnj", x, weight)
    assert_allclose(project(x, weight), expected, atol=1e-14)
    assert_allclose(project(x, weight, bias), expected + bias, atol=1e-14)
    assert project(x[0, 0], weight).shape == (4,)


def test_the_running_example_goes_through():
    """The book's own arrays fit the functions that chapters 01 to 07 apply to them."""
    example = running_example()
    q = project(example.layer_input, example.w_query, example.b_query)
    assert q.shape == (len(example.tokens), 32) and q.dtype == np.float32
    x = (
        example.embedding
        + example.position_embedding
        + example.type_embedding
    )
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(
        x.var(-1, keepdims=True) + example.layer_norm_epsilon
    )
    x = x * example.layer_norm_weight + example.layer_norm_bias
    assert_allclose(x, example.layer_input, atol=1e-5)
    with pytest.raises(ValueError, match="read-only"):
        example.w_query[0] = 0


# --- errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, shape",
    [
        ("w_query", (5, 4)),
        ("w_query", (6,)),
        ("w_query", (6, 0)),
        ("w_key", (6, 8)),
        ("w_key", (6, 5)),
        ("w_value", (6, 7)),
        ("w_output", (5, 7)),
        ("x", (6,)),
    ],
)
@pytest.mark.parametrize("backward", [False, True])
def test_weights_that_do_not_fit_are_named(name, shape, backward):
    arguments = {**layer(), name: np.zeros(shape), "heads": 2}
    function = multi_head_attention
    if backward:
        function, arguments["grad_output"] = (
            multi_head_attention_vjp,
            np.zeros((2, 5, 7)),
        )
    with pytest.raises(ValueError, match=name):
        function(**arguments)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"x": np.zeros(6)}, "x needs at least 2 axes, got shape (6,)"),
        ({"heads": 0}, "heads must be at least 1, got 0"),
        (
            {"w_value": np.zeros(6)},
            "w_value needs at least 2 axes, got shape (6,)",
        ),
        (
            {"w_query": np.zeros((6, 4, 1))},
            "w_query must be (6, a multiple of 2) "
            "for x of shape (2, 5, 6) and 2 heads, got (6, 4, 1)",
        ),
        (
            dict.fromkeys(("w_query", "w_key"), np.zeros((6, 0))),
            "w_query and w_key must have one width ≥ 1, "
            "got (6, 0) and (6, 0)",
        ),
    ],
)
def test_the_message_says_what_a_layer_takes(changed, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        multi_head_attention(**layer() | {"heads": 2} | changed)


def test_grad_output_has_the_shape_of_the_output():
    with pytest.raises(
        ValueError, match=r"grad_output .*\(2, 5, 7\), got \(2, 5, 6\)"
    ):
        multi_head_attention_vjp(np.zeros((2, 5, 6)), **layer(), heads=2)


X, W = normal(5, 6), normal(6, 2)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: project(X, X),
            ValueError,
            r"x and weight .*\(5, 6\) and \(5, 6\)",
        ),
        (
            lambda: project(X, W, X[0]),
            ValueError,
            r"weight and bias .*\(6, 2\) and \(6,\)",
        ),
        (lambda: project(X > 0, W), TypeError, "x must hold real numbers"),
        (lambda: split_heads(X, 4), ValueError, r"x \(5, 6\) .* heads = 4"),
        (lambda: split_heads(X, 0), ValueError, "heads must be at least 1"),
        (
            lambda: split_heads(X, 2.0),
            TypeError,
            "heads must be an integer",
        ),
        (
            lambda: merge_heads(X),
            ValueError,
            r"x needs at least 3 axes, got shape \(5, 6\)",
        ),
        (
            lambda: embed(np.array([0.0]), X),
            TypeError,
            "ids must be integers",
        ),
        (
            lambda: embed(np.array([True]), X),
            TypeError,
            "ids must be integers",
        ),
        (
            lambda: embed(np.array([0]), X[None]),
            ValueError,
            r"^embedding must be \(vocabulary size, d\), got .*\(1, 5, 6\)$",
        ),
        *(
            (call, ValueError, f"^{name} needs at least 2 axes, got ")
            for name, call in {
                "embedding": lambda: embed([0], X[0]),
                "weight": lambda: project(X, X[0]),
                "x": lambda: split_heads(X[0], 2),
            }.items()
        ),
        (
            lambda: multi_head_attention(
                **layer() | {"w_output": X[0]}, heads=2
            ),
            ValueError,
            "^w_output needs at least 2 axes, got ",
        ),
        (
            lambda: multi_head_attention(
                **layer() | {"w_output": X}, heads=2
            ),
            ValueError,
            r"^w_output must be \(heads·d_v, d_out\) with heads·d_v = ",
        ),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()

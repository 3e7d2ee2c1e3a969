"""Whatever is thrown at a public function, it gives the documented result or names the argument."""

import inspect
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlib
from attnlib import _validate as v

DTYPES = [
    np.float16,
    np.float32,
    np.float64,
    np.int64,
    np.uint8,
    bool,
    complex,
    object,
    "U3",
]
SPECIAL = [0, 1, -1, 2, 0.5, np.nan, np.inf, -np.inf, 1e4, 65504]


@st.composite
def wild_arrays(draw):
    """Any rank up to 4, sides from 0, and every kind of dtype and number."""
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=4)))
    dtype = draw(st.sampled_from(DTYPES[:3] * 2 + DTYPES[3:]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = (
        rng.choice(SPECIAL, size=shape)
        if draw(st.booleans())
        else rng.normal(size=shape)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # casting NaN to an integer
        return np.asarray(x).astype(dtype)


@st.composite
def misfits(draw, fitting):
    """An array that differs from the fitting one by a side, an axis or a number."""
    shape = list(np.shape(fitting))
    axis = draw(st.integers(0, len(shape)))
    how = draw(
        st.sampled_from(["side", "axis more", "axis less", "number"])
    )
    if how == "axis more":
        shape.insert(axis, draw(st.integers(0, 3)))
    elif how != "number" and axis < len(shape):
        shape[axis : axis + 1] = (
            [draw(st.integers(0, 4))] if how == "side" else []
        )
    x = np.ones(shape, draw(st.sampled_from(DTYPES[:3])))
    if how == "number":
        x.flat[:1] = draw(st.sampled_from(SPECIAL))
    return x


THINGS = st.sampled_from(
    [
        None,
        "text",
        b"x",
        1,
        0.5,
        True,
        2j,
        [],
        [1.0, 2.0],
        [[1.0], [2.0]],
        {},
    ]
)
ARRAYS = st.one_of(wild_arrays(), wild_arrays(), THINGS)
WHOLE = st.sampled_from(
    [
        -7,
        -1,
        0,
        1,
        2,
        3,
        10**6,
        1.0,
        2.5,
        "1",
        None,
        True,
        np.int64(2),
        np.nan,
        1j,
    ]
)
NUMBERS = st.sampled_from(
    [
        None,
        0,
        1,
        -1.0,
        0.5,
        1e300,
        np.nan,
        np.inf,
        -np.inf,
        "1",
        True,
        1j,
        [1.0],
        [],
        [0.5, 2.0],
        np.array(0.5),
        np.ones((1, 1)),
        np.full((2, 1, 1), 0.5),
        np.full((2, 1, 1), -0.5),
        np.ones((1, 3)),
    ]
)
FEW = WHOLE.filter(lambda n: n != 10**6)
WILD = {
    "axis": WHOLE,
    "heads": WHOLE,
    "d": WHOLE,
    "d_k": WHOLE,
    "rng": WHOLE,
    "n": FEW,
    "samples": FEW,
    "scale": NUMBERS,
    "query_kurtosis": NUMBERS,
    "key_kurtosis": NUMBERS,
    "gain": NUMBERS,
    "cap": NUMBERS,
    "sink": NUMBERS,
    "reference_length": NUMBERS,
    "sigmoid_weights.bias": NUMBERS,
    "is_causal": st.sampled_from(
        [False, True, "lower_right", "left", None, 1, [True], np.eye(2)]
    ),
    "enable_gqa": st.booleans(),
    "method": st.sampled_from(["conditional", "direct", "x", None, 1]),
}


def ones(*shape):
    return np.ones(shape)


ATTENTION = {
    "query": ones(2, 2),
    "key": ones(3, 2),
    "value": ones(3, 1),
    "attn_mask": None,
    "is_causal": False,
    "scale": None,
    "enable_gqa": False,
}
WEIGHTS = {k: v for k, v in ATTENTION.items() if k != "value"}
MASKED = {"scores": ones(2, 3), "attn_mask": None, "is_causal": False}
LAYER = {
    "x": ones(3, 2),
    "w_query": ones(2, 2),
    "w_key": ones(2, 2),
    "w_value": ones(2, 2),
    "w_output": ones(2, 3),
    "heads": 2,
    "attn_mask": None,
    "is_causal": False,
    "scale": None,
}


def scores_shape(query, key, value=None, **_):
    lead = np.broadcast_shapes(
        *(x.shape[:-2] for x in (query, key, value) if x is not None)
    )
    return lead + (query.shape[-2], key.shape[-2])


def common(*arrays):
    return np.result_type(*(a for a in arrays if a is not None))


def like(name):
    return lambda **a: (a[name].shape, a[name].dtype)


def weights(**a):
    return scores_shape(a["query"], a["key"]), common(a["query"], a["key"])


def row(**a):
    return a["a"].shape[:-1], a["a"].dtype


# Each public function: arguments that fit, and the documented (shape, dtype) of its results.
PUBLIC = {
    "softmax": ({"x": ones(2, 3), "axis": -1}, like("x")),
    "log_softmax": ({"x": ones(2, 3), "axis": -1}, like("x")),
    "softmax_jacobian": (
        {"a": ones(2, 3) / 3},
        lambda a: (a.shape + a.shape[-1:], a.dtype),
    ),
    "softmax_vjp": (
        {"a": ones(2, 3) / 3, "grad": ones(2, 3)},
        lambda a, grad: (a.shape, common(a, grad)),
    ),
    **{
        name: ({"a": ones(2, 3) / 3}, row)
        for name in (
            "entropy",
            "max_weight",
            "inverse_participation_ratio",
            "jacobian_trace",
            "jacobian_norm",
        )
    },
    "default_scale": ({"d_k": 4}, lambda **a: ((), np.dtype(float))),
    "masked_scores": (MASKED, like("scores")),
    "masked_softmax": (MASKED, like("scores")),
    "dot_product_scores": (
        {k: ATTENTION[k] for k in ("query", "key", "scale", "enable_gqa")},
        weights,
    ),
    "attention_weights": (WEIGHTS, weights),
    "inverse_width_weights": (
        {k: v for k, v in WEIGHTS.items() if k != "scale"},
        weights,
    ),
    "qk_norm_weights": (
        {**{k: v for k, v in WEIGHTS.items() if k != "scale"}, "gain": 2.0},
        weights,
    ),
    "soft_capped_weights": ({**WEIGHTS, "cap": 2.0}, weights),
    "length_scaled_weights": ({**WEIGHTS, "reference_length": 4}, weights),
    "sigmoid_weights": ({**WEIGHTS, "bias": None}, weights),
    "sink_weights": ({**WEIGHTS, "sink": 0.0}, weights),
    "sample_logits": (
        {
            "rng": 0,
            "d_k": 3,
            "n": 2,
            "samples": 2,
            "scale": None,
            "method": "direct",
        },
        lambda **a: ((a["samples"], a["n"]), np.dtype(float)),
    ),
    "scaled_dot_product_attention": (
        ATTENTION,
        lambda **a: (
            scores_shape(**a)[:-1] + a["value"].shape[-1:],
            common(a["query"], a["key"], a["value"]),
        ),
    ),
    "scaled_dot_product_attention_vjp": (
        {"grad_output": ones(2, 1), **ATTENTION},
        lambda **a: [
            (a[n].shape, common(a["query"], a["key"], a["value"]))
            for n in ("query", "key", "value")
        ],
    ),
    "embed": (
        {"ids": np.array([0, 1]), "embedding": ones(3, 2)},
        lambda ids, embedding: (
            ids.shape + embedding.shape[1:],
            embedding.dtype,
        ),
    ),
    "project": (
        {"x": ones(2, 3), "weight": ones(3, 2), "bias": ones(2)},
        lambda x, weight, bias: (
            x.shape[:-1] + weight.shape[1:],
            common(x, weight, bias),
        ),
    ),
    "split_heads": (
        {"x": ones(2, 6), "heads": 2},
        lambda x, heads: (
            x.shape[:-2] + (heads, x.shape[-2], x.shape[-1] // heads),
            x.dtype,
        ),
    ),
    "merge_heads": (
        {"x": ones(2, 3, 2)},
        lambda x: (
            x.shape[:-3] + (x.shape[-2], x.shape[-3] * x.shape[-1]),
            x.dtype,
        ),
    ),
    "multi_head_attention": (
        LAYER,
        lambda **a: (
            a["x"].shape[:-1] + a["w_output"].shape[1:],
            common(*(a[n] for n in list(LAYER)[:5])),
        ),
    ),
    "multi_head_attention_vjp": (
        {"grad_output": ones(3, 3), **LAYER},
        lambda **a: [
            (
                a[n].shape,
                common(*(a[n] for n in ["grad_output", *list(LAYER)[:5]])),
            )
            for n in list(LAYER)[:5]
        ],
    ),
    "dot_product_density": (
        {"x": ones(2), "d": 3},
        lambda x, d: (x.shape, np.dtype(float)),
    ),
    "dot_product_variance": (
        {
            "query_mean": ones(2),
            "query_cov": ones(2, 2),
            "key_mean": ones(2),
            "key_cov": ones(2, 2),
        },
        lambda **a: ((), np.dtype(float)),
    ),
    "dot_product_excess_kurtosis": (
        {"d": 3, "query_kurtosis": 3.0, "key_kurtosis": 3.0},
        lambda **a: ((), np.dtype(float)),
    ),
}
# sweep returns a dictionary; tests/test_montecarlo.py throws bad input at it.
NOT_NUMERICAL = {"sweep"}


def test_every_public_function_is_tried():
    assert set(PUBLIC) == set(attnlib.__all__) - NOT_NUMERICAL
    for name, (arguments, _) in PUBLIC.items():
        assert set(arguments) == set(
            inspect.signature(getattr(attnlib, name)).parameters
        )


def shapes_and_dtypes(result):
    if isinstance(result, tuple):
        return [shapes_and_dtypes(x) for x in result]
    return np.shape(result), np.asarray(result).dtype


def try_call(name, arguments):
    """The result's shape and dtype as documented, or an error that names an argument."""
    _, documented = PUBLIC[name]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # NaN and overflow may warn
        try:
            result = getattr(attnlib, name)(**arguments)
        except (ValueError, TypeError) as error:
            named = [
                n for n in arguments if re.search(rf"\b{n}\b", str(error))
            ]
            assert named, (
                f"{name} names no argument: {type(error).__name__}: {error}"
            )
            return
    arrays = {n: taken(n, x) for n, x in arguments.items()}
    assert shapes_and_dtypes(result) == documented(**arrays)


def taken(name, x):
    """An argument as attnlib takes it: integers are float64, but for the ids."""
    keep = (
        "scale",
        "is_causal",
        "heads",
        "d",
        "n",
        "samples",
        "method",
        "rng",
    )
    if x is None or name in keep:
        return x
    x = np.asarray(x)
    return x.astype(float) if x.dtype.kind in "iu" and name != "ids" else x


@pytest.mark.parametrize("name", PUBLIC)
def test_arguments_that_fit_give_the_documented_result(name):
    arguments, documented = PUBLIC[name]
    result = getattr(attnlib, name)(**arguments)
    assert shapes_and_dtypes(result) == documented(**arguments)


@pytest.mark.parametrize("name", PUBLIC)
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_anything_gives_the_documented_result_or_names_the_argument(
    name, data
):
    arguments = dict(PUBLIC[name][0])
    wrong = data.draw(
        st.sets(st.sampled_from(list(arguments)), min_size=1),
        label="replaced",
    )
    for argument in sorted(wrong):
        arrays = st.one_of(ARRAYS, misfits(arguments[argument]))
        wild = WILD.get(f"{name}.{argument}", WILD.get(argument, arrays))
        arguments[argument] = data.draw(wild, label=argument)
    try_call(name, arguments)


CLASSES = {
    "boolean": np.ones((2, 2), bool),
    "complex": np.ones((2, 2), complex),
    "object": np.ones((2, 2), object),
    "text": np.array([["a", "b"]]),
    "None": None,
    "a string": "text",
}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("name", PUBLIC)
def test_arrays_that_are_not_real_numbers_raise_typeerror(name, kind):
    arguments, _ = PUBLIC[name]
    for argument, fitting in arguments.items():
        if not isinstance(fitting, np.ndarray):
            continue
        if (argument, kind) in {
            ("bias", "None"),
            ("ids", "integer"),
        }:  # these may be so
            continue
        with pytest.raises(TypeError, match=rf"\b{argument}\b"):
            getattr(attnlib, name)(**{**arguments, argument: CLASSES[kind]})


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn"])
@pytest.mark.parametrize("name", PUBLIC)
def test_floats_that_numpy_does_not_know_are_told_what_to_do(name, dtype):
    """ml_dtypes' are no numbers to numpy's own test of a dtype."""
    dtype = np.dtype(getattr(pytest.importorskip("ml_dtypes"), dtype))
    arguments, _ = PUBLIC[name]
    arrays = {
        n: x for n, x in arguments.items() if isinstance(x, np.ndarray)
    }
    arrays |= {n: np.ones((2, 3)) for n in {"attn_mask"} & set(arguments)}
    arrays |= {
        n: np.ones((1, 1)) for n in {"scale", "sink"} & set(arguments)
    }
    for argument in set(arrays) - {"ids"}:
        if (name, argument) == ("sample_logits", "scale"):
            continue
        wrong = {argument: arrays[argument].astype(dtype)}
        message = f"^{argument} must .*, got dtype {dtype.name}: pass "
        message += rf"{argument}\.astype\(np\.float32\)$"
        with pytest.raises(TypeError, match=message):
            getattr(attnlib, name)(**{**arguments, **wrong})


def test_other_dtypes_get_no_such_advice():
    for x in ([1j], [True], ["float"], [None], np.zeros(1, "f,f")):
        with pytest.raises(TypeError, match="got dtype [^:]*$"):
            v.floating("x", x)


@pytest.mark.parametrize(
    "scale", [-1.0, -1e-300, np.nan, np.inf, -np.inf, 10**400]
)
@pytest.mark.parametrize(
    "name", [n for n, (a, _) in PUBLIC.items() if "scale" in a]
)
def test_a_negative_or_infinite_scale_raises(name, scale):
    with pytest.raises(ValueError, match=r"\bscale\b"):
        getattr(attnlib, name)(**{**PUBLIC[name][0], "scale": scale})


NO_WEIGHTS = (
    "must hold weights, the output of softmax: none below 0, and each row "
    "summing to 1 (or 0 if all masked)"
)


@pytest.mark.parametrize(
    "check, arguments, error, message",
    [
        (
            v.floating,
            [[[1], [1, 2]]],
            ValueError,
            "has rows of different lengths",
        ),
        (
            v.floating,
            [[True]],
            TypeError,
            "must hold real numbers, got dtype bool",
        ),
        (
            v.floating,
            [1.0],
            ValueError,
            "needs at least 1 axes, got shape ()",
        ),
        (
            v.floating,
            [[1], 2],
            ValueError,
            "needs at least 2 axes, got shape (1,)",
        ),
        (
            v.weights,
            [np.ones((2, 0))],
            ValueError,
            "needs at least one weight a row, got shape (2, 0)",
        ),
        (v.weights, [[2, 3]], ValueError, NO_WEIGHTS),
        (v.weights, [[1.5, -0.5]], ValueError, NO_WEIGHTS),
        (v.integer, [True], TypeError, "must be an integer, got True"),
        (v.integer, [1.0], TypeError, "must be an integer, got 1.0"),
        (v.positive_integer, [0], ValueError, "must be at least 1, got 0"),
        (
            v.positive_integer,
            ["1"],
            TypeError,
            "must be an integer, got '1'",
        ),
        (v.seed_number, [-1], ValueError, "must be at least 0, got -1"),
        (v.seed_number, [None], TypeError, "must be an integer, got None"),
        (
            v.finite_number,
            [True],
            TypeError,
            "must be a real number, got True",
        ),
        (v.finite_number, [1j], TypeError, "must be a real number, got 1j"),
        (v.finite_number, [np.nan], ValueError, "must be finite, got nan"),
        (v.finite_number, [10**400], ValueError, "must be finite, got inf"),
        (
            v.finite_number,
            [-1, 0],
            ValueError,
            "must be finite and at least 0, got -1.0",
        ),
    ],
)
def test_a_check_says_what_it_takes(check, arguments, error, message):
    with pytest.raises(error, match=f"^a {re.escape(message)}$"):
        check("a", *arguments)


def test_a_gradient_has_its_outputs_shape():
    for shape, message in {
        (2,): "needs at least 2 axes, got shape (2,)",
        (2, 3): "must have the output's shape (2, 4), got (2, 3)",
    }.items():
        with pytest.raises(
            ValueError, match=f"^grad_output {re.escape(message)}$"
        ):
            v.output_gradient(np.zeros(shape), (2, 4))


def test_numbers_become_pythons_own():
    assert type(v.positive_integer("n", np.int8(1))) is int
    assert type(v.seed_number("seed", np.uint8(0))) is int
    assert type(v.finite_number("x", np.float32(0), 0)) is float
    assert v.finite_number("x", -1e300) == -1e300

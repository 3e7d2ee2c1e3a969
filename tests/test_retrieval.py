"""attnlib.retrieval against finite differences and torch; the stored runs and the script behind."""

import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracles import ROOT, slope, textbook_attention, textbook_weights

from attnlib.attention import default_scale
from attnlib.book import training_runs
from attnlib.retrieval import (
    TEST,
    TEST_SIZE,
    Adam,
    _accuracy_and_entropy,
    draw_batch,
    loss_and_gradients,
    raw_equivalent,
    retrieval_weights,
    train,
)

pytestmark = pytest.mark.filterwarnings("error")

STORED = ROOT / "book" / "data" / "training_runs.npz"
SMALL = {"steps": 30, "n": 8, "d": 6}
EVERY_OPTIMIZER = pytest.mark.parametrize(
    "optimizer, rate", [("sgd", 0.5), ("adam", 0.02)]
)


def problem(seed=0, *, size=3, n=5, d=4, d_v=2, d_k=6):
    rng = np.random.default_rng(seed)
    return draw_batch(rng, size, n, d=d, d_v=d_v), *rng.normal(
        size=(2, d, d_k)
    )


def explicit(batch, w_query, w_key):
    """Queries (size, 1, d_k), keys (size, n, d_k) and the targets' values, all in memory."""
    target = batch.value[np.arange(len(batch.target)), batch.target]
    return (batch.y @ w_query)[:, None], batch.x @ w_key, target


# --- the task --------------------------------------------------------------------------


def test_without_noise_the_query_is_its_target():
    batch = draw_batch(np.random.default_rng(0), 50, 7, d=5, d_v=3, noise=0)
    assert [x.shape for x in batch] == [
        (50, 7, 5),
        (50, 5),
        (50, 7, 3),
        (50,),
    ]
    assert_array_equal(batch.y, batch.x[np.arange(50), batch.target])


def test_moments_of_the_task():
    batch = draw_batch(np.random.default_rng(1), 4000, 6)
    noise = batch.y - batch.x[np.arange(4000), batch.target]
    for draws, std in ((batch.x, 1), (batch.value, 1), (noise, 0.3)):
        error = 5 * std / np.sqrt(draws.size)
        assert abs(draws.mean()) < error
        assert draws.std() == pytest.approx(std, abs=error)
    counts = np.bincount(batch.target, minlength=6)
    assert abs(counts - 4000 / 6).max() < 5 * np.sqrt(4000 / 6)
    assert abs(
        np.mean(noise[:, :8] * batch.x[:, 0, :8])
    ) < 5 * 0.3 / np.sqrt(32000)


# --- loss and gradients ----------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 6**-0.5, 0.0])
def test_weights_and_loss_equal_the_textbook_with_explicit_keys(scale):
    batch, w_query, w_key = problem()
    query, key, target = explicit(batch, w_query, w_key)
    weights = textbook_weights(query, key, scale=scale)[:, 0]
    output = textbook_attention(query, key, batch.value, scale=scale)[:, 0]
    assert_allclose(
        retrieval_weights(batch, w_query, w_key, scale), weights, rtol=1e-12
    )
    loss = loss_and_gradients(batch, w_query, w_key, scale)[0]
    assert loss == pytest.approx(np.mean((output - target) ** 2), rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 6**-0.5])
@pytest.mark.parametrize("index, name", [(1, "w_query"), (2, "w_key")])
def test_gradients_equal_finite_differences(index, name, scale):
    batch, w_query, w_key = problem()
    arrays = {"w_query": w_query, "w_key": w_key}
    gradient = loss_and_gradients(batch, **arrays, scale=scale)[index]
    direction = np.random.default_rng(7).normal(size=w_query.shape)
    measured = slope(
        lambda **w: loss_and_gradients(batch, **w, scale=scale)[0],
        arrays,
        name,
        direction,
    )
    assert np.sum(gradient * direction) == pytest.approx(measured, rel=1e-7)


def torch_loss(batch, w_query, w_key, scale):
    """Each key formed, torch's own attention and loss."""
    import torch
    from torch.nn import functional

    x, y, value, target = (torch.from_numpy(part) for part in batch)
    output = functional.scaled_dot_product_attention(
        (y @ w_query)[:, None], x @ w_key, value, scale=scale
    )[:, 0]
    return functional.mse_loss(
        output, value[torch.arange(len(target)), target]
    )


@pytest.mark.needs_torch
@pytest.mark.parametrize("scale", [1.0, 16**-0.5])
def test_gradients_equal_torch(scale):
    import torch

    batch, *weights = problem(size=32, n=50, d=32, d_v=8, d_k=16)
    leaves = [torch.tensor(w, requires_grad=True) for w in weights]
    loss = torch_loss(batch, *leaves, scale)
    loss.backward()
    expected = [loss.item(), *(leaf.grad.numpy() for leaf in leaves)]
    for ours, theirs in zip(
        loss_and_gradients(batch, *weights, scale), expected, strict=True
    ):
        assert_allclose(ours, theirs, rtol=1e-11, atol=1e-14)


@pytest.mark.needs_torch
@EVERY_OPTIMIZER
def test_training_equals_torch(monkeypatch, optimizer, rate):
    """torch.optim on the very batches that a run drew."""
    import torch

    from attnlib import retrieval

    drawn = []

    def recording(*args, **options):
        drawn.append(draw_batch(*args, **options))
        return drawn[-1]

    monkeypatch.setattr(retrieval, "draw_batch", recording)
    start = train(12, learning_rate=0, optimizer=optimizer, **SMALL)
    drawn.clear()
    run = train(12, learning_rate=rate, optimizer=optimizer, **SMALL)
    leaves = [
        torch.tensor(w, requires_grad=True)
        for w in (start.w_query, start.w_key)
    ]
    stepper = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer](
        leaves, lr=rate
    )
    _, *batches = drawn  # the first is the test batch
    for batch, loss in zip(batches, run.loss, strict=True):
        stepper.zero_grad()
        theirs = torch_loss(batch, *leaves, run.scale)
        assert theirs.item() == pytest.approx(loss, rel=1e-10)
        theirs.backward()
        stepper.step()
    assert_allclose(
        run.w_query, leaves[0].detach().numpy(), rtol=1e-8, atol=1e-10
    )
    assert_allclose(
        run.w_key, leaves[1].detach().numpy(), rtol=1e-8, atol=1e-10
    )


def test_nothing_of_size_n_times_d_k_is_held():
    n = d_k = 4096
    batch, w_query, w_key = problem(size=2, n=n, d=2, d_k=d_k)
    tracemalloc.start()
    loss_and_gradients(batch, w_query, w_key, 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        peak < n * d_k / 8
    )  # bytes; one matrix of keys would take 8 n d_k


# --- training --------------------------------------------------------------------------


def test_a_run_repeats_itself_and_a_longer_one_begins_with_it():
    run = train(4, learning_rate=0.5, **SMALL)
    train(
        8, learning_rate=0.1, seed=5, n=3, d=2, steps=3
    )  # another in between changes nothing
    longer = train(4, learning_rate=0.5, **SMALL | {"steps": 60})
    assert_array_equal(run.loss, longer.loss[:30])
    assert_array_equal(run.accuracy[-1], longer.accuracy[5])
    assert not np.any(
        train(4, learning_rate=0.5, seed=1, **SMALL).loss == run.loss
    )


def test_all_arms_of_a_seed_see_the_same_data_and_start():
    """At scale 0 the loss depends on the data alone; at rate 0 the weights stay as drawn."""
    blind = [
        train(
            d_k, scale=0, optimizer=optimizer, learning_rate=rate, **SMALL
        ).loss
        for d_k, optimizer, rate in (
            (4, "sgd", 0.1),
            (9, "sgd", 1.0),
            (4, "adam", 0.1),
        )
    ]
    assert_array_equal(blind[0], blind[1])
    assert_array_equal(blind[0], blind[2])
    still = [
        train(
            4,
            scale=scale,
            optimizer=optimizer,
            learning_rate=0,
            **SMALL | {"n": n},
        )
        for scale, optimizer, n in ((1, "sgd", 8), (None, "adam", 20))
    ]
    assert_array_equal(still[0].w_query, still[1].w_query)
    assert_array_equal(still[0].w_key, still[1].w_key)


def test_adam_is_a_ratio_of_two_weighted_averages():
    gradients = np.random.default_rng(0).normal(size=(12, 5))
    method = Adam(0.25, epsilon=0.01)
    for step, found in enumerate(map(method.step, gradients), start=1):
        first, second = (
            np.average(
                gradients[:step] ** power,
                axis=0,
                weights=beta ** np.arange(step)[::-1],
            )
            for power, beta in ((1, 0.9), (2, 0.999))
        )
        assert_allclose(
            found, 0.25 * first / (np.sqrt(second) + 0.01), rtol=1e-10
        )


def test_initial_weights_have_the_stated_size():
    still = train(1000, learning_rate=0, init_gain=0.5, steps=1, n=2)
    for w in (still.w_query, still.w_key):
        assert w.shape == (32, 1000)
        assert w.std() == pytest.approx(0.5 / np.sqrt(32), rel=0.02)
    assert abs(
        np.mean(still.w_query * still.w_key)
    ) < 5 * 0.25 / 32 / np.sqrt(32000)


@EVERY_OPTIMIZER
def test_what_a_run_records_is_what_its_weights_do(optimizer, rate):
    run = train(5, learning_rate=rate, optimizer=optimizer, seed=3, **SMALL)
    told = (
        run.d_k,
        run.optimizer,
        run.learning_rate,
        run.n,
        run.seed,
        run.steps,
    )
    assert told == (5, optimizer, rate, 8, 3, 30)
    assert run.scale == default_scale(5)
    assert_array_equal(run.checkpoint, np.arange(0, 31, 3))
    identity = np.random.SeedSequence(3, spawn_key=(TEST, 8, 6))
    batch = draw_batch(np.random.default_rng(identity), TEST_SIZE, 8, d=6)
    a = retrieval_weights(batch, run.w_query, run.w_key, run.scale)
    assert run.accuracy[-1] == np.mean(a.argmax(axis=-1) == batch.target)
    assert run.mean_entropy[-1] == pytest.approx(
        -np.sum(a * np.log(a)) / TEST_SIZE, rel=1e-10
    )
    assert run.loss.shape == run.gradient_norm.shape == (30,)
    assert np.all(run.gradient_norm > 0) and not run.diverged


def test_the_gradient_norm_is_that_of_the_first_step():
    """The first step of SGD moves the weights by rate · norm."""
    run, still = (
        train(5, learning_rate=rate, seed=3, **SMALL | {"steps": 1})
        for rate in (2, 0)
    )
    moved = np.linalg.norm(
        [run.w_query - still.w_query, run.w_key - still.w_key]
    )
    assert run.gradient_norm[0] == pytest.approx(moved / 2, rel=1e-10)


def test_the_scaled_head_learns_where_the_raw_one_does_not():
    """Both at their tuned rates: chapter 10's opening, in half a second."""
    scaled = train(1024, learning_rate=10.0, steps=60)
    raw = train(1024, scale=1, learning_rate=0.03162, steps=60)
    assert scaled.accuracy[0] < 0.05 and scaled.accuracy[-1] > 0.97
    assert raw.accuracy[-1] < 0.2
    assert raw.mean_entropy[0] < 1 < scaled.mean_entropy[0]
    assert scaled.loss[-20:].mean() < 0.2 < raw.loss[-20:].mean()


@pytest.mark.parametrize("steps", [1, 4, 25])
def test_checkpoints_are_distinct_and_reach_the_end(steps):
    run = train(3, learning_rate=0.1, **SMALL | {"steps": steps})
    assert run.checkpoint[0] == 0 and run.checkpoint[-1] == steps
    assert np.all(np.diff(run.checkpoint) > 0)
    assert len(run.checkpoint) == len(run.accuracy) == len(run.mean_entropy)


@EVERY_OPTIMIZER
def test_a_diverging_run_is_reported_not_raised(optimizer, rate):
    run = train(4, optimizer=optimizer, learning_rate=1e300, **SMALL)
    assert run.diverged
    assert np.isfinite(run.loss[0]) and np.all(np.isposinf(run.loss[2:]))
    assert (
        not np.isnan(run.loss).any()
        and not np.isnan(run.gradient_norm).any()
    )
    assert run.accuracy[-1] == 0 and len(run.accuracy) == 11
    assert not train(
        4, optimizer=optimizer, learning_rate=rate, **SMALL
    ).diverged


# --- the equivalence -------------------------------------------------------------------


@EVERY_OPTIMIZER
@pytest.mark.parametrize(
    "d_k, apart", [(16, 0), (64, 1e-11), (256, 0), (100, 1e-11)]
)
def test_raw_with_other_init_and_rate_is_the_scaled_run(
    optimizer, rate, d_k, apart
):
    scaled = train(d_k, optimizer=optimizer, learning_rate=rate, **SMALL)
    raw = train(d_k, **raw_equivalent(d_k, optimizer, rate), **SMALL)
    assert raw.scale == 1
    assert_array_equal(raw.accuracy, scaled.accuracy)
    gain = d_k**-0.25
    for ours, theirs in (
        (raw.loss, scaled.loss),
        (raw.w_query / gain, scaled.w_query),
        (raw.w_key / gain, scaled.w_key),
        (raw.gradient_norm * gain, scaled.gradient_norm),
    ):
        assert_allclose(ours, theirs, rtol=0, atol=apart)


def test_the_equivalence_needs_every_part():
    """Adam's epsilon too; the rate alone or the init alone gives other runs."""
    for optimizer, rate, parts in (
        ("adam", 0.02, ("epsilon", "learning_rate", "init_gain")),
        ("sgd", 0.5, ("learning_rate", "init_gain")),
    ):
        usual = {"learning_rate": rate, "epsilon": 1e-8, "init_gain": 1.0}
        scaled = train(
            256, optimizer=optimizer, learning_rate=rate, **SMALL
        )
        for part in parts:
            arguments = raw_equivalent(256, optimizer, rate) | {
                part: usual[part]
            }
            apart = abs(
                train(256, **arguments, **SMALL).loss - scaled.loss
            ).max()
            assert apart > (1e-9 if part == "epsilon" else 1e-3)


def test_a_raw_run_magnifies_the_rounding_of_its_start():
    """At these rates it is the raw run's course that the last digit decides."""

    def largest_change(scale, rate):
        one, other = (
            train(
                256,
                scale=scale,
                learning_rate=rate,
                init_gain=gain,
                steps=100,
            ).loss
            for gain in (1, 1 + 1e-15)
        )
        return np.abs(other / one - 1).max()

    assert largest_change(None, 3.162) < 1e-9
    assert largest_change(1, 0.1) > 0.01


def test_without_arguments_task_and_run_are_those_of_the_book():
    batch = draw_batch(np.random.default_rng(0))
    shapes = [(32, 128, 32), (32, 32), (32, 128, 8), (32,)]
    assert [x.shape for x in batch] == shapes
    run = train(1, learning_rate=0)
    assert (run.steps, run.n, len(run.w_query)) == (250, 128, 32)


def test_a_sample_with_nan_retrieves_nothing_and_spoils_no_other():
    batch = draw_batch(np.random.default_rng(0), 4, 5, d=8, noise=0)
    batch.x[0], batch.target[0] = np.nan, 0  # where argmax finds a NaN
    accuracy, _ = _accuracy_and_entropy(batch, *[10 * np.eye(8)] * 2, 1.0)
    assert accuracy == 0.75


# --- bad input -------------------------------------------------------------------------

GOOD = {"d_k": 4, "learning_rate": 0.1, "steps": 2, "n": 3, "d": 2}


@pytest.mark.parametrize("name", ["d_k", "steps", "n", "d", "seed"])
@pytest.mark.parametrize("value", [-1, 2.0, True, "3", None, np.nan])
def test_train_refuses_what_is_no_count(name, value):
    with pytest.raises((TypeError, ValueError), match=rf"^{name} must be"):
        train(**GOOD | {name: value})


@pytest.mark.parametrize(
    "name", ["scale", "learning_rate", "init_gain", "epsilon", "noise"]
)
@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, "1", 1j, True])
def test_train_refuses_what_is_no_size(name, value):
    with pytest.raises((TypeError, ValueError), match=rf"^{name} must be"):
        train(**GOOD | {name: value})


@pytest.mark.parametrize("optimizer", ["Adam", "", None, ["sgd"], 1])
def test_an_unknown_optimizer_is_named(optimizer):
    for call in (
        lambda: train(**GOOD, optimizer=optimizer),
        lambda: raw_equivalent(4, optimizer, 1),
    ):
        with pytest.raises(ValueError, match="^optimizer must be one of"):
            call()


@pytest.mark.parametrize(
    "bad", [{"d_k": 0}, {"learning_rate": -1}, {"epsilon": -1}]
)
def test_raw_equivalent_refuses_by_name(bad):
    with pytest.raises(ValueError, match=f"^{next(iter(bad))} must be"):
        raw_equivalent(
            **{"d_k": 4, "optimizer": "sgd", "learning_rate": 1.0} | bad
        )


@pytest.mark.parametrize(
    "name, value",
    [
        ("size", 0),
        ("n", 1.5),
        ("d", -2),
        ("d_v", None),
        ("noise", -1.0),
    ],
)
def test_draw_batch_refuses_by_name(name, value):
    with pytest.raises((TypeError, ValueError), match=rf"^{name} must be"):
        draw_batch(
            **{"rng": np.random.default_rng(0), "size": 2} | {name: value}
        )


@pytest.mark.parametrize("rng, kind", [(3, "int"), (None, "NoneType")])
def test_draw_batch_takes_a_generator(rng, kind):
    message = f"rng must be a numpy.random.Generator, got {kind}"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        draw_batch(rng, 2)


@pytest.mark.parametrize(
    "function", [retrieval_weights, loss_and_gradients]
)
def test_weights_that_do_not_fit_are_named(function):
    batch, w_query, w_key = problem()
    for bad in (
        (w_query[:, :2], w_key),
        (w_query[:3], w_key[:3]),
        (w_query[None], w_key[None]),
        (w_query[:, None], w_key[:, None]),
    ):
        with pytest.raises(
            ValueError,
            match=r"w_query and w_key must be \(d, d_k\).*4.*\(.*\(",
        ):
            function(batch, *bad, 1.0)
    with pytest.raises(TypeError, match="^w_query must hold real numbers"):
        function(batch, w_query * 1j, w_key, 1.0)
    with pytest.raises(TypeError, match="^w_key must hold real numbers"):
        function(batch, w_query, w_key * 1j, 1.0)
    with pytest.raises(ValueError, match="^w_query needs at least 2 axes"):
        function(batch, w_query[0], w_key, 1.0)
    with pytest.raises(ValueError, match="^w_key needs at least 2 axes"):
        function(batch, w_query, w_key[0], 1.0)
    with pytest.raises(
        TypeError,
        match="^batch must be a Batch from draw_batch, got tuple$",
    ):
        function(tuple(batch), w_query, w_key, 1.0)
    with pytest.raises(ValueError, match="^scale must be finite"):
        function(batch, w_query, w_key, -1.0)


def test_overflowing_logits_show_in_the_result():
    """With numpy's warning, as everywhere in attnlib; `train` alone is silent."""
    batch, w_query, w_key = problem()
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        retrieval_weights(batch, w_query * 1e200, w_key * 1e200, 1.0)
    with np.errstate(all="ignore"):
        loss, *gradients = loss_and_gradients(
            batch, w_query * 1e200, w_key * 1e200, 1.0
        )
    assert np.isnan(loss) and np.isnan(gradients).all()


def test_weights_as_lists():
    batch, w_query, w_key = problem()
    lists = loss_and_gradients(batch, w_query.tolist(), w_key.tolist(), 1)
    arrays = loss_and_gradients(batch, w_query, w_key, 1.0)
    for one, other in zip(lists, arrays, strict=True):
        assert_array_equal(one, other)


# --- the script and its file -----------------------------------------------------------


@pytest.fixture
def maker(monkeypatch):
    monkeypatch.syspath_prepend(
        ROOT / "scripts"
    )  # worker processes import it by name
    import make_training_runs

    return make_training_runs


@pytest.fixture(scope="module")
def stored():
    with np.load(STORED) as archive:  # without pickles
        return {name: archive[name] for name in archive.files}


def test_the_book_reads_it_as_it_is(stored):
    runs = training_runs()
    assert runs.keys() == stored.keys()
    for name, column in runs.items():
        assert column.dtype == stored[name].dtype and np.array_equal(
            column, stored[name]
        )
        assert not column.flags.writeable


def test_the_file_holds_the_planned_runs(maker, stored):
    cells = {
        (*cell, seed)
        for s in maker.STUDIES
        for cell in s.cells()
        for seed in s.seeds
    }
    names = ("n", "steps", "d_k", "arm", "optimizer", "seed")
    found = list(
        zip(*(stored[name].tolist() for name in names), strict=True)
    )
    assert len(found) == len(cells) and set(found) == cells
    for study in maker.STUDIES:
        assert not set(study.seeds) & {
            *study.tuning_seeds,
            *study.further_seeds,
        }
    assert (
        not np.isnan(stored["loss"]).any()
        and not np.isnan(stored["accuracy"]).any()
    )


def test_every_run_has_the_best_rate_of_its_tuning(stored):
    names = ("n", "steps", "d_k", "arm", "optimizer")
    tried = {}
    for row, cell in enumerate(
        zip(*(stored[f"tuning_{n}"].tolist() for n in names), strict=True)
    ):
        seeds, accuracy, loss, rate = (
            stored[f"tuning_{name}"][row]
            for name in ("seeds", "accuracy", "loss", "learning_rate")
        )
        tried.setdefault(cell, []).append((seeds, accuracy, -loss, rate))
    for row, cell in enumerate(
        zip(*(stored[n].tolist() for n in names), strict=True)
    ):
        assert stored["learning_rate"][row] == max(tried[cell])[-1]


def test_a_stored_run_is_made_again(maker, stored):
    """float32 carries 6e-8. What else may differ is the order of a BLAS's sums: a relative 1e-16
    a step, which this learning run does not amplify (a relative 1e-13 put into its scale moves
    the curves by 1e-12) but a chaotic one does; so a run that learns is chosen, and 1e-6."""
    chosen = {
        "n": 128,
        "steps": 250,
        "d_k": 64,
        "arm": "scaled",
        "optimizer": "sgd",
        "seed": 0,
    }
    (row,) = np.flatnonzero(
        np.all([stored[k] == x for k, x in chosen.items()], axis=0)
    )
    spec = maker.Spec(
        **chosen, learning_rate=float(stored["learning_rate"][row])
    )
    for name, again in maker.run(spec).items():
        assert again.dtype == stored[name].dtype
        assert_allclose(again, stored[name][row], rtol=1e-6, err_msg=name)


def tiny(maker):
    return (
        maker.Study(
            4,
            50,
            (2, 3),
            ("raw", "1/d_k"),
            {"sgd": [0.1, 1.0], "adam": [0.01]},
            range(9, 11),
            range(11, 12),
            range(2),
        ),
    )


def test_the_result_depends_neither_on_order_nor_on_processes(
    maker, tmp_path
):
    one = maker.training_runs(tiny(maker), tmp_path / "one", 1)
    two = maker.training_runs(tiny(maker), tmp_path / "two", 2)
    maker.store(tmp_path / "one.npz", one)
    maker.store(tmp_path / "two.npz", two)
    assert (tmp_path / "one.npz").read_bytes() == (
        tmp_path / "two.npz"
    ).read_bytes()
    assert one["loss"].shape == (16, maker.POINTS)
    assert np.all(one["tuning_accuracy"] < maker.SURE)
    assert np.all(
        one["tuning_seeds"] == 3
    )  # so that every cell went through the second round


def test_what_is_in_the_cache_is_not_computed_again(maker, tmp_path):
    specs = [
        maker.Spec(4, 50, 2, "1/d_k", "sgd", 0.1, seed)
        for seed in (3, 0, 2, 1)
    ]
    whole = maker.run_all(specs, tmp_path, 1, "first")
    for spec, result in zip(specs, whole, strict=True):
        assert_array_equal(result["loss"], maker.run(spec)["loss"])
    paths = [tmp_path / spec.file_name for spec in specs]
    assert all(path.parent == tmp_path and path.exists() for path in paths)
    maker.store(
        paths[1], whole[1] | {"loss": whole[1]["loss"] * 0 + 77}
    )  # a mark
    for path in (paths[0], paths[3]):
        path.unlink()
    again = maker.run_all(specs, tmp_path, 2, "again")
    assert np.all(again[1]["loss"] == 77)
    for index in (0, 2, 3):
        assert_array_equal(again[index]["loss"], whole[index]["loss"])


def test_other_code_has_another_cache(maker, tmp_path, monkeypatch):
    folder = maker.cache_folder(tmp_path)
    monkeypatch.setattr(maker, "POINTS", 25)
    assert maker.cache_folder(tmp_path) != folder


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_an_interrupted_command_keeps_its_runs_and_leaves_no_worker(
    tmp_path, name
):
    command = [
        sys.executable,
        ROOT / "scripts" / "make_training_runs.py",
        "--cache",
        tmp_path / "cache",
        "--output",
        tmp_path / "out.npz",
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job hands SIGINT on as ignored, and Python would keep it so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("cache/*/*.npz")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, getattr(signal, name))
    # Workers hold the pipes open: this returns when the last of them is gone.
    output, _ = process.communicate(timeout=60)
    if name == "SIGINT":
        assert (
            process.returncode == 130
            and "the same command continues" in output
        )
    assert not (tmp_path / "out.npz").exists()
    for path in tmp_path.glob("cache/*/*.npz"):
        with np.load(path) as archive:
            assert archive["loss"].shape == (50,)

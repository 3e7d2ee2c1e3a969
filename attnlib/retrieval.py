"""The training experiment: one attention head learns to retrieve (chapter 10).

A sample holds n inputs x_j ~ N(0, I_d) with values v_j ~ N(0, I_dv), and a noisy copy of one of
them, y = x_t + ν ε with ε ~ N(0, I_d) and ν = 0.3 unless told. One head attends from q = y W_Q to
k_j = x_j W_K. The loss is the mean squared difference, over samples and components, between its
output Σ_j a_j v_j and the target's v_t. Only W_Q and W_K (d × d_k) learn, each step on fresh data.

Cost. q·k_j = u·x_j with u = q W_Kᵀ, so no key is formed: O(n d + d d_k) a sample, nothing n · d_k.
Seeds. Initial weights follow from (seed, d, d_k), training and test data from (seed, n, d), never
from scale, optimizer or learning rate: all arms of one seed see the same data.
Caveats. A toy of one layer and one head, with d_k far above d in its hardest cases, which no real
head has; what the book calls tuned is the best of a half-decade grid of learning rates.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from attnlib._validate import finite_number, floating, positive_integer, seed_number
from attnlib.concentration import entropy
from attnlib.softmax import softmax, softmax_vjp

INITIAL, TRAINING, TEST = range(3)  # what a stream of random numbers is for
BATCH, TEST_SIZE, CHECKPOINTS = 32, 512, 10
BETA1, BETA2 = 0.9, 0.999  # Adam's two averages


class Batch(NamedTuple):
    """Samples of the task, as `draw_batch` draws them."""

    x: np.ndarray  # (size, n, d) inputs
    y: np.ndarray  # (size, d) the noisy copies
    value: np.ndarray  # (size, n, d_v)
    target: np.ndarray  # (size,) index of the input that was copied


@dataclass(frozen=True, eq=False)
class Run:
    """One training run: what went in, and what came out.

    ``loss`` and ``gradient_norm`` (steps,) belong to each step's batch, before the update;
    ``accuracy`` and ``mean_entropy`` to a fixed test batch, after ``checkpoint`` updates (from 0
    to ``steps``). A run whose loss ceased to be finite has ``diverged``: it stopped there, with
    loss and norm inf from that step on.
    """

    d_k: int
    scale: float
    optimizer: str
    learning_rate: float
    steps: int
    n: int
    seed: int
    loss: np.ndarray
    gradient_norm: np.ndarray
    checkpoint: np.ndarray
    accuracy: np.ndarray
    mean_entropy: np.ndarray
    w_query: np.ndarray
    w_key: np.ndarray

    @property
    def diverged(self):
        return not np.isfinite(self.loss[-1])


def draw_batch(rng, size=BATCH, n=128, *, d=32, d_v=8, noise=0.3):
    """Draw a `Batch` of independent samples from a numpy Generator; ``noise`` is ν ≥ 0."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {type(rng).__name__}")
    sizes = {"size": size, "n": n, "d": d, "d_v": d_v}
    size, n, d, d_v = (positive_integer(name, number) for name, number in sizes.items())
    noise = finite_number("noise", noise, 0)
    x, value = rng.standard_normal((size, n, d)), rng.standard_normal((size, n, d_v))
    target = rng.integers(n, size=size)
    y = x[np.arange(size), target] + noise * rng.standard_normal((size, d))
    return Batch(x, y, value, target)


@np.errstate(over="ignore", invalid="ignore")
def retrieval_weights(batch, w_query, w_key, scale):
    """Attention weights (size, n) of a `Batch`, for w_query and w_key (d, d_k) and scale ≥ 0.

    Raises TypeError for another kind of batch or for weights that are not floating, ValueError
    naming the shapes if they do not fit.
    """
    if not isinstance(batch, Batch):
        raise TypeError(f"batch must be a Batch from draw_batch, got {type(batch).__name__}")
    w_query, w_key = floating("w_query", w_query, 2), floating("w_key", w_key, 2)
    if w_query.shape != w_key.shape or w_query.shape[:-1] != batch.y.shape[-1:]:
        raise ValueError(
            f"w_query and w_key must be (d, d_k) with the d = {batch.y.shape[-1]} of the batch, "
            f"got {w_query.shape} and {w_key.shape}"
        )
    u = finite_number("scale", scale, 0) * (batch.y @ w_query @ w_key.T)
    return softmax(np.einsum("bnd,bd->bn", batch.x, u))


@np.errstate(over="ignore", invalid="ignore")
def loss_and_gradients(batch, w_query, w_key, scale):
    """(loss, ∂loss/∂W_Q, ∂loss/∂W_K); arguments and errors as in `retrieval_weights`."""
    a = retrieval_weights(batch, w_query, w_key, scale)
    error = np.einsum("bn,bnv->bv", a, batch.value) - batch.value[np.arange(len(a)), batch.target]
    grad_a = np.einsum("bnv,bv->bn", batch.value, 2 * error / error.size)
    grad_u = scale * np.einsum("bn,bnd->bd", softmax_vjp(a, grad_a), batch.x)
    return np.mean(error**2), batch.y.T @ (grad_u @ w_key), grad_u.T @ (batch.y @ w_query)


def sgd(epsilon):
    """The direction of plain gradient descent; it has no use for ``epsilon``."""
    return lambda gradient: gradient


def adam(epsilon):
    """The direction of Adam (Kingma and Ba, 2015), which remembers the gradients it was given."""
    first = second = 0.0
    step = 0

    def direction(gradient):
        nonlocal first, second, step
        step += 1
        first = BETA1 * first + (1 - BETA1) * gradient
        second = BETA2 * second + (1 - BETA2) * gradient**2
        return first / (1 - BETA1**step) / (np.sqrt(second / (1 - BETA2**step)) + epsilon)

    return direction


OPTIMIZERS = {"sgd": sgd, "adam": adam}


@np.errstate(all="ignore")
def train(d_k, *, scale=None, optimizer="sgd", learning_rate, steps=250, n=128, seed=0,
          init_gain=1.0, epsilon=1e-8, d=32, noise=0.3):  # fmt: skip
    """Train W_Q and W_K from N(0, init_gain²/d) entries; returns a `Run`.

    ``scale`` multiplies q·k: None is 1/√d_k, 1 the raw product. ``optimizer`` is "sgd" or "adam",
    ``epsilon`` what Adam adds to its denominator. Accuracy is the share of the test batch whose
    largest weight is the target's; weights that are not finite retrieve nothing.
    Raises TypeError or ValueError naming a bad argument.
    """
    sizes = {"d_k": d_k, "steps": steps, "n": n, "d": d}
    d_k, steps, n, d = (positive_integer(name, number) for name, number in sizes.items())
    numbers = {"scale": d_k**-0.5 if scale is None else scale, "learning_rate": learning_rate,
               "init_gain": init_gain, "epsilon": epsilon}  # fmt: skip
    scale, learning_rate, init_gain, epsilon = (finite_number(*x, 0) for x in numbers.items())
    direction = _optimizer(optimizer)(epsilon)
    seed = seed_number("seed", seed)

    def stream(*identity):
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=identity))

    def test():
        a = retrieval_weights(test_batch, *weights, scale)
        retrieved = (a.argmax(axis=-1) == test_batch.target) & np.isfinite(a).all(axis=-1)
        return retrieved.mean(), entropy(a).mean()

    test_batch = draw_batch(stream(TEST, n, d), TEST_SIZE, n, d=d, noise=noise)
    batches = stream(TRAINING, n, d)
    weights = init_gain * d**-0.5 * stream(INITIAL, d, d_k).standard_normal((2, d, d_k))
    checkpoint = np.unique(np.linspace(0, steps, CHECKPOINTS + 1).round().astype(int))
    loss, gradient_norm = np.full((2, steps), np.inf)
    tested = []
    for step in range(steps):
        if step in checkpoint:
            tested.append(test())
        batch = draw_batch(batches, BATCH, n, d=d, noise=noise)
        loss_now, *gradients = loss_and_gradients(batch, *weights, scale)
        if not np.isfinite(loss_now):
            break
        loss[step], gradient_norm[step] = loss_now, np.linalg.norm(gradients)
        weights = weights - learning_rate * direction(np.stack(gradients))
    while len(tested) < len(checkpoint):
        tested.append(test())
    return Run(d_k, scale, optimizer, learning_rate, steps, n, seed, loss, gradient_norm,
               checkpoint, *np.transpose(tested), *weights)  # fmt: skip


def raw_equivalent(d_k, optimizer, learning_rate, epsilon=1e-8):
    """Arguments with which `train` at scale 1 repeats its scaled run at ``learning_rate``.

    With W' = g W and g = d_k^(-1/4), q'·k' = q·k/√d_k, and each gradient is the scaled run's over
    g. So W' stays g W if it starts so and SGD's rate is g² times the scaled run's, or Adam's rate
    g times and its epsilon 1/g times. Exact to the last bit where g is a power of 2 (d_k = 16,
    256, 4096), elsewhere but for rounding.
    """
    gain = positive_integer("d_k", d_k) ** -0.25
    power = {sgd: 2, adam: 1}[_optimizer(optimizer)]
    return {"scale": 1.0, "init_gain": gain, "optimizer": optimizer,
            "learning_rate": finite_number("learning_rate", learning_rate, 0) * gain**power,
            "epsilon": finite_number("epsilon", epsilon, 0) / gain}  # fmt: skip


def _optimizer(name):
    if not isinstance(name, str) or name not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {list(OPTIMIZERS)}, got {name!r}")
    return OPTIMIZERS[name]

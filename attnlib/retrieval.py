"""The training experiment: one head learns to retrieve (chapter 10).

A sample holds n inputs x_j ~ N(0, I_d) with values v_j ~ N(0, I_dv), and a
noisy copy of one of them, y = x_t + ν ξ with ξ ~ N(0, I_d) and ν = 0.3
unless told. One head attends from q = y W_Q to k_j = x_j W_K. The loss is
the mean squared difference, over samples and components, between its output
Σ_j a_j v_j and the target's v_t. Only W_Q and W_K (d × d_k) learn, each
step on fresh data.

Cost. q·k_j = u·x_j with u = y (W_Q W_Kᵀ), so neither queries nor keys are
formed: O(d (n + d)) a sample and O(d² d_k) a batch, nothing n · d_k.

Seeds. Initial weights follow from (seed, d, d_k), training and test data
from (seed, n, d), never from scale, optimizer or learning rate: all arms of
one seed see the same data.

Caveats. A toy of one layer and one head, with d_k far above d in its
hardest cases, which no real head has; what the book calls tuned is the best
of a half-decade grid of learning rates.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from attnlib._validate import (
    Array,
    finite_number,
    floating,
    positive_integer,
    seed_number,
)
from attnlib.attention import default_scale
from attnlib.concentration import entropy
from attnlib.softmax import softmax, softmax_vjp

INITIAL, TRAINING, TEST = range(3)  # what a stream of random numbers is for
BATCH, TEST_SIZE, CHECKPOINTS = 32, 512, 10
OPTIMIZERS = "sgd", "adam"


class Batch(NamedTuple):
    """Samples of the task, as `draw_batch` draws them.

    Attributes
    ----------
    x : ndarray, shape (size, n, d)
        The inputs.
    y : ndarray, shape (size, d)
        The noisy copies.
    value : ndarray, shape (size, n, d_v)
        The inputs' values.
    target : ndarray of int, shape (size,)
        Index of the input that was copied.
    """

    x: Array
    y: Array
    value: Array
    target: np.ndarray


@dataclass(frozen=True, eq=False)
class Run:
    """One training run: what went in, and what came out.

    Attributes
    ----------
    d_k, scale, optimizer, learning_rate, steps, n, seed
        As `train` was told; ``scale`` as a number.
    loss, gradient_norm : ndarray, shape (steps,)
        Of each step's batch, before its update; the norm is that of both
        gradients together.
    checkpoint : ndarray of int
        Numbers of updates, from 0 to ``steps``, after which it was tested.
    accuracy, mean_entropy : ndarray, shape of ``checkpoint``
        On one fixed test batch; entropy in nats.
    w_query, w_key : ndarray, shape (d, d_k)
        The weights at the end.
    """

    d_k: int
    scale: float
    optimizer: str
    learning_rate: float
    steps: int
    n: int
    seed: int
    loss: Array
    gradient_norm: Array
    checkpoint: np.ndarray
    accuracy: Array
    mean_entropy: Array
    w_query: Array
    w_key: Array

    @property
    def diverged(self) -> bool:
        """Whether the loss ceased to be finite.

        The run stopped there, with loss and norm inf from that step on.
        """
        return not np.isfinite(self.loss[-1])


def draw_batch(
    rng: np.random.Generator,
    size: int = BATCH,
    n: int = 128,
    *,
    d: int = 32,
    d_v: int = 8,
    noise: float = 0.3,
) -> Batch:
    """Draw independent samples of the task.

    Parameters
    ----------
    rng : numpy.random.Generator
    size, n, d, d_v : int ≥ 1
        Samples; inputs of a sample, their width, the width of their values.
    noise : float ≥ 0
        ν, the standard deviation of what is added to the copy's entries.

    Returns
    -------
    Batch
        Arrays of float64.

    Raises
    ------
    TypeError, ValueError
        Naming the bad argument.

    Notes
    -----
    Source: chapter 10.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            "rng must be a numpy.random.Generator, "
            f"got {type(rng).__name__}"
        )
    size, n = positive_integer("size", size), positive_integer("n", n)
    d, d_v = positive_integer("d", d), positive_integer("d_v", d_v)
    noise = finite_number("noise", noise, 0)
    x = rng.standard_normal((size, n, d))
    value = rng.standard_normal((size, n, d_v))
    target = rng.integers(n, size=size)
    copy = x[np.arange(size), target]
    y = copy + noise * rng.standard_normal((size, d))
    return Batch(x, y, value, target)


def retrieval_weights(
    batch: Batch, w_query: ArrayLike, w_key: ArrayLike, scale: float
) -> Array:
    """Attention weights of a head on a `Batch`.

    Parameters
    ----------
    batch : Batch
    w_query, w_key : array_like, shape (d, d_k)
    scale : float ≥ 0
        Multiplies q·k.

    Returns
    -------
    ndarray, shape (size, n)

    Raises
    ------
    TypeError, ValueError
        For another kind of batch, for weights that do not hold real
        numbers or do not fit (naming the shapes), for a scale that is no
        number ≥ 0.

    Notes
    -----
    Source: chapter 10.
    """
    if not isinstance(batch, Batch):
        raise TypeError(
            "batch must be a Batch from draw_batch, "
            f"got {type(batch).__name__}"
        )
    w_query = floating("w_query", w_query, 2)
    w_key = floating("w_key", w_key, 2)
    d = batch.y.shape[-1]
    if w_query.shape != w_key.shape or w_query.shape[:-1] != (d,):
        raise ValueError(
            f"w_query and w_key must be (d, d_k) with the d = {d} of the "
            f"batch, got {w_query.shape} and {w_key.shape}"
        )
    scale = finite_number("scale", scale, 0)
    u = scale * (batch.y @ (w_query @ w_key.T))
    return softmax(np.einsum("bnd,bd->bn", batch.x, u))


def loss_and_gradients(
    batch: Batch, w_query: ArrayLike, w_key: ArrayLike, scale: float
) -> tuple[float, Array, Array]:
    """The loss on a `Batch` and its gradients, by the chain rule.

    Parameters
    ----------
    batch, w_query, w_key, scale
        As in `retrieval_weights`, and the same errors.

    Returns
    -------
    loss : float
    grad_w_query, grad_w_key : ndarray, shape (d, d_k)
        ∂loss/∂W_Q and ∂loss/∂W_K.

    Notes
    -----
    Source: chapter 10.
    """
    a = retrieval_weights(batch, w_query, w_key, scale)
    wanted = batch.value[np.arange(len(a)), batch.target]
    error = np.einsum("bn,bnv->bv", a, batch.value) - wanted
    grad_a = np.einsum("bnv,bv->bn", batch.value, 2 * error / error.size)
    grad_s = softmax_vjp(a, grad_a)
    grad_u = scale * np.einsum("bn,bnd->bd", grad_s, batch.x)
    grad_product = batch.y.T @ grad_u  # by W_Q W_Kᵀ
    grad_w_query = grad_product @ w_key
    grad_w_key = grad_product.T @ w_query
    return np.mean(error**2), grad_w_query, grad_w_key


class SGD:
    """Plain gradient descent.

    Parameters
    ----------
    learning_rate : float
    """

    def __init__(self, learning_rate):
        self.learning_rate = learning_rate

    def step(self, gradient: Array) -> Array:
        """One step.

        Parameters
        ----------
        gradient : ndarray
            Of the loss with respect to the weights, of their shape.

        Returns
        -------
        ndarray
            What to subtract from the weights.
        """
        return self.learning_rate * gradient


class Adam:
    """Gradient descent by averages over the past steps.

    Parameters
    ----------
    learning_rate : float
    epsilon : float
        Keeps the denominator from 0.

    Notes
    -----
    Source: Kingma and Ba (2015), algorithm 1, with their β₁ and β₂.
    """

    BETA1, BETA2 = 0.9, 0.999

    def __init__(self, learning_rate, epsilon):
        self.learning_rate, self.epsilon = learning_rate, epsilon
        self.steps = 0
        self.mean = self.mean_square = 0.0

    def step(self, gradient: Array) -> Array:
        """One step.

        Parameters
        ----------
        gradient : ndarray
            Of the loss with respect to the weights, of their shape.

        Returns
        -------
        ndarray
            What to subtract from the weights.
        """
        b1, b2 = self.BETA1, self.BETA2
        self.steps += 1
        self.mean = b1 * self.mean + (1 - b1) * gradient
        self.mean_square = b2 * self.mean_square + (1 - b2) * gradient**2
        # Both began at 0: divided by the sum of the weights so far.
        mean = self.mean / (1 - b1**self.steps)
        root = np.sqrt(self.mean_square / (1 - b2**self.steps))
        return self.learning_rate * (mean / (root + self.epsilon))


def train(
    d_k: int,
    *,
    scale: float | None = None,
    optimizer: str = "sgd",
    learning_rate: float,
    steps: int = 250,
    n: int = 128,
    seed: int = 0,
    init_gain: float = 1.0,
    epsilon: float = 1e-8,
    d: int = 32,
    noise: float = 0.3,
) -> Run:
    """Train W_Q and W_K from N(0, init_gain²/d) entries.

    Parameters
    ----------
    d_k : int ≥ 1
        Width of the head.
    scale : float ≥ 0, optional
        Multiplies q·k: 1/√d_k unless told, 1 for the raw product.
    optimizer : {"sgd", "adam"}
    learning_rate : float ≥ 0
    steps, n : int ≥ 1
        Updates; inputs of a sample.
    seed : int ≥ 0
    init_gain : float ≥ 0
    epsilon : float ≥ 0
        What Adam adds to its denominator.
    d : int ≥ 1
        Width of the inputs.
    noise : float ≥ 0
        ν, see `draw_batch`.

    Returns
    -------
    Run
        Accuracy is the share of the test batch whose largest weight is the
        target's; weights that are not finite retrieve nothing.

    Raises
    ------
    TypeError, ValueError
        Naming the bad argument. A run that diverges raises nothing.

    Notes
    -----
    Source: chapter 10.
    """
    d, d_k = positive_integer("d", d), positive_integer("d_k", d_k)
    n, steps = positive_integer("n", n), positive_integer("steps", steps)
    seed = seed_number("seed", seed)
    scale = default_scale(d_k) if scale is None else scale
    scale = finite_number("scale", scale, 0)
    learning_rate = finite_number("learning_rate", learning_rate, 0)
    init_gain = finite_number("init_gain", init_gain, 0)
    epsilon = finite_number("epsilon", epsilon, 0)
    method = SGD(learning_rate)
    if _known(optimizer) == "adam":
        method = Adam(learning_rate, epsilon)
    start = _stream(seed, INITIAL, d, d_k).standard_normal((2, d, d_k))
    weights = init_gain * d**-0.5 * start
    task = {"n": n, "d": d, "noise": noise}
    test = draw_batch(_stream(seed, TEST, n, d), TEST_SIZE, **task)
    batches = _stream(seed, TRAINING, n, d)
    return Run(
        d_k=d_k,
        scale=scale,
        optimizer=optimizer,
        learning_rate=learning_rate,
        steps=steps,
        n=n,
        seed=seed,
        **_descend(weights, method, scale, steps, test, batches, task),
    )


def raw_equivalent(
    d_k: int, optimizer: str, learning_rate: float, epsilon: float = 1e-8
) -> dict[str, Any]:
    """Arguments with which `train` at scale 1 repeats its scaled run.

    Parameters
    ----------
    d_k : int ≥ 1
    optimizer : {"sgd", "adam"}
    learning_rate, epsilon : float ≥ 0
        Of the scaled run.

    Returns
    -------
    dict
        ``scale``, ``init_gain``, ``optimizer``, ``learning_rate`` and
        ``epsilon``.

    Raises
    ------
    TypeError, ValueError
        Naming the bad argument.

    Notes
    -----
    With W' = g W and g = d_k^(-1/4), q'·k' = q·k/√d_k, and each gradient is
    the scaled run's over g. So W' stays g W if it starts so and SGD's rate
    is g² times the scaled run's, or Adam's rate g times and its epsilon 1/g
    times. Exact to the last bit where g is a power of 2 (d_k = 16, 256,
    4096), elsewhere but for rounding. Source: chapter 10.
    """
    g = positive_integer("d_k", d_k) ** -0.25
    rate_factor = g if _known(optimizer) == "adam" else g**2
    rate = finite_number("learning_rate", learning_rate, 0)
    return {
        "scale": 1.0,
        "init_gain": g,
        "optimizer": optimizer,
        "learning_rate": rate * rate_factor,
        "epsilon": finite_number("epsilon", epsilon, 0) / g,
    }


def _descend(weights, method, scale, steps, test, batches, task):
    """What a `Run` records of training ``weights``, W_Q and W_K stacked."""
    checkpoint = np.linspace(0, steps, CHECKPOINTS + 1).round().astype(int)
    checkpoint = np.unique(checkpoint)
    loss, gradient_norm = np.full((2, steps), np.inf)
    tested = []
    with np.errstate(all="ignore"):  # a run that diverges says so itself
        for step in range(steps):
            if step in checkpoint:
                tested.append(_accuracy_and_entropy(test, *weights, scale))
            batch = draw_batch(batches, **task)
            now, *gradients = loss_and_gradients(batch, *weights, scale)
            if not np.isfinite(now):
                break
            loss[step], gradient_norm[step] = now, np.linalg.norm(gradients)
            weights = weights - method.step(np.stack(gradients))
        while len(tested) < len(checkpoint):
            tested.append(_accuracy_and_entropy(test, *weights, scale))
    accuracy, mean_entropy = np.transpose(tested)
    return {
        "loss": loss,
        "gradient_norm": gradient_norm,
        "checkpoint": checkpoint,
        "accuracy": accuracy,
        "mean_entropy": mean_entropy,
        "w_query": weights[0],
        "w_key": weights[1],
    }


def _accuracy_and_entropy(batch, w_query, w_key, scale):
    """The share of samples retrieved, and the weights' mean entropy."""
    a = retrieval_weights(batch, w_query, w_key, scale)
    retrieved = a.argmax(axis=1) == batch.target
    retrieved &= np.isfinite(a).all(axis=1)
    return retrieved.mean(), entropy(a).mean()


def _stream(seed, *identity: int):
    """The random numbers that belong to a seed and what they are for."""
    sequence = np.random.SeedSequence(seed, spawn_key=identity)
    return np.random.default_rng(sequence)


def _known(optimizer):
    if not isinstance(optimizer, str) or optimizer not in OPTIMIZERS:
        raise ValueError(
            f"optimizer must be one of {OPTIMIZERS}, got {optimizer!r}"
        )
    return optimizer

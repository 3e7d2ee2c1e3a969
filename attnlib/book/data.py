"""The book's own files: the ledger's claims, a trained model's numbers, the stored runs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnlib._validate import integer

_HERE = Path(__file__).resolve().parent


def book_file(relative):
    """Path of a file under ``book/``, such as ``"claims.yml"`` or ``"data/x.npz"``.

    A checkout (editable install) has it in its folder ``book``; a wheel carries a copy in
    ``attnlib/book/_files`` (see pyproject.toml), for readers who installed the
    package alone.
    """
    for folder in (_HERE.parents[1] / "book", _HERE / "_files"):
        path = folder / relative
        if path.exists():
            return path
    raise FileNotFoundError(
        f"book/{relative} is neither beside the attnlib package nor inside it: "
        "install attnlib from a clone of the book"
    )


def book_arrays(name):
    """Arrays of ``book/data/<name>.npz``, read-only; float16 as float32, scalars as numbers."""
    with np.load(book_file(f"data/{name}.npz")) as archive:
        fields = {key: archive[key] for key in archive.files}
    for key, array in fields.items():
        if array.dtype == np.float16:
            array = array.astype(np.float32)
        array.setflags(write=False)
        fields[key] = array.item() if array.ndim == 0 else array
    return fields


@dataclass(frozen=True, eq=False)
class RunningExample:
    """One sentence and one head of a trained model; `running_example` documents the fields."""

    tokens: np.ndarray
    ids: np.ndarray
    embedding: np.ndarray
    position_embedding: np.ndarray
    type_embedding: np.ndarray
    layer_norm_weight: np.ndarray
    layer_norm_bias: np.ndarray
    layer_norm_epsilon: float
    layer_input: np.ndarray
    w_query: np.ndarray
    w_key: np.ndarray
    w_value: np.ndarray
    b_query: np.ndarray
    b_key: np.ndarray
    b_value: np.ndarray
    vocabulary_size: int
    layer: int
    head: int


def running_example() -> RunningExample:
    """Load the book's running example: a sentence in front of one head of all-MiniLM-L6-v2.

    The sentence is "A river bank holds water, a bank stores money.", n = 13 tokens with [CLS]
    and [SEP]; the model's width is d = 384 and the head's is d_k = 32.

    Returns
    -------
    RunningExample
        Read-only arrays, float32 unless said otherwise:

        - ``tokens`` (n,) str, ``ids`` (n,) int64: the word pieces and their vocabulary rows;
        - ``embedding`` (n, d): the rows E[ids] of the embedding table, which has
          ``vocabulary_size`` rows;
        - ``position_embedding`` (n, d), ``type_embedding`` (d,), ``layer_norm_weight`` (d,),
          ``layer_norm_bias`` (d,), ``layer_norm_epsilon``: the rest of the embedding step;
        - ``layer_input`` (n, d): LayerNorm(embedding + position_embedding + type_embedding),
          the vectors x that enter layer ``layer``;
        - ``w_query``, ``w_key``, ``w_value`` (d, d_k) and ``b_query``, ``b_key``, ``b_value``
          (d_k,): head ``head`` of that layer, so that q = x @ w_query + b_query.

    Notes
    -----
    The numbers are the model's own (Apache-2.0 by its model card); sentence and head were chosen
    because the rows can be read. ``book/data/README.md`` gives the source and the checksums,
    ``scripts/make_running_example.py`` makes the file.
    """
    return RunningExample(**book_arrays("running_example"))


@dataclass(frozen=True, eq=False)
class TrainedHeads:
    """Five sentences in every head of a trained model; `minilm_heads` documents the fields."""

    sentences: np.ndarray
    tokens: np.ndarray
    sentence: np.ndarray
    query: np.ndarray
    key: np.ndarray

    def of(self, sentence):
        """One sentence alone: its tokens (n,), queries and keys (layers, heads, n, d_k).

        ``sentence`` counts from 0. Raises TypeError or ValueError if there is no such sentence.
        """
        index = integer("sentence", sentence)
        if not 0 <= index < len(self.sentences):
            raise ValueError(f"sentence must be from 0 to {len(self.sentences) - 1}, got {index}")
        # Neighbours in the file, so that a slice finds them: a view stays read-only.
        own = slice(*np.searchsorted(self.sentence, [index, index + 1]))
        return self.tokens[own], self.query[:, :, own], self.key[:, :, own]


def minilm_heads() -> TrainedHeads:
    """Load the queries and keys of all heads of all-MiniLM-L6-v2 for five English sentences.

    The model has 6 layers with 12 heads of d_k = 32 each; the sentences have 20 or 21 tokens
    with [CLS] and [SEP], N = 101 together. The raw scores of a sentence are those of its own
    tokens alone: ``tokens, q, k = minilm_heads().of(0)``, then ``q @ k.swapaxes(-1, -2)``.

    Returns
    -------
    TrainedHeads
        Read-only arrays:

        - ``sentences`` (5,) str;
        - ``tokens`` (N,) str: the word pieces of all sentences, one after the other;
        - ``sentence`` (N,) int64: which sentence a token belongs to, counted from 0;
        - ``query``, ``key`` (6, 12, N, d_k) float32: what each head multiplies, biases included
          and the factor 1/√d_k not; the stored numbers are float16.

    Notes
    -----
    The numbers are the model's own (Apache-2.0 by its model card); the sentences were written
    before these were looked at. ``book/data/README.md`` gives the source and the checksums,
    ``scripts/make_trained_heads.py`` makes the file.
    """
    return TrainedHeads(**book_arrays("trained_heads"))


def training_runs():
    """The runs that the book stores, which take minutes: columns by name, one entry a run.

    ``book/data/README.md`` lists the columns and says how each arm was tuned; the names that
    begin with ``tuning_`` are a table of their own. ``scripts/make_training_runs.py`` makes them.
    """
    return book_arrays("training_runs")

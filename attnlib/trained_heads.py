"""What the book ships of a trained model: one sentence at the input of one attention head."""

from dataclasses import dataclass

import numpy as np

from attnlib._paths import book_file

__all__ = ["RunningExample", "running_example"]


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
    with np.load(book_file("data/running_example.npz")) as archive:
        fields = {key: archive[key] for key in archive.files}
    for key, array in fields.items():
        array.setflags(write=False)
        if array.ndim == 0:
            fields[key] = array.item()
    return RunningExample(**fields)

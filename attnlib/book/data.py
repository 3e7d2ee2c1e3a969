"""The book's files: the claims, a trained model's numbers, stored runs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnlib._validate import integer
from attnlib.layers import project

_HERE = Path(__file__).resolve().parent


def book_file(relative: str) -> Path:
    """Find a file of the folder ``book``.

    Parameters
    ----------
    relative : str
        Path below ``book/``, such as ``"claims.yml"`` or ``"data/x.npz"``.

    Returns
    -------
    Path
        Where the file is. A checkout (editable install) has it in its
        folder ``book``; a wheel carries a copy in ``attnlib/book/_files``
        for readers who installed the package alone.

    Raises
    ------
    FileNotFoundError
        If neither place has it.
    """
    for folder in (_HERE.parents[1] / "book", _HERE / "_files"):
        path = folder / relative
        if path.exists():
            return path
    raise FileNotFoundError(
        f"book/{relative} is neither beside the attnlib package nor inside "
        "it: install attnlib from a clone of the book"
    )


def book_arrays(name: str) -> dict:
    """Load the arrays of one data file of the book.

    Parameters
    ----------
    name : str
        The file is ``book/data/<name>.npz``.

    Returns
    -------
    dict
        Read-only arrays by name: float16 as float32, all others as stored;
        what has no axes becomes a plain number.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
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
    """One sentence in front of one head of a trained model.

    The arrays are read-only and float32 unless said otherwise; n tokens,
    width d of the model, width d_k of the head.

    Attributes
    ----------
    tokens : array (n,) of str
        The word pieces, with [CLS] and [SEP].
    ids : array (n,) of int64
        Their rows in the vocabulary.
    embedding : array (n, d)
        The rows E[ids] of the embedding table.
    position_embedding : array (n, d)
        Added to the embedding, one row for each position.
    type_embedding : array (d,)
        Added to every token.
    layer_norm_weight, layer_norm_bias : array (d,)
        Scale and shift of the embedding step's LayerNorm.
    layer_norm_epsilon : float
        Added to the variance inside that LayerNorm.
    layer_input : array (n, d)
        The vectors x that enter the layer, one row for each token:
        LayerNorm(embedding + position_embedding + type_embedding).
    w_query, w_key, w_value : array (d, d_k)
        The head's projections W_Q, W_K and W_V.
    b_query, b_key, b_value : array (d_k,)
        Their biases.
    vocabulary_size : int
        Rows of the whole embedding table.
    layer, head : int
        Which layer and which of its heads, counted from 0.
    """

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

    @property
    def query(self) -> np.ndarray:
        """Queries x W_Q + b_Q, array (n, d_k) of float32 (chapter 01)."""
        return project(self.layer_input, self.w_query, self.b_query)

    @property
    def key(self) -> np.ndarray:
        """Keys x W_K + b_K, array (n, d_k) of float32 (chapter 01)."""
        return project(self.layer_input, self.w_key, self.b_key)

    @property
    def value(self) -> np.ndarray:
        """Values x W_V + b_V, array (n, d_k) of float32 (chapter 01)."""
        return project(self.layer_input, self.w_value, self.b_value)


def running_example() -> RunningExample:
    """Load a sentence in front of one head of all-MiniLM-L6-v2.

    The sentence is "A river bank holds water, a bank stores money.", n = 13
    tokens with [CLS] and [SEP]; the model's width is d = 384, the head's
    d_k = 32.

    Returns
    -------
    RunningExample
        Tokens, vectors and weights, and the queries, keys and values made
        of them.

    Notes
    -----
    The numbers are the model's own (Apache-2.0 by its model card); sentence
    and head were chosen because the rows can be read.
    ``book/data/README.md`` gives the source and the checksums,
    ``scripts/make_running_example.py`` makes the file.
    """
    return RunningExample(**book_arrays("running_example"))


@dataclass(frozen=True, eq=False)
class TrainedHeads:
    """Five sentences in every head of a trained model.

    All arrays are read-only; N tokens in the five sentences together.

    Attributes
    ----------
    sentences : array (5,) of str
        The sentences.
    tokens : array (N,) of str
        The word pieces of all sentences, one after the other.
    sentence : array (N,) of int64
        Which sentence a token belongs to, counted from 0.
    query, key : array (layers, heads, N, d_k) of float32
        What each head multiplies: biases included, the factor 1/√d_k not.
        The stored numbers are float16.
    """

    sentences: np.ndarray
    tokens: np.ndarray
    sentence: np.ndarray
    query: np.ndarray
    key: np.ndarray

    def of(
        self, sentence: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cut out one sentence.

        Parameters
        ----------
        sentence : int
            Which one, counted from 0.

        Returns
        -------
        tokens : array (n,) of str
            Its word pieces.
        query, key : array (layers, heads, n, d_k) of float32
            Its queries and keys in every head.

        Raises
        ------
        TypeError
            If ``sentence`` is no integer.
        ValueError
            If there is no such sentence.
        """
        index, last = integer("sentence", sentence), len(self.sentences) - 1
        if not 0 <= index <= last:
            raise ValueError(
                f"sentence must be from 0 to {last}, got {index}"
            )
        # Neighbours in the file: a slice finds them, and stays read-only.
        own = slice(*np.searchsorted(self.sentence, [index, index + 1]))
        return self.tokens[own], self.query[:, :, own], self.key[:, :, own]


def minilm_heads() -> TrainedHeads:
    """Load the queries and keys of all heads of all-MiniLM-L6-v2.

    Five English sentences went through it, each alone: 20 or 21 tokens with
    [CLS] and [SEP], N = 101 together. The model has 6 layers with 12 heads
    of d_k = 32 each, d = 384.

    Returns
    -------
    TrainedHeads
        Sentences, tokens, queries and keys.

    Notes
    -----
    The numbers are the model's own (Apache-2.0 by its model card); the
    sentences were written before these were looked at.
    ``book/data/README.md`` gives the source and the checksums,
    ``scripts/make_trained_heads.py`` makes the file.

    Examples
    --------
    The raw scores of a sentence are those of its own tokens alone:

    >>> from attnlib.book import minilm_heads
    >>> tokens, query, key = minilm_heads().of(0)
    >>> scores = query @ key.swapaxes(-1, -2)
    >>> scores.shape
    (6, 12, 21, 21)
    """
    return TrainedHeads(**book_arrays("trained_heads"))


def training_runs() -> dict[str, np.ndarray]:
    """Load the stored runs of chapter 10, which take minutes to make.

    Returns
    -------
    dict
        Read-only columns by name, one entry for each run. The names that
        begin with ``tuning_`` are a table of their own.

    Notes
    -----
    ``book/data/README.md`` lists the columns and says how each arm was
    tuned; ``scripts/make_training_runs.py`` makes the file.
    """
    return book_arrays("training_runs")


def wrong_constants() -> dict[str, np.ndarray]:
    """Load what a wrong factor does to all-MiniLM-L6-v2, a finished model.

    The model's heads multiply q·k by 1/√d_k = 1/√32. Its embeddings of 40
    sentences were computed with that constant and with others, each in all
    layers and in one layer only.

    Returns
    -------
    dict
        Read-only columns by name. ``sentences`` and ``sense`` have one
        entry for each sentence, ``similarity`` holds the cosines between
        their embeddings with the right constant. ``constant``, ``layer``
        (-1 stands for all), ``cosine_mean``, ``cosine_min``,
        ``rank_correlation`` and the columns beside them have one entry for
        each constant and place. Names that begin with ``curve_`` are a
        table of their own.

    Notes
    -----
    Computed with the model's own weights (Apache-2.0 by its model card),
    stored to six significant digits. ``book/data/README.md`` lists the
    columns; ``scripts/make_wrong_constants.py`` makes the file.

    Examples
    --------
    Without the factor, in every layer:

    >>> from attnlib.book import wrong_constants
    >>> table = wrong_constants()
    >>> row = (table["constant"] == "1") & (table["layer"] == -1)
    >>> print(table["cosine_mean"][row])
    [0.852106]
    """
    return book_arrays("wrong_constants")

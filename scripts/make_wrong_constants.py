"""Make book/data/wrong_constants.npz: a finished model with another factor than its own.

The model is all-MiniLM-L6-v2, whose heads multiply q·k by 1/√32. Sentences
go through its own forward pass (minilm.py) with a wrong constant in all
layers, and in one layer only. Multiplying a layer's W_Q and b_Q by
wrong/right makes that layer compute what it would with the wrong constant,
so that no second forward pass is needed. Needs numpy and scipy.
"""

import argparse
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

# Before numpy is imported: the products are too small for two threads.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import minilm
import numpy as np
from make_trained_heads import check_similarities
from scipy import special, stats

# Pairs that say one thing in two ways, two pairs for each of two senses of a
# word. Written before their numbers were looked at, and not changed afterwards.
SENTENCES = {
    "bank of a river": [
        "We sat on the bank and watched the water flow past.",
        "From the grass beside the river they looked at the passing stream.",
        "After the heavy rain the river rose over its bank.",
        "The stream flooded the fields when it had poured for days.",
    ],
    "bank with money": [
        "The bank refused to lend her money for a house.",
        "Her request for a mortgage was turned down.",
        "He opened an account at the bank on the corner.",
        "The young man now keeps his savings with a lender nearby.",
    ],
    "bat that flies": [
        "A bat left the cave at dusk to hunt insects.",
        "At nightfall a small winged mammal flew out of the cavern to catch moths.",
        "The bat sleeps with its head down all day.",
        "By daylight the little night flyer hangs upside down and rests.",
    ],
    "bat that hits": [
        "The player lifted his bat and hit the ball over the fence.",
        "With one strong swing he sent the pitch out of the park.",
        "Her wooden bat broke in the last game of the season.",
        "In the final match the club she was swinging split in two.",
    ],
    "spring of the year": [
        "In spring the trees in our street are full of blossom.",
        "When winter ends, the branches along the road begin to flower.",
        "Every spring the swallows return to the old barn.",
        "The birds come back to nest in the farm building once it gets warm.",
    ],
    "spring of steel": [
        "The spring inside the clock had lost its tension.",
        "The coil that drives the watch no longer pulled.",
        "A steel spring under the seat softens every bump.",
        "Below the chair a metal coil absorbs the shocks of the road.",
    ],
    "crane with feathers": [
        "A crane stood on one leg in the shallow marsh.",
        "The tall grey bird rested in the wetland without moving.",
        "The crane flew south with its flock before the frost.",
        "Long-necked birds migrate together when the cold arrives.",
    ],
    "crane with a hook": [
        "The crane lowered a steel beam onto the tower.",
        "On the building site a machine set the girder down on the top floor.",
        "A crane unloads the containers from the ship.",
        "In the harbour heavy equipment lifts cargo off the vessel.",
    ],
    "mouse with a tail": [
        "The mouse stole a piece of cheese from the kitchen.",
        "A little rodent ran off with some food from the pantry.",
        "Our cat caught a mouse behind the stove.",
        "The pet trapped a small rodent next to the oven.",
    ],
    "mouse with buttons": [
        "Move the mouse until the arrow is over the button.",
        "Drag the pointer to the icon on the screen.",
        "My mouse stopped working, so I clicked with the keyboard.",
        "The pointing device of the computer failed and I had to use the keys instead.",
    ],
}

RIGHT = 1 / math.sqrt(32)
# What stands in front of q·k, in numbers: d_k = 32, d = 384.
CONSTANTS = {
    "0": 0.0,  # uniform weights: what is left without any attention
    "1/√384": 1 / math.sqrt(384),  # the model's width under the root
    "1/32": 1 / 32,  # no root; or the factor applied twice
    "1/√72": 1 / math.sqrt(72),  # 9/4 of the width, as 576 is of 256
    "1/√28": 1 / math.sqrt(28),  # 7/8 of the width, as 224 is of 256
    "1": 1.0,  # missing
    "√32": math.sqrt(32),  # its exponent with the wrong sign
}
FOLDED = "b_Q not folded"  # 1/√32 in W_Q alone: the bias goes without
CURVE = [2.0**k for k in range(-5, 6)]  # wrong/right, in all layers

OUTPUT = (
    Path(__file__).resolve().parents[1]
    / "book"
    / "data"
    / "wrong_constants.npz"
)


def with_ratios(model, weight_ratio, bias_ratio, layers):
    """The model whose W_Q and b_Q are multiplied by so much in these layers."""
    weights = dict(model.weights)
    for layer in layers:
        name = f"encoder.layer.{layer}.attention.self.query"
        weights[f"{name}.weight"] = weights[f"{name}.weight"] * weight_ratio
        weights[f"{name}.bias"] = weights[f"{name}.bias"] * bias_ratio
    return replace(model, weights=weights)


def embeddings(model):
    """One row of length 1 for each sentence."""
    texts = [text for group in SENTENCES.values() for text in group]
    return np.stack([model.sentence_vector(text) for text in texts])


def compared(wrong, right):
    """What a reader of the embeddings notices, by column name."""
    cosines = np.sum(wrong * right, axis=-1)
    pairs = np.triu_indices(len(right), 1)
    similarity = wrong @ wrong.T
    rank = stats.spearmanr(similarity[pairs], (right @ right.T)[pairs])
    others = np.where(np.eye(len(right), dtype=bool), -np.inf, similarity)
    partner = np.arange(len(right)) ^ 1
    return {
        "cosine_mean": cosines.mean(),
        "cosine_min": cosines.min(),
        "rank_correlation": rank.statistic,
        "partner_nearest": np.mean(others.argmax(axis=-1) == partner),
    }


def table(model, right):
    """One row for each wrong constant in all layers (-1), and in each one."""
    layers = range(model.config["num_hidden_layers"])
    ratios = {name: (c / RIGHT, c / RIGHT) for name, c in CONSTANTS.items()}
    ratios[FOLDED] = 1.0, 1 / RIGHT
    rows = []
    for name, (weight, bias) in {"1/√32": (1.0, 1.0), **ratios}.items():
        for layer in (-1, *layers) if name in ratios else (-1,):
            where = layers if layer == -1 else [layer]
            wrong = embeddings(with_ratios(model, weight, bias, where))
            place = {"constant": name, "layer": layer}
            ratio = {"ratio": weight, "bias_ratio": bias}
            rows.append(place | ratio | compared(wrong, right))
    return rows


def curve(model, right):
    """One row for each ratio, in all layers."""
    layers = range(model.config["num_hidden_layers"])
    return [
        {"curve_ratio": ratio}
        | {
            f"curve_{key}": value
            for key, value in compared(
                embeddings(with_ratios(model, ratio, ratio, layers)), right
            ).items()
        }
        for ratio in CURVE
    ]


def columns(rows):
    """Arrays by name, numbers rounded to six significant digits."""
    return {
        key: rounded(np.array([row[key] for row in rows]))
        for key in rows[0]
    }


def rounded(x):
    """Floats to six significant digits; all else as it is."""
    if x.dtype.kind != "f":
        return x
    return np.vectorize(lambda number: float(f"{number:.6g}"))(x)


def wrong_constants(model):
    """Every array of the npz file, by key."""
    texts = [text for group in SENTENCES.values() for text in group]
    if any("[UNK]" in model.tokens(text)[0] for text in texts):
        sys.exit("The vocabulary has no pieces for a word of the sentences")
    # Once, and not at each product.
    model = replace(
        model,
        weights={k: w.astype(float) for k, w in model.weights.items()},
    )
    right = embeddings(model)
    return {
        "sentences": np.array(texts),
        "sense": np.array(
            [k for k, group in SENTENCES.items() for _ in group]
        ),
        "similarity": rounded(right @ right.T),
        **columns(table(model, right)),
        **columns(curve(model, right)),
    }


def main():
    """Check the forward pass, then write the file and print its size and checksum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="the .npz file to write"
    )
    output = parser.parse_args().output
    minilm.erf = special.erf  # as exact as math.erf, and faster
    model = minilm.load_model()
    check_similarities(model)
    minilm.write(wrong_constants(model), output)


if __name__ == "__main__":
    main()

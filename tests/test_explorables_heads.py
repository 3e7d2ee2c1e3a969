"""The 72 heads of chapter 11: what the page shows is what attnlib computes."""

import json
import re

import explored
import numpy as np
import pytest
from explored import (
    computed,
    listen,
    motions,
    rest,
    site_of,
    still_stands,
    stored,
)

import attnlib as attn
from attnlib.book import minilm_heads

needs_browser = pytest.mark.needs_browser
LAYERS, HEADS, SENTENCES = 6, 12, (0, 2)
CRITICAL = np.sqrt(2 * np.log(20))
STATES = [
    {"layer": layer, "head": head, "sentence": sentence, "factor": factor}
    for layer in range(LAYERS)
    for head in range(HEADS)
    for sentence in (0, 1)
    for factor in (0, 1)
]


def entropy_share(weights):
    return attn.entropy(weights) / np.log(weights.shape[-1])


@pytest.fixture(scope="module")
def data():
    """As the chapter stores them."""
    return explored.data(stored("heads"))


@pytest.fixture(scope="module")
def expected():
    """Of every state, from the stored queries and keys."""
    heads = minilm_heads()
    attention = {0: [], 1: []}
    for i in range(len(heads.sentences)):
        _, query, key = heads.of(i)
        for factor, scale in enumerate((1, 1 / np.sqrt(32))):
            scores = attn.dot_product_scores(
                np.float64(query), np.float64(key), scale=scale
            )
            attention[factor].append((scores, attn.softmax(scores)))

    def of(state):
        layer, head, factor = (
            state[key] for key in ("layer", "head", "factor")
        )
        i = SENTENCES[state["sentence"]]
        names = [str(token) for token in heads.of(i)[0]]
        it = names.index("it")
        scores, weights = attention[factor][i]
        row = weights[layer, head, it]
        spreads, entropies = (
            np.concatenate([f(*x) for x in attention[factor]], axis=-1)
            for f in (
                lambda s, a: s.std(axis=-1),
                lambda s, a: entropy_share(a),
            )
        )
        medians = np.median(spreads, axis=-1)
        return {
            "names": names,
            "weights": row,
            "row": [scores[layer, head, it].std(), entropy_share(row)],
            "median": [
                medians[layer, head],
                np.median(entropies[layer, head]),
            ],
            "beyond": int(np.sum(medians > CRITICAL)),
        }

    return [of(state) for state in STATES]


def digits(spread):
    return float(f"{spread:.3g}")


def compare(found, expected):
    """All numbers of all states; how many."""
    count = 0
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["names"] == theirs["names"]
        assert ours["beyond"] == theirs["beyond"]
        np.testing.assert_allclose(
            ours["weights"], theirs["weights"].round(3), rtol=1e-6
        )
        for kind in ("row", "median"):
            spread, entropy = theirs[kind]
            shown = [digits(spread), round(entropy, 3)]
            np.testing.assert_allclose(ours[kind], shown, rtol=1e-6)
        count += 1 + len(ours["weights"]) + 4
    return count


# --- what is stored ----------------------------------------------------------


def test_deciles_are_those_of_the_rows(data):
    heads = minilm_heads()
    rows = [
        attn.dot_product_scores(*np.float64(heads.of(i)[1:])).std(axis=-1)
        for i in range(len(heads.sentences))
    ]
    rows = np.concatenate(rows, axis=-1).reshape(72, -1)
    deciles = np.quantile(rows, [0.1, 0.9], axis=-1).T
    np.testing.assert_allclose(data["deciles"], deciles, rtol=5e-3)
    assert rows.shape[1] == 101  # the page says so


def test_the_text_is_true(expected):
    def winner(layer, head, sentence, factor):
        state = dict(
            zip(STATES[0], (layer, head, sentence, factor), strict=True)
        )
        found = expected[STATES.index(state)]
        best = found["weights"].argmax()
        return found["names"][best], found["weights"][best]

    assert winner(3, 1, 0, 1)[0] == "horse" and winner(3, 1, 0, 0)[1] > 0.99
    assert winner(3, 1, 1, 1)[0] == "water"
    for sentence in (0, 1):
        consulted = [winner(3, head, sentence, 1)[0] for head in range(12)]
        assert consulted.count("[CLS]") > 6
        assert winner(0, 2, sentence, 1)[1] > 0.99
        assert winner(0, 11, sentence, 1)[1] < 0.15
        assert winner(0, 11, sentence, 0)[1] < 0.9
    medians = {
        (state["layer"], state["head"]): found["median"][0]
        for state, found in zip(STATES, expected, strict=True)
        if state["factor"]
    }
    assert max(medians, key=medians.get) == (0, 2)
    assert min(medians, key=medians.get) == (0, 11)


# --- the numbers, in a browser -----------------------------------------------


@pytest.fixture(scope="module")
def shown(blank):
    def run(data):
        return computed(
            blank,
            "heads",
            """const { data, states } = argument;
            return states.map((state) => {
              const shown = m.shown((name) => data[name], state);
              const other = m.shown((name) => data[name], { ...state, factor: 1 - state.factor });
              return { ...shown, said: m.sentence(shown, state, other) };
            });""",
            {"data": data, "states": STATES},
        )

    return run


@needs_browser
def test_numbers_of_all_heads_are_attnlibs(shown, data, expected):
    assert compare(shown(data), expected) == 288 * 5 + 144 * (21 + 20)


@needs_browser
@pytest.mark.parametrize(
    "key",
    [
        "weights",
        "spreads",
        "entropies",
        "median_spreads",
        "median_entropies",
    ],
)
@pytest.mark.parametrize("factor", [0, 1])
def test_swapped_heads_are_noticed(shown, data, expected, key, factor):
    swapped = json.loads(json.dumps(data))
    arm = swapped[key][factor]
    arm[37], arm[38] = arm[38], arm[37]
    with pytest.raises(AssertionError):
        compare(shown(swapped), expected)


@needs_browser
def test_sentences_say_what_attnlib_says(shown, data, expected):
    counts = dict.fromkeys(("decided", "wide open", "undecided"), 0)
    for found, theirs, state in zip(
        shown(data), expected, STATES, strict=True
    ):
        said, weights = found["said"], theirs["weights"]
        first, second = np.argsort(-weights.round(3), kind="stable")[:2]
        factor = "With" if state["factor"] else "Without"
        start = f"{factor} the factor, in head {state['head']} of layer {state['layer']}, “it” gives "
        assert said.startswith(start)
        given = re.findall(r"“([^”]+)” (\d\.\d{3})", said)
        winners = [first, second] if weights[second] >= 5e-4 else [first]
        assert given == [
            (theirs["names"][i], f"{weights[i]:.3f}") for i in winners
        ]
        entropy = theirs["row"][1]
        verdict = (
            "decided"
            if weights[first] > 0.9
            else "wide open"
            if entropy > 0.9
            else "undecided"
        )
        counts[verdict] += 1
        assert re.search(
            f"The row is {verdict}(, although its scores are divided)?: ",
            said,
        )
        other = expected[
            STATES.index(state | {"factor": 1 - state["factor"]})
        ]
        arm = "factor removed" if state["factor"] else "as trained"
        assert (
            f"entropy is {entropy:.3f} of the largest ({arm}: {other['row'][1]:.3f})."
            in said
        )
        assert said.endswith(f"line: {theirs['beyond']} of 72 heads.")
    assert min(counts.values()) > 10


# --- the hand, in a browser --------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    with site_of("heads", folder, lost="deciles") as address:
        yield address


def at(page):
    """Where it rests."""
    rest(page)
    return page.evaluate("location.hash")


def status(page):
    return page.locator("[role=status]").text_content()


def place(page, data, i, factor):
    """Of a dot, on the page."""
    spread = data["median_spreads"][factor][i]
    box = page.locator(".map svg").bounding_box()
    down = 1 - np.log(spread / 0.2) / np.log(500)
    return (
        box["x"] + box["width"] * i / 71,
        box["y"] + box["height"] * down,
    )


@needs_browser
def test_every_state_shows_its_numbers(visit, data, expected):
    page = visit(reduced_motion="reduce")
    for state, theirs in list(zip(STATES, expected, strict=True))[::5]:
        query = "&".join(f"{key}={value}" for key, value in state.items())
        page.evaluate(f"location.hash = '#heads?{query}'")
        page.wait_for_timeout(60)
        shown = page.evaluate(
            """() => {
              const root = document.querySelector("explorable-heads").shadowRoot;
              const row = root.querySelector(".row:not([hidden])");
              return {
                values: [...root.querySelectorAll(".values b")].map((b) => b.textContent),
                columns: [...row.children].map((column) => [
                  column.lastChild.textContent, column.firstChild.textContent,
                  new DOMMatrix(getComputedStyle(column.querySelector("i")).transform).d,
                ]),
                value: root.querySelector("input[type=range]").value,
                dot: root.querySelector(".ring").getAttribute("d"),
              };
            }"""
        )
        numbers = [*theirs["row"], *theirs["median"]]
        texts = [
            f"{x:.3f}" if i % 2 else f"{digits(x):g}"
            for i, x in enumerate(numbers)
        ]
        assert shown["values"] == texts, state
        for name, weight, (word, number, height) in zip(
            theirs["names"],
            theirs["weights"],
            shown["columns"],
            strict=True,
        ):
            assert word == name
            assert abs(height - weight) < 6e-4
            assert number == (
                f"{weight:.3f}" if weight.round(3) >= 0.01 else ""
            )
        i = HEADS * state["layer"] + state["head"]
        assert int(shown["value"]) == i
        x = float(re.match(r"M([\d.]+)", shown["dot"])[1])
        assert abs(x - 100 * i / 71) < 1e-6
    assert page.problems == []


@needs_browser
def test_it_starts_as_the_still_figure_shows(visit):
    page = visit()
    assert not page.locator("img").is_visible()
    assert status(page).startswith(
        "With the factor, in head 1 of layer 3, “it” gives “horse” 0.579 of "
        "its weight"
    )
    assert page.problems == []


@needs_browser
@pytest.mark.parametrize(
    ("i", "factor", "query"),
    [
        (2, 1, "layer=0&head=2&sentence=0&factor=1"),
        (71, 0, "layer=5&head=11&sentence=0&factor=0"),
    ],
)
def test_a_click_picks_the_dot(visit, data, i, factor, query):
    page = visit(f"#heads?layer=3&head=1&sentence=0&factor={factor}")
    at(page)
    page.mouse.click(*place(page, data, i, factor))
    assert at(page) == f"#heads?{query}"
    page.keyboard.press("ArrowLeft")  # the dot's neighbour
    head = f"head={i % 12}"
    assert at(page) == f"#heads?{query}".replace(head, f"head={i % 12 - 1}")


@needs_browser
def test_a_drag_moves_it_and_speaks_once_at_rest(visit, data):
    page = visit()
    listen(page, "heads")
    page.mouse.move(*place(page, data, 10, 1))
    page.mouse.down()
    for i in range(11, 48):
        page.mouse.move(*place(page, data, i, 1))
    page.wait_for_timeout(100)
    said = page.locator(".said").text_content()
    assert "in head 11 of layer 3" in said
    page.mouse.up()
    assert page.evaluate("spoken") == []
    assert at(page) == "#heads?layer=3&head=11&sentence=0&factor=1"
    assert page.evaluate("spoken") == [said]


@needs_browser
def test_keys_and_words_move_it(visit):
    page = visit()
    page.locator("input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("radio", name="removed").click()
    assert at(page) == "#heads?layer=3&head=2&sentence=0&factor=0"
    page.keyboard.press("ArrowLeft")  # back to the other word
    assert at(page) == "#heads?layer=3&head=2&sentence=0&factor=1"
    page.get_by_role("radio", name="2. When water …").click()
    page.get_by_role("button", name="layer 5").press("Enter")
    assert at(page) == "#heads?layer=5&head=0&sentence=1&factor=1"
    slider = page.locator("input[type=range]")
    assert slider.get_attribute("aria-valuetext") == "5, head 0"


@needs_browser
def test_removing_the_factor_says_what_was(visit):
    page = visit()
    page.get_by_role("radio", name="removed").click()
    at(page)
    assert "0.000 of the largest (as trained: 0.519)" in status(page)
    assert "72 of 72 heads" in status(page)


@needs_browser
def test_a_finger_picks_a_dot(visit, data):
    page = visit(width=390, has_touch=True)
    page.touchscreen.tap(*place(page, data, 2, 1))
    assert at(page) == "#heads?layer=0&head=2&sentence=0&factor=1"
    assert "although its scores are divided" in status(page)


@needs_browser
def test_an_address_out_of_range_is_brought_into_it(visit):
    page = visit("#heads?layer=9&head=-1&sentence=x&factor=1")
    assert "head 0 of layer 5" in status(page)
    assert page.problems == []


@needs_browser
@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_and_can_be_touched(visit, name, width):
    page = visit(width=width, name=name, reduced_motion="reduce")
    page.get_by_role("radio", name="removed").click()
    page.wait_for_timeout(50)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert motions(page) == []
    ink = page.locator(".said").evaluate("(e) => getComputedStyle(e).color")
    assert ink == page.evaluate("getComputedStyle(document.body).color")
    for target in page.locator(":is(button, input)").all():
        box = target.bounding_box()
        assert min(box["width"], box["height"]) >= 20
    for column in page.locator(".row:not([hidden]) > div").all():
        assert column.bounding_box()["x"] + 5 < width


@needs_browser
def test_without_scripts_or_with_a_failure_the_still_figure_stands(visit):
    still_stands(visit, "heads")
